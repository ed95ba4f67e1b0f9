/* SPDX-License-Identifier: Apache-2.0 */
/* Collect, and who watches it. */
#include "base/arena.h"
#include "base/error.h"
#include "cas/admin_internal.h"
#include "cas/collector.h"
#include "cas/collector_details.h"
#include "cas/store.h"
#include "protos/binary.h"

/* Of one list. */
#define LIST_MAX 10000u

static int
collect_fill_wish(const Adminapi__CollectRequest *request, struct store *store,
    struct collection_wish *wish, struct error *err)
{
	struct collection_extent extent;

	*wish = (struct collection_wish){.run = request->run,
	    .max_age_ms = request->max_age_ms,
	    .limit_toolchains = request->limit_toolchains,
	    .keep_toolchains = request->keep_toolchains};
	if (request->one_instance)
		wish->instance = binary_str(request->instance_name);
	if (request->target_case ==
	    ADMINAPI__COLLECT_REQUEST__TARGET_MAX_BYTES) {
		wish->sized = true;
		wish->target_size = request->max_bytes;
	}
	if (request->target_case ==
	    ADMINAPI__COLLECT_REQUEST__TARGET_FREE_BYTES) {
		if (collection_extent(store, wish->instance, &extent, err) < 0)
			return -1;
		wish->sized = true;
		wish->target_size = extent.bytes > request->free_bytes
					? extent.bytes - request->free_bytes
					: 0;
	}
	return 0;
}

static void
collect_fill_response(
    const struct collection_report *report, Adminapi__CollectResponse *response)
{
	response->bytes_before = report->bytes_before;
	response->bytes_after = report->bytes_after;
	response->limit_bytes = report->max_bytes;
	response->blobs = report->blobs;
	response->blob_bytes = report->blob_bytes;
	response->large_blobs = report->files;
	response->action_results = report->results;
	response->action_result_bytes = report->result_bytes;
	response->segments_removed = report->segments_removed;
	response->segments_compacted = report->segments_compacted;
	response->moved_bytes = report->moved_bytes;
	response->pinned_blobs = report->kept_blobs;
	response->pinned_bytes = report->kept_bytes;
	response->young_blobs = report->young_blobs;
	response->young_bytes = report->young_bytes;
	response->roots = report->roots;
	response->youngest_age_ms = report->youngest_age_ms;
	response->oldest_young_age_ms = report->oldest_age_ms;
	response->min_age_ms = report->min_age_ms;
	response->short_of = report->short_of;
	response->dropped_toolchains = report->dropped_names;
	response->floor_bytes = report->floor_bytes;
}

/* --- lists ---------------------------------------------------------------- */

static int
list_shares(struct arena *arena, struct collection_shares *shares, size_t limit,
    Adminapi__CollectShare ***list, size_t *count, struct error *err)
{
	collection_shares_sort(shares);
	*count = shares->count < limit ? shares->count : limit;
	*list = arena_zalloc(arena, *count + 1, sizeof(**list));
	for (size_t i = 0; *list != NULL && i < *count; i++) {
		const struct collection_share *share = shares->items[i];
		Adminapi__CollectShare *message =
		    arena_alloc(arena, sizeof(*message));

		if (message == NULL)
			break;
		adminapi__collect_share__init(message);
		message->action_results = share->results;
		message->bytes = share->bytes;
		if (admin_copy(arena, str_from(share->label), &message->label,
			err) < 0)
			return -1;
		(*list)[i] = message;
	}
	if (*list != NULL && (*count == 0 || (*list)[*count - 1] != NULL))
		return 0;
	admin_no_memory(err);
	return -1;
}

static int
list_root(struct arena *arena, const struct collection_root *root,
    Adminapi__CollectRoot **message, struct error *err)
{
	static const Adminapi__CollectRoot__Kind kinds[] = {
	    [ROOT_PIN] = ADMINAPI__COLLECT_ROOT__KIND__PIN,
	    [ROOT_TOOLCHAIN] = ADMINAPI__COLLECT_ROOT__KIND__TOOLCHAIN,
	    [ROOT_OPERATIONS] = ADMINAPI__COLLECT_ROOT__KIND__OPERATIONS};

	*message = arena_alloc(arena, sizeof(**message));
	if (*message == NULL) {
		admin_no_memory(err);
		return -1;
	}
	adminapi__collect_root__init(*message);
	(*message)->kind = kinds[root->kind];
	(*message)->blobs = root->blobs;
	(*message)->bytes = root->bytes;
	(*message)->dropped = root->dropped;
	if (root->kind != ROOT_OPERATIONS) {
		(*message)->digest = admin_digest(arena, &root->digest, err);
		if ((*message)->digest == NULL)
			return -1;
	}
	return admin_copy(arena, str_from(root->name), &(*message)->name, err);
}

static int
list_details(struct arena *arena, struct collection_details *details,
    size_t limit, Adminapi__CollectResponse *response, struct error *err)
{
	size_t count =
	    details->root_count < limit ? details->root_count : limit;

	if (list_shares(arena, &details->targets, limit, &response->targets,
		&response->n_targets, err) < 0 ||
	    list_shares(arena, &details->toolchains, limit,
		&response->toolchains, &response->n_toolchains, err) < 0 ||
	    list_shares(arena, &details->instances, limit, &response->instances,
		&response->n_instances, err) < 0)
		return -1;
	response->kept = arena_zalloc(arena, count + 1, sizeof(void *));
	if (response->kept == NULL) {
		admin_no_memory(err);
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		if (list_root(
			arena, &details->roots[i], &response->kept[i], err) < 0)
			return -1;
		response->n_kept++;
	}
	return 0;
}

const ProtobufCMessage *
admin_collect(const struct admin_target *target, const ProtobufCMessage *base,
    struct arena *arena, struct error *err)
{
	const Adminapi__CollectRequest *request =
	    (const Adminapi__CollectRequest *)base;
	Adminapi__CollectResponse *response =
	    arena_alloc(arena, sizeof(*response));
	struct collection_details details;
	struct collection_report report;
	struct collection_wish wish;
	size_t limit = request->list < LIST_MAX ? request->list : LIST_MAX;
	int rc;

	if (response == NULL)
		return admin_no_memory(err);
	if (request->max_age_ms < 0) {
		error_set(
		    err, ERROR_INVALID_ARGUMENT, "max_age_ms is negative");
		return NULL;
	}
	if (collect_fill_wish(request, target->store, &wish, err) < 0)
		return NULL;
	collection_details_init(&details);
	if (request->list > 0)
		wish.details = &details;
	rc = collector_collect(target->collector, &wish, &report, err);
	if (rc == 0) {
		adminapi__collect_response__init(response);
		collect_fill_response(&report, response);
		rc = list_details(arena, &details, limit, response, err);
	}
	if (rc == 0)
		response->uses = admin_uses(
		    arena, target->store, limit, &response->n_uses, err);
	if (rc == 0 && response->uses == NULL)
		rc = -1;
	collection_details_clear(&details);
	return rc == 0 ? &response->base : NULL;
}

const ProtobufCMessage *
admin_watch_collection(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err)
{
	static const Adminapi__CollectionProgress__Phase phases[] = {
	    [COLLECTION_NONE] = ADMINAPI__COLLECTION_PROGRESS__PHASE__NONE,
	    [COLLECTION_ROOTS] = ADMINAPI__COLLECTION_PROGRESS__PHASE__ROOTS,
	    [COLLECTION_COUNTING] =
		ADMINAPI__COLLECTION_PROGRESS__PHASE__COUNTING,
	    [COLLECTION_DROPPING] =
		ADMINAPI__COLLECTION_PROGRESS__PHASE__DROPPING,
	    [COLLECTION_COMPACTING] =
		ADMINAPI__COLLECTION_PROGRESS__PHASE__COMPACTING,
	    [COLLECTION_ENDED] = ADMINAPI__COLLECTION_PROGRESS__PHASE__ENDED};
	Adminapi__CollectionProgress *response =
	    arena_alloc(arena, sizeof(*response));
	struct collection_progress progress;

	(void)request;
	if (response == NULL)
		return admin_no_memory(err);
	collector_progress(target->collector, &progress);
	adminapi__collection_progress__init(response);
	response->phase = phases[progress.phase];
	response->done = progress.done;
	response->total = progress.total;
	response->dropped_bytes = progress.dropped_bytes;
	return &response->base;
}
