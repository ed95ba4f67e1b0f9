/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first half of a collection: all entries are counted by age, then the
 * epoch is chosen up to which they go. Short read transactions, so that pages
 * of the index do not pile up. The collecting thread.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/collector_internal.h"

#define WALK_BATCH 8192

uint32_t
collection_epoch(uint32_t epoch, const struct index_state *state)
{
	return epoch > state->touch_floor ? epoch : state->touch_floor;
}

/* Of the last bucket; 0 when the limit is not that far from 1970. */
static uint32_t
survey_last_epoch(const struct collection *collection)
{
	const uint32_t span = (SURVEY_BUCKETS - 1) * EPOCH_GRAIN;

	return collection->limit > span ? collection->limit - span : 0;
}

uint32_t
collection_cut_epoch(const struct collection *collection, uint32_t epoch,
    const struct index_state *state)
{
	uint32_t last = survey_last_epoch(collection);

	epoch = collection_epoch(epoch, state);
	return epoch > last ? epoch : last;
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
survey_count(struct survey *survey, struct collection_class *class,
    uint32_t epoch, uint64_t bytes)
{
	struct collection *collection = survey->collection;
	size_t bucket;

	if (collection->limited_out || epoch > collection->limit) {
		if (epoch < collection->oldest)
			collection->oldest = epoch;
		return false;
	}
	bucket = (collection->limit - epoch) / EPOCH_GRAIN;
	assert(bucket < SURVEY_BUCKETS);
	class->buckets[bucket].bytes += bytes;
	class->buckets[bucket].entries++;
	return true;
}

static int
survey_blob(void *cookie, struct str key, struct str value, struct error *err)
{
	struct survey *survey = cookie;
	struct collection_report *report = survey->collection->report;
	struct collection_class *class;
	struct digest digest;
	struct place place;
	uint64_t bytes;
	uint32_t epoch;

	if (index_decode_blob(key, value, &digest, &place, err) < 0)
		return -1;
	class = collection_class_of_blob(survey->collection, &place);
	if (class == NULL)
		return 0;
	bytes = store_place_cost(&place);
	epoch = collection_cut_epoch(
	    survey->collection, place.epoch, &survey->state);
	if (keep_has(&survey->collection->keep, &digest)) {
		report->kept_blobs++;
		report->kept_bytes += bytes;
	} else if (!survey_count(survey, class, epoch, bytes)) {
		report->young_blobs++;
		report->young_bytes += bytes;
	}
	return 0;
}

static int
survey_action(void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct survey *survey = cookie;
	struct collection_class *class;
	struct action_value value;

	if (action_value_decode(bytes, &value, err) < 0)
		return -1;
	class = collection_class_of_result(
	    survey->collection, &value, action_value_owner(bytes));
	if (class != NULL)
		(void)survey_count(survey, class,
		    collection_cut_epoch(
			survey->collection, value.epoch, &survey->state),
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
		collection_advance(collection, WALK_BATCH);
	}
	return rc;
}

/* --- choosing ------------------------------------------------------------- */

/* The youngest epoch that the wish's age lets go; false: it names none. */
static bool
survey_age(const struct collection *collection, uint32_t *epoch)
{
	uint64_t age = (uint64_t)collection->wish->max_age_ms / 60000;

	if (collection->wish->max_age_ms == 0 ||
	    age + EPOCH_GRAIN > collection->now)
		return false;
	*epoch = collection->now - (uint32_t)age - EPOCH_GRAIN;
	return true;
}

/* Of a class's bucket, as much as is wanted and its allowance has. Returns how
 * much that is. */
static uint64_t
survey_take(struct collection_class *class, size_t i, uint32_t epoch,
    uint64_t wanted, uint64_t *allowance)
{
	const struct survey_bucket *bucket = &class->buckets[i];
	uint64_t bytes = bucket->bytes;

	if (bucket->entries == 0 || *allowance == 0)
		return 0;
	if (bytes > wanted)
		bytes = wanted;
	if (bytes > *allowance)
		bytes = *allowance;
	class->nothing = false;
	class->cutoff = epoch;
	class->rest = bytes < bucket->bytes ? bytes : UINT64_MAX;
	/* A class that gave a part of an epoch gives nothing younger. */
	if (bytes < bucket->bytes)
		*allowance = 0;
	else if (*allowance != UINT64_MAX)
		*allowance -= bytes;
	return bytes;
}

/* The oldest first: all that is too old, and until so many bytes are
 * reached. */
static void
survey_cut(struct collection *collection, uint64_t needed)
{
	uint64_t *allowances =
	    xcalloc(collection->class_count, sizeof(*allowances));
	uint32_t age_cutoff = 0;
	bool aged = survey_age(collection, &age_cutoff);
	uint64_t sum = 0;

	for (size_t k = 0; k < collection->class_count; k++)
		allowances[k] = collection->classes[k].allowance;
	for (size_t i = SURVEY_BUCKETS; i-- > 0;) {
		uint32_t epoch = collection->limit - (uint32_t)i * EPOCH_GRAIN;
		bool old = aged && epoch <= age_cutoff;

		for (size_t k = 0; k < collection->class_count; k++) {
			if (old || sum < needed)
				sum += survey_take(&collection->classes[k], i,
				    epoch, old ? UINT64_MAX : needed - sum,
				    &allowances[k]);
		}
		if (!old && sum >= needed)
			break;
	}
	free(allowances);
}

/* What floors keep of what is old enough. */
static void
survey_floors(struct collection *collection)
{
	collection->report->floor_bytes = 0;
	for (size_t k = 0; k < collection->class_count; k++) {
		const struct collection_class *class = &collection->classes[k];
		uint64_t bytes = 0;

		for (size_t i = 0; i < SURVEY_BUCKETS; i++)
			bytes += class->buckets[i].bytes;
		if (bytes > class->allowance)
			collection->report->floor_bytes +=
			    bytes - class->allowance;
	}
}

int
collection_survey(
    struct collection *collection, uint64_t needed, struct error *err)
{
	struct collection_report *report = collection->report;
	int rc;

	if (collection_classify(collection, err) < 0)
		return -1;
	report->kept_blobs = report->kept_bytes = 0;
	report->young_blobs = report->young_bytes = 0;
	collection->oldest = UINT32_MAX;
	collection_begin(
	    collection, COLLECTION_COUNTING, collection_entries(collection));
	rc = survey_table(collection, INDEX_BLOBS, survey_blob, err);
	if (rc == 0)
		rc =
		    survey_table(collection, INDEX_ACTIONS, survey_action, err);
	if (rc == 0 && !collection->limited_out)
		survey_cut(collection, needed);
	survey_floors(collection);
	for (size_t k = 0; rc == 0 && k < collection->class_count; k++) {
		struct collection_class *class = &collection->classes[k];

		if (!class->nothing && class->rest != UINT64_MAX)
			rc = collection_pick(collection, class, err);
	}
	return rc;
}
