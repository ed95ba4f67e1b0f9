/* SPDX-License-Identifier: Apache-2.0 */
/* GetStatistics, and what instances have. */
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "cas/admin_internal.h"
#include "cas/owners.h"
#include "cas/store_statistics.h"

/* --- instances ------------------------------------------------------------ */

static int
uses_order(const void *a, const void *b)
{
	const struct owner_report *one = a, *other = b;

	if (one->bytes != other->bytes)
		return one->bytes > other->bytes ? -1 : 1;
	return one->number < other->number ? -1 : 1;
}

static Adminapi__InstanceUse *
use_message(
    struct arena *arena, const struct owner_report *owner, struct error *err)
{
	Adminapi__InstanceUse *use = arena_alloc(arena, sizeof(*use));

	if (use == NULL)
		return admin_no_memory(err);
	adminapi__instance_use__init(use);
	use->nameless = !owner->named;
	use->bytes = owner->bytes;
	use->blobs = owner->blobs;
	use->action_results = owner->results;
	use->quota_bytes = owner->quota;
	use->floor_bytes = owner->floor;
	return admin_copy(arena, owner->instance, &use->name, err) == 0 ? use
									: NULL;
}

static Adminapi__InstanceUse **
list_uses(struct arena *arena, const struct owner_list *owners, size_t count,
    struct error *err)
{
	Adminapi__InstanceUse **uses =
	    arena_zalloc(arena, count + 1, sizeof(Adminapi__InstanceUse *));

	if (uses == NULL)
		return admin_no_memory(err);
	for (size_t i = 0; i < count; i++) {
		uses[i] = use_message(arena, &owners->items[i], err);
		if (uses[i] == NULL)
			return NULL;
	}
	return uses;
}

Adminapi__InstanceUse **
admin_uses(struct arena *arena, struct store *store, size_t limit,
    size_t *count, struct error *err)
{
	Adminapi__InstanceUse **uses = NULL;
	struct owner_list owners;

	if (store_owners(store, &owners, err) == 0) {
		*count = owners.count < limit ? owners.count : limit;
		if (owners.count > 0)
			qsort(owners.items, owners.count, sizeof(*owners.items),
			    uses_order);
		uses = list_uses(arena, &owners, *count, err);
	}
	owner_list_clear(&owners);
	return uses;
}

/* --- statistics ----------------------------------------------------------- */

static Adminapi__StatisticsShare **
list_shares(struct arena *arena, const struct statistics_share *shares,
    size_t count, struct error *err)
{
	Adminapi__StatisticsShare **list =
	    arena_zalloc(arena, count, sizeof(Adminapi__StatisticsShare *));

	for (size_t i = 0; list != NULL && i < count; i++) {
		list[i] = arena_alloc(arena, sizeof(*list[i]));
		if (list[i] == NULL)
			return admin_no_memory(err);
		adminapi__statistics_share__init(list[i]);
		list[i]->count = shares[i].count;
		list[i]->bytes = shares[i].bytes;
	}
	return list != NULL ? list : admin_no_memory(err);
}

static void
fill_totals(
    Adminapi__Statistics *message, const struct store_statistics *statistics)
{
	message->blobs = statistics->blobs;
	message->size_bytes = statistics->size_bytes;
	message->stored_bytes = statistics->stored_bytes;
	message->large_blobs = statistics->large_blobs;
	message->large_bytes = statistics->large_bytes;
	message->compressed_blobs = statistics->compressed_blobs;
	message->compressed_size_bytes = statistics->compressed_size_bytes;
	message->compressed_stored_bytes = statistics->compressed_stored_bytes;
	message->segments = statistics->segments;
	message->segment_bytes = statistics->segment_bytes;
	message->segment_live_bytes = statistics->segment_live_bytes;
	message->action_results = statistics->results;
	message->action_result_bytes = statistics->result_bytes;
	message->named_blobs = statistics->named;
	message->named_bytes = statistics->named_bytes;
	message->distinct_blobs = statistics->distinct;
	message->distinct_bytes = statistics->distinct_bytes;
}

const ProtobufCMessage *
admin_get_statistics(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err)
{
	Adminapi__Statistics *message = arena_alloc(arena, sizeof(*message));
	struct store_statistics statistics;

	(void)request;
	if (message == NULL)
		return admin_no_memory(err);
	if (store_statistics(target->store, &statistics, err) < 0)
		return NULL;
	adminapi__statistics__init(message);
	fill_totals(message, &statistics);
	message->n_sizes = STATISTICS_SIZES;
	message->sizes =
	    list_shares(arena, statistics.sizes, STATISTICS_SIZES, err);
	message->n_ages = STATISTICS_AGES;
	message->ages =
	    list_shares(arena, statistics.ages, STATISTICS_AGES, err);
	message->n_segments_by_use = STATISTICS_LIVE;
	message->segments_by_use =
	    list_shares(arena, statistics.live, STATISTICS_LIVE, err);
	message->instances = admin_uses(
	    arena, target->store, SIZE_MAX, &message->n_instances, err);
	if (message->sizes == NULL || message->ages == NULL ||
	    message->segments_by_use == NULL || message->instances == NULL)
		return NULL;
	return &message->base;
}
