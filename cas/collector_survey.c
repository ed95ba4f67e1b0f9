/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first half of a collection: all entries are counted by age, then the
 * epoch is chosen up to which they go. Short read transactions, so that pages
 * of the index do not pile up. The collecting thread.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "cas/action_value.h"
#include "cas/collector_internal.h"

#define WALK_BATCH 8192

uint32_t
collection_epoch(uint32_t epoch, const struct index_state *state)
{
	return epoch > state->touch_floor ? epoch : state->touch_floor;
}

uint64_t
collection_place_cost(const struct place *place)
{
	if (place->kind == PLACE_FILE)
		return store_action_cost(store_file_bytes(place->stored_size));
	return store_action_cost(RECORD_HEADER_SIZE + place->stored_size);
}

int
collection_check(const struct collection *collection, struct error *err)
{
	if (!atomic_load(collection->stopping))
		return 0;
	return error_set(err, ERROR_ABORTED,
	    "the collection was broken off: the store "
	    "is being closed");
}

/* --- counting ------------------------------------------------------------- */

struct survey {
	struct collection *collection;
	struct index_state state;
};

/* False when it is too young. */
static bool
survey_count(struct survey *survey, uint32_t epoch, uint64_t bytes)
{
	struct collection *collection = survey->collection;
	size_t bucket;

	if (collection->limited_out || epoch > collection->limit) {
		if (epoch < collection->oldest)
			collection->oldest = epoch;
		return false;
	}
	bucket = (collection->limit - epoch) / EPOCH_GRAIN;
	if (bucket >= SURVEY_BUCKETS)
		bucket = SURVEY_BUCKETS - 1;
	collection->buckets[bucket].bytes += bytes;
	collection->buckets[bucket].entries++;
	return true;
}

static int
survey_blob(void *cookie, struct str key, struct str value, struct error *err)
{
	struct survey *survey = cookie;
	struct collection_report *report = survey->collection->report;
	struct digest digest;
	struct place place;
	uint64_t bytes;
	uint32_t epoch;

	if (index_decode_blob(key, value, &digest, &place, err) < 0)
		return -1;
	bytes = collection_place_cost(&place);
	epoch = collection_epoch(place.epoch, &survey->state);
	if (keep_has(&survey->collection->keep, &digest)) {
		report->kept_blobs++;
		report->kept_bytes += bytes;
	} else if (!survey_count(survey, epoch, bytes)) {
		report->young_blobs++;
		report->young_bytes += bytes;
	}
	return 0;
}

static int
survey_action(void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct survey *survey = cookie;
	struct action_value value;

	if (action_value_decode(bytes, &value, err) < 0)
		return -1;
	(void)survey_count(survey,
	    collection_epoch(value.epoch, &survey->state),
	    store_action_cost(key.len + bytes.len));
	return 0;
}

static int
survey_table(struct collection *collection, enum index_table table,
    index_visit_fn *visit, struct error *err)
{
	struct store_index *index = collection->store->index;
	struct survey survey = {.collection = collection};
	struct index_position position = {.length = 0};
	int rc = 1;

	while (rc == 1) {
		MDB_txn *txn;

		if (collection_check(collection, err) < 0 ||
		    index_read_begin(index, &txn, err) < 0)
			return -1;
		rc = index_state(index, txn, &survey.state, err);
		if (rc == 0)
			rc = index_walk(index, txn, table, &position,
			    WALK_BATCH, visit, &survey, err);
		index_read_end(index, txn);
	}
	return rc;
}

/* --- choosing ------------------------------------------------------------- */

/* The oldest first, until so many bytes are reached. */
static void
survey_cut_by_size(struct collection *collection, uint64_t needed)
{
	uint64_t sum = 0;

	if (needed == 0)
		return;
	for (size_t i = SURVEY_BUCKETS; i-- > 0;) {
		const struct survey_bucket *bucket = &collection->buckets[i];

		if (bucket->entries == 0)
			continue;
		collection->nothing = false;
		collection->cutoff =
		    collection->limit - (uint32_t)i * EPOCH_GRAIN;
		collection->rest = UINT64_MAX;
		if (sum + bucket->bytes > needed)
			collection->rest = needed - sum;
		sum += bucket->bytes;
		if (sum >= needed)
			return;
	}
}

static void
survey_cut_by_age(struct collection *collection)
{
	uint64_t age = (uint64_t)collection->wish->max_age_ms / 60000;
	uint32_t cutoff;

	if (collection->wish->max_age_ms == 0 ||
	    age + EPOCH_GRAIN > collection->now)
		return;
	cutoff = collection->now - (uint32_t)age - EPOCH_GRAIN;
	if (cutoff > collection->limit)
		cutoff = collection->limit;
	if (!collection->nothing && collection->cutoff > cutoff)
		return;
	collection->nothing = false;
	collection->cutoff = cutoff;
	collection->rest = UINT64_MAX;
}

int
collection_survey(
    struct collection *collection, uint64_t needed, struct error *err)
{
	struct collection_report *report = collection->report;
	int rc;

	collection->buckets =
	    calloc(SURVEY_BUCKETS, sizeof(*collection->buckets));
	if (collection->buckets == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "memory for the survey of a collection");
	report->kept_blobs = report->kept_bytes = 0;
	report->young_blobs = report->young_bytes = 0;
	collection->oldest = UINT32_MAX;
	collection->nothing = true;
	rc = survey_table(collection, INDEX_BLOBS, survey_blob, err);
	if (rc == 0)
		rc =
		    survey_table(collection, INDEX_ACTIONS, survey_action, err);
	if (rc == 0 && !collection->limited_out) {
		survey_cut_by_size(collection, needed);
		survey_cut_by_age(collection);
	}
	free(collection->buckets);
	collection->buckets = NULL;
	return rc;
}
