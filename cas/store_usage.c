/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: what is stored and what is promised stay below max_size, and what an
 * instance has below its quota. Any thread, under store.usage_lock.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cas/store_internal.h"

/* A leaf entry of the index, with the free part of its page and the pages
 * above it: 148 bytes measured with 250,000 blobs (tests/bench). */
#define INDEX_ENTRY_COST 160
#define FILE_BLOCK 4096
/* A collection that the refusal starts may have made room by then. */
#define RETRY_MS 1000
/* What one write may ask of the collector: who only declares a size must not
 * empty the store. */
#define ROOM_MAX(max_size) ((max_size) / 3)

uint64_t
store_file_bytes(uint64_t stored_size)
{
	return (stored_size + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
}

uint64_t
store_record_cost(uint64_t stored_size)
{
	return INDEX_ENTRY_COST + RECORD_HEADER_SIZE + stored_size;
}

uint64_t
store_blob_cost(const struct store *store, uint64_t stored_size)
{
	if (stored_size <= store->small_limit)
		return store_record_cost(stored_size);
	return INDEX_ENTRY_COST + store_file_bytes(stored_size);
}

uint64_t
store_action_cost(uint64_t value_size)
{
	return INDEX_ENTRY_COST + value_size;
}

uint64_t
store_place_cost(const struct place *place)
{
	if (place->kind == PLACE_FILE)
		return INDEX_ENTRY_COST + store_file_bytes(place->stored_size);
	return store_record_cost(place->stored_size);
}

/* Under the lock. */
static uint64_t
store_used(const struct store *store)
{
	const struct index_state *state = &store->state;

	return state->segment_bytes + state->file_bytes + state->action_bytes +
	       (state->blobs + state->actions) * INDEX_ENTRY_COST +
	       store->reserved;
}

uint64_t
owner_used(const struct owner *owner)
{
	return owner->use.blob_bytes + owner->use.result_bytes +
	       owner->reserved;
}

/* --- refusals ------------------------------------------------------------- */

/* What does not fit: the store, or an instance's quota. */
struct refusal {
	char what[128];
	const char *setting; /* what raises the limit */
	const char *option;  /* of a collection by hand */
	uint64_t limit;
	uint64_t used;
	uint64_t needed;
	struct shortage shortage;
};

static int
refusal_tell(const struct refusal *refusal, struct error *err)
{
	char figures[256];

	snprintf(figures, sizeof(figures),
	    "%s is full: limit %" PRIu64 " bytes, in use %" PRIu64
	    ", needed %" PRIu64,
	    refusal->what, refusal->limit, refusal->used, refusal->needed);
	if (refusal->needed > refusal->limit)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s cannot hold this: limit %" PRIu64
		    " bytes, needed %" PRIu64 "; raise %s",
		    refusal->what, refusal->limit, refusal->needed,
		    refusal->setting);
	/* No collection will be asked for room. */
	if (refusal->needed > ROOM_MAX(refusal->limit))
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s, and no room is made by itself for more than a third "
		    "of the limit; raise %s or run `toolroot gc --run "
		    "--max-size %" PRIu64 "%s`",
		    figures, refusal->setting, refusal->limit - refusal->needed,
		    refusal->option);
	if (refusal->shortage.min_age_ms < 0)
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, RETRY_MS,
		    "%s; raise %s or run `toolroot gc --run%s`", figures,
		    refusal->setting, refusal->option);
	if (refusal->shortage.oldest_age_ms < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s, and all of it is pinned; raise %s, or unpin "
		    "something",
		    figures, refusal->setting);
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "%s; what could go next was used %" PRId64
	    " s ago, and min-age promises %" PRId64
	    " s: raise %s, or lower --min-age",
	    figures, refusal->shortage.oldest_age_ms / 1000,
	    refusal->shortage.min_age_ms / 1000, refusal->setting);
}

/* Under the lock: a collection may make room for it. */
static void
note_refused(uint64_t *refused, uint64_t bytes, uint64_t limit)
{
	if (bytes > *refused && bytes <= ROOM_MAX(limit))
		*refused = bytes;
}

/* Under the lock. NULL when nothing is known of it. */
static struct owner *
store_find_owner(struct store *store, uint16_t owner)
{
	return owner < store->owners.count ? store->owners.items[owner] : NULL;
}

uint64_t
store_take_refused(struct store *store, uint16_t owner)
{
	uint64_t *refused = &store->refused, taken = 0;
	struct owner *asked;

	pthread_mutex_lock(&store->usage_lock);
	if (owner != 0) {
		asked = store_find_owner(store, owner);
		refused = asked != NULL ? &asked->refused : &taken;
	}
	taken = *refused;
	*refused = 0;
	pthread_mutex_unlock(&store->usage_lock);
	return taken;
}

/* Under the lock. */
static void
refuse_store(struct store *store, uint64_t bytes, struct refusal *refusal)
{
	*refusal = (struct refusal){.what = "the store",
	    .setting = "--max-size",
	    .option = "",
	    .limit = store->max_size,
	    .used = store_used(store),
	    .needed = bytes,
	    .shortage = store->shortage};
	note_refused(&store->refused, bytes, store->max_size);
}

/* Under the lock. */
static void
refuse_owner(struct owner *owner, uint64_t bytes, struct refusal *refusal)
{
	*refusal = (struct refusal){.setting = "its instance-quota",
	    .option = " --instance NAME",
	    .limit = owner->quota,
	    .used = owner_used(owner),
	    .needed = bytes,
	    .shortage = owner->shortage};
	snprintf(refusal->what, sizeof(refusal->what),
	    "the quota of instance \"%.80s\"",
	    owner->name != NULL ? owner->name : "");
	note_refused(&owner->refused, bytes, owner->quota);
}

/* --- reservations --------------------------------------------------------- */

static bool
fits(uint64_t used, uint64_t bytes, uint64_t limit)
{
	return used <= limit && bytes <= limit - used;
}

/* Up to limit bytes in the whole store. */
static int
store_reserve_below(struct store *store, uint16_t number, uint64_t bytes,
    uint64_t limit, struct error *err)
{
	struct owner *owner = NULL;
	struct refusal refusal;
	bool refused = true;

	pthread_mutex_lock(&store->usage_lock);
	if (number != 0)
		owner = owners_at(&store->owners, number);
	if (owner != NULL && owner->quota != 0 &&
	    !fits(owner_used(owner), bytes, owner->quota)) {
		refuse_owner(owner, bytes, &refusal);
	} else if (!fits(store_used(store), bytes, limit)) {
		refuse_store(store, bytes, &refusal);
	} else {
		refused = false;
		store->reserved += bytes;
		if (owner != NULL)
			owner->reserved += bytes;
	}
	pthread_mutex_unlock(&store->usage_lock);
	return refused ? refusal_tell(&refusal, err) : 0;
}

int
store_reserve(
    struct store *store, uint16_t owner, uint64_t bytes, struct error *err)
{
	return store_reserve_below(store, owner, bytes, store->max_size, err);
}

int
store_reserve_move(struct store *store, uint64_t bytes, struct error *err)
{
	return store_reserve_below(
	    store, 0, bytes, store->max_size + store->segment_size, err);
}

/* Under the lock. */
static void
store_unreserve(struct store *store, uint16_t owner, uint64_t bytes)
{
	store->reserved -= bytes;
	if (owner != 0)
		owners_at(&store->owners, owner)->reserved -= bytes;
}

void
store_release(struct store *store, uint16_t owner, uint64_t bytes)
{
	if (bytes == 0)
		return;
	pthread_mutex_lock(&store->usage_lock);
	store_unreserve(store, owner, bytes);
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_set_shortage(
    struct store *store, uint16_t owner, const struct shortage *shortage)
{
	pthread_mutex_lock(&store->usage_lock);
	if (owner == 0)
		store->shortage = *shortage;
	else
		owners_at(&store->owners, owner)->shortage = *shortage;
	pthread_mutex_unlock(&store->usage_lock);
}

int
store_disk_error(struct store *store, struct error *err)
{
	struct statvfs disk;

	if (err->code != ERROR_RESOURCE_EXHAUSTED)
		error_prefix(err, "store %s", store->path);
	else if (fstatvfs(store->directory, &disk) == -1)
		error_prefix(err, "store %s: the disk is full", store->path);
	else
		error_prefix(err,
		    "store %s: the disk is full, %" PRIu64
		    " bytes free of %" PRIu64
		    "; free some of it, or run `toolroot gc --run`",
		    store->path, (uint64_t)disk.f_frsize * disk.f_bavail,
		    (uint64_t)disk.f_frsize * disk.f_blocks);
	store_note_failure(store, err);
	return -1;
}

/* Whom a pending blob counts for meanwhile: a copy is nobody's. */
static uint16_t
pending_blob_payer(const struct pending_blob *blob)
{
	return blob->moves ? 0 : blob->place.owner;
}

void
store_set_state(struct store *store, const struct index_write *write,
    struct pending_blob *const *indexed, size_t count)
{
	static const struct owner_use none;

	pthread_mutex_lock(&store->usage_lock);
	store->state = write->state;
	store->pending_blobs -= count;
	for (size_t i = 0; i < count; i++)
		store_unreserve(store, pending_blob_payer(indexed[i]),
		    indexed[i]->reserved);
	for (size_t i = 0; i < write->changes.count; i++) {
		const struct owner_use *change = &write->changes.items[i];

		if (memcmp(change, &none, sizeof(none)) != 0)
			owner_use_change(
			    &owners_at(&store->owners, (uint16_t)i)->use,
			    change);
	}
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_count_files(struct store *store, uint64_t files)
{
	pthread_mutex_lock(&store->usage_lock);
	store->commits++;
	store->committed_blobs += files;
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_count_records(struct store *store, uint64_t records, uint32_t log_segment)
{
	pthread_mutex_lock(&store->usage_lock);
	store->commits++;
	store->committed_blobs += records;
	store->pending_blobs += records;
	store->log_segment = log_segment;
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_count_recovered(
    struct store *store, const struct pending_list *found, uint32_t log_segment)
{
	const struct pending_blob *blob;

	pthread_mutex_lock(&store->usage_lock);
	STAILQ_FOREACH(blob, found, link)
	{
		uint16_t owner = pending_blob_payer(blob);

		store->reserved += blob->reserved;
		if (owner != 0)
			owners_at(&store->owners, owner)->reserved +=
			    blob->reserved;
		store->recovered_blobs++;
		store->pending_blobs++;
	}
	store->log_segment = log_segment;
	pthread_mutex_unlock(&store->usage_lock);
}

/* A read-only store's totals are another process's. */
static void
store_refresh_state(struct store *store)
{
	struct index_state state;
	struct error ignored;
	MDB_txn *txn;

	if (index_read_begin(store->index, &txn, &ignored) < 0)
		return;
	if (index_state(store->index, txn, &state, &ignored) == 0) {
		pthread_mutex_lock(&store->usage_lock);
		store->state = state;
		pthread_mutex_unlock(&store->usage_lock);
	}
	index_read_end(store->index, txn);
}

void
store_usage(struct store *store, struct store_usage *usage)
{
	if (store->read_only)
		store_refresh_state(store);
	pthread_mutex_lock(&store->usage_lock);
	usage->bytes = store_used(store);
	usage->max_bytes = store->max_size;
	usage->blobs = store->state.blobs + store->pending_blobs;
	usage->action_results = store->state.actions;
	usage->segments = store->state.segments;
	/* Those that the index has not come to. */
	if (store->log_segment > store->state.active_segment)
		usage->segments +=
		    store->log_segment - store->state.active_segment;
	usage->commits = store->commits;
	usage->committed_blobs = store->committed_blobs;
	pthread_mutex_unlock(&store->usage_lock);
	usage->dropped = atomic_load(&store->dropped);
	usage->lookups.hits = atomic_load(&store->lookup_hits);
	usage->lookups.misses = atomic_load(&store->lookup_misses);
	usage->lookups.incomplete = atomic_load(&store->lookup_incomplete);
	usage->recovered_blobs = store->recovered_blobs;
	usage->recovery_ns = store->recovery_ns;
}
