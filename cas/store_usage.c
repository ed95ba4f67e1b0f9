/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: what is stored and what is promised stay below max_size. Any thread,
 * under store.usage_lock.
 */
#include <inttypes.h>
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

/* Under the lock. */
static uint64_t
store_used(const struct store *store)
{
	const struct index_state *state = &store->state;

	return state->segment_bytes + state->file_bytes + state->action_bytes +
	       (state->blobs + state->actions) * INDEX_ENTRY_COST +
	       store->reserved;
}

/* What would have to be broken to take more in. */
struct shortage {
	int64_t min_age_ms; /* -1: a collection may still free something */
	int64_t oldest_age_ms;
};

/* No collection will be asked for room. */
static int
store_full_for_large(
    const struct store *store, uint64_t used, uint64_t bytes, struct error *err)
{
	if (bytes > store->max_size)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the store cannot hold this: limit %" PRIu64
		    " bytes, needed %" PRIu64 "; raise --max-size",
		    store->max_size, bytes);
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the store is full: limit %" PRIu64 " bytes, in use %" PRIu64
	    ", needed %" PRIu64
	    ", and no room is made by itself for more than a third of the "
	    "limit; raise --max-size or run `toolroot gc --run --max-size "
	    "%" PRIu64 "`",
	    store->max_size, used, bytes, store->max_size - bytes);
}

static int
store_full(const struct store *store, uint64_t used, uint64_t bytes,
    const struct shortage *shortage, struct error *err)
{
	if (bytes > ROOM_MAX(store->max_size))
		return store_full_for_large(store, used, bytes, err);
	if (shortage->min_age_ms < 0)
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, RETRY_MS,
		    "the store is full: limit %" PRIu64
		    " bytes, in use %" PRIu64 ", needed %" PRIu64
		    "; raise --max-size or run `toolroot gc --run`",
		    store->max_size, used, bytes);
	if (shortage->oldest_age_ms < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the store is full: limit %" PRIu64
		    " bytes, in use %" PRIu64 ", needed %" PRIu64
		    ", and all of it is pinned; raise --max-size, or unpin "
		    "something",
		    store->max_size, used, bytes);
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the store is full: limit %" PRIu64 " bytes, in use %" PRIu64
	    ", needed %" PRIu64 "; what could go next was used %" PRId64
	    " s ago, and min-age promises %" PRId64
	    " s: raise --max-size, or lower --min-age",
	    store->max_size, used, bytes, shortage->oldest_age_ms / 1000,
	    shortage->min_age_ms / 1000);
}

/* Under the lock: a collection may make room for it. */
static void
store_note_refused(struct store *store, uint64_t bytes)
{
	if (bytes > store->refused && bytes <= ROOM_MAX(store->max_size))
		store->refused = bytes;
}

uint64_t
store_take_refused(struct store *store)
{
	uint64_t refused;

	pthread_mutex_lock(&store->usage_lock);
	refused = store->refused;
	store->refused = 0;
	pthread_mutex_unlock(&store->usage_lock);
	return refused;
}

/* Up to limit bytes. */
static bool
store_reserve_below(struct store *store, uint64_t bytes, uint64_t limit)
{
	uint64_t used;
	bool fits;

	pthread_mutex_lock(&store->usage_lock);
	used = store_used(store);
	fits = used <= limit && bytes <= limit - used;
	if (fits)
		store->reserved += bytes;
	pthread_mutex_unlock(&store->usage_lock);
	return fits;
}

static int
store_reserve_failed(struct store *store, uint64_t bytes, struct error *err)
{
	struct shortage shortage;
	uint64_t used;

	pthread_mutex_lock(&store->usage_lock);
	used = store_used(store);
	store_note_refused(store, bytes);
	shortage = (struct shortage){
	    store->shortage_min_age_ms, store->shortage_oldest_ms};
	pthread_mutex_unlock(&store->usage_lock);
	return store_full(store, used, bytes, &shortage, err);
}

int
store_reserve(struct store *store, uint64_t bytes, struct error *err)
{
	if (store_reserve_below(store, bytes, store->max_size))
		return 0;
	return store_reserve_failed(store, bytes, err);
}

int
store_reserve_move(struct store *store, uint64_t bytes, struct error *err)
{
	if (store_reserve_below(
		store, bytes, store->max_size + store->segment_size))
		return 0;
	return store_reserve_failed(store, bytes, err);
}

void
store_set_shortage(
    struct store *store, int64_t min_age_ms, int64_t oldest_age_ms)
{
	pthread_mutex_lock(&store->usage_lock);
	store->shortage_min_age_ms = min_age_ms;
	store->shortage_oldest_ms = oldest_age_ms;
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

void
store_release(struct store *store, uint64_t bytes)
{
	pthread_mutex_lock(&store->usage_lock);
	store->reserved -= bytes;
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_set_state(struct store *store, const struct index_state *state,
    uint64_t indexed, uint64_t reserved)
{
	pthread_mutex_lock(&store->usage_lock);
	store->state = *state;
	store->pending_blobs -= indexed;
	store->reserved -= reserved;
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
    struct store *store, uint64_t records, uint64_t bytes, uint32_t log_segment)
{
	pthread_mutex_lock(&store->usage_lock);
	store->reserved += bytes;
	store->recovered_blobs += records;
	store->pending_blobs += records;
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
