/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which entries of an epoch that goes in part: large files, and then the
 * records of whole segments, the oldest segments first, so that as few holes as
 * possible are left, whose neighbours would have to be moved. Results go with
 * the blobs that they name, and by themselves when no blobs are left. The
 * collecting thread.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/collector_internal.h"

#define WALK_BATCH 8192

/* What the epoch has in a segment. */
struct pick_share {
	uint32_t number;
	uint64_t bytes;
};

struct pick {
	struct collection *collection;
	struct collection_class *class;
	struct index_state state;
	struct pick_share *shares; /* by number */
	size_t count;
	size_t capacity;
	uint64_t file_bytes;
};

static int
pick_order(const void *a, const void *b)
{
	const struct pick_share *one = a, *other = b;

	return one->number < other->number ? -1 : one->number > other->number;
}

static int
pick_segment(void *cookie, struct str key, struct str value, struct error *err)
{
	struct pick *pick = cookie;
	struct segment_usage usage;

	if (index_decode_segment(key, value, &usage, err) < 0)
		return -1;
	if (pick->count == pick->capacity) {
		pick->capacity = 2 * pick->capacity + 64;
		pick->shares = xreallocarray(
		    pick->shares, pick->capacity, sizeof(*pick->shares));
	}
	pick->shares[pick->count++] = (struct pick_share){usage.number, 0};
	return 0;
}

static int
pick_blob(void *cookie, struct str key, struct str value, struct error *err)
{
	struct pick *pick = cookie;
	struct pick_share wanted = {0, 0}, *share;
	struct digest digest;
	struct place place;

	if (index_decode_blob(key, value, &digest, &place, err) < 0)
		return -1;
	if (collection_class_of_blob(pick->collection, &place) != pick->class ||
	    collection_cut_epoch(pick->collection, place.epoch, &pick->state) !=
		pick->class->cutoff ||
	    keep_has(&pick->collection->keep, &digest))
		return 0;
	if (place.kind == PLACE_FILE) {
		pick->file_bytes += store_place_cost(&place);
		return 0;
	}
	wanted.number = place.segment;
	share = bsearch(&wanted, pick->shares, pick->count,
	    sizeof(*pick->shares), pick_order);
	/* One that is newer than the list stays. */
	if (share != NULL)
		share->bytes += store_place_cost(&place);
	return 0;
}

static int
pick_table(struct pick *pick, enum index_table table, index_visit_fn *visit,
    struct error *err)
{
	struct store_index *index = pick->collection->store->index;
	struct index_position position = {.length = 0};
	int rc = 1;

	while (rc == 1) {
		MDB_txn *txn;

		if (collection_check(pick->collection, err) < 0 ||
		    index_read_begin(index, &txn, err) < 0)
			return -1;
		rc = index_state(index, txn, &pick->state, err);
		if (rc == 0)
			rc = index_walk(index, txn, table, &position,
			    WALK_BATCH, visit, pick, err);
		index_read_end(index, txn);
	}
	return rc;
}

/* Files, then segments, until the rest is reached within one of them; what it
 * has beyond all of them is of results. An instance may have nothing else: it
 * names what others wrote. */
static void
pick_choose(const struct pick *pick)
{
	struct collection_class *class = pick->class;

	if (pick->file_bytes >= class->rest)
		return;
	class->rest_of = REST_OF_SEGMENT;
	class->rest -= pick->file_bytes;
	for (size_t i = 0; i < pick->count; i++) {
		class->segment = pick->shares[i].number;
		if (pick->shares[i].bytes >= class->rest)
			return;
		class->rest -= pick->shares[i].bytes;
	}
	class->rest_of = REST_OF_RESULTS;
}

int
collection_pick(struct collection *collection, struct collection_class *class,
    struct error *err)
{
	struct pick pick = {.collection = collection, .class = class};
	int rc;

	class->rest_of = REST_OF_FILES;
	class->segment = 0;
	rc = pick_table(&pick, INDEX_SEGMENTS, pick_segment, err);
	if (rc == 0 && pick.count > 0)
		qsort(
		    pick.shares, pick.count, sizeof(*pick.shares), pick_order);
	if (rc == 0)
		rc = pick_table(&pick, INDEX_BLOBS, pick_blob, err);
	if (rc == 0)
		pick_choose(&pick);
	free(pick.shares);
	return rc;
}
