/* SPDX-License-Identifier: Apache-2.0 */
/* Three passes in short transactions. */
#include "cas/store_statistics.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "cas/action_value.h"
#include "cas/keep.h"
#include "cas/store_internal.h"

#define WALK_BATCH 8192

const uint64_t statistics_size_limits[STATISTICS_SIZES - 1] = {
    1 << 10, 16 << 10, 128 << 10, 1 << 20, 16 << 20, 128 << 20};
const uint32_t statistics_age_limits[STATISTICS_AGES - 1] = {
    60, 3 * 60, 12 * 60, 24 * 60, 3 * 1440, 7 * 1440, 30 * 1440};

struct counting {
	struct store_statistics *statistics;
	struct index_state state;
	struct keep seen; /* blobs that results name */
	uint32_t now;     /* minutes since 1970 */
};

static void
statistics_add(struct statistics_share *share, uint64_t bytes)
{
	share->count++;
	share->bytes += bytes;
}

static int
statistics_blob(
    void *cookie, struct str key, struct str value, struct error *err)
{
	const struct counting *counting = cookie;
	struct store_statistics *statistics = counting->statistics;
	struct digest digest;
	struct place place;
	uint32_t epoch, age;
	size_t size = 0, old = 0;

	if (index_decode_blob(key, value, &digest, &place, err) < 0)
		return -1;
	epoch = place.epoch > counting->state.touch_floor
		    ? place.epoch
		    : counting->state.touch_floor;
	age = counting->now > epoch ? counting->now - epoch : 0;
	while (size < STATISTICS_SIZES - 1 &&
	       place.size >= statistics_size_limits[size])
		size++;
	while (old < STATISTICS_AGES - 1 && age >= statistics_age_limits[old])
		old++;
	statistics->blobs++;
	statistics->size_bytes += place.size;
	statistics->stored_bytes += place.stored_size;
	statistics_add(&statistics->sizes[size], place.stored_size);
	statistics_add(&statistics->ages[old], place.stored_size);
	if (place.kind == PLACE_FILE) {
		statistics->large_blobs++;
		statistics->large_bytes += place.stored_size;
	}
	if (place.encoding == ENCODING_ZSTD) {
		statistics->compressed_blobs++;
		statistics->compressed_size_bytes += place.size;
		statistics->compressed_stored_bytes += place.stored_size;
	}
	return 0;
}

static int
statistics_result(
    void *cookie, struct str key, struct str value, struct error *err)
{
	struct counting *counting = cookie;
	struct store_statistics *statistics = counting->statistics;
	struct action_value result;
	struct digest digest;
	struct str rest;

	statistics->results++;
	statistics->result_bytes += key.len + value.len;
	if (action_value_decode(value, &result, err) < 0)
		return -1;
	rest = (struct str){(const char *)result.blobs, result.blobs_length};
	for (uint32_t i = 0; i < result.count; i++) {
		if (action_value_take_digest(&rest, &digest) < 0)
			break;
		statistics->named++;
		statistics->named_bytes += digest.size;
		if (keep_has(&counting->seen, &digest))
			continue;
		keep_add_blob(&counting->seen, &digest);
		statistics->distinct++;
		statistics->distinct_bytes += digest.size;
	}
	return 0;
}

static int
statistics_segment(
    void *cookie, struct str key, struct str value, struct error *err)
{
	const struct counting *counting = cookie;
	struct segment_usage usage;
	uint64_t tenth;

	if (index_decode_segment(key, value, &usage, err) < 0)
		return -1;
	tenth = usage.length > 0 ? usage.used * 10 / usage.length : 0;
	statistics_add(
	    &counting->statistics
		 ->live[tenth < STATISTICS_LIVE ? tenth : STATISTICS_LIVE - 1],
	    usage.length);
	counting->statistics->segments++;
	counting->statistics->segment_bytes += usage.length;
	counting->statistics->segment_live_bytes += usage.used;
	return 0;
}

static int
statistics_walk(struct store *store, struct counting *counting,
    enum index_table table, index_visit_fn *visit, struct error *err)
{
	struct index_position position = {.length = 0};
	int rc = 1;

	while (rc == 1) {
		MDB_txn *txn;

		if (index_read_begin(store->index, &txn, err) < 0)
			return -1;
		rc = index_state(store->index, txn, &counting->state, err);
		if (rc == 0)
			rc = index_walk(store->index, txn, table, &position,
			    WALK_BATCH, visit, counting, err);
		index_read_end(store->index, txn);
	}
	return rc;
}

int
store_statistics(
    struct store *store, struct store_statistics *statistics, struct error *err)
{
	struct counting counting = {.statistics = statistics,
	    .now = (uint32_t)((uint64_t)clock_wall_ns() / 60000000000u)};
	int rc;

	memset(statistics, 0, sizeof(*statistics));
	keep_init(&counting.seen, store);
	rc = statistics_walk(
	    store, &counting, INDEX_BLOBS, statistics_blob, err);
	if (rc == 0)
		rc = statistics_walk(
		    store, &counting, INDEX_ACTIONS, statistics_result, err);
	if (rc == 0)
		rc = statistics_walk(
		    store, &counting, INDEX_SEGMENTS, statistics_segment, err);
	keep_clear(&counting.seen);
	return rc;
}
