/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second half of a collection: what the cutoffs say is removed, results
 * before blobs, some hundred in each transaction.
 *
 * Between the look at an entry and its removal anything may have happened, so
 * the transaction looks again: the entry must still be old, and no touch of it
 * may wait (touches_condemn). From then on look-ups take it for absent.
 *
 * Candidates: the collecting thread; removal: the committer's.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/collector_details.h"
#include "cas/collector_internal.h"
#include "cas/index_job.h"
#include "cas/little_endian.h"
#include "cas/provenance.h"

/* Entries that a read transaction visits, and that one transaction removes at
 * most. */
#define WALK_BATCH 2048
/* Files that are unlinked behind one transaction. */
#define FILES_A_JOB 128
#define ACTION_KEY_SIZE 32

struct candidate {
	struct digest digest;           /* a blob */
	uint8_t key[ACTION_KEY_SIZE];   /* a result */
	struct collection_class *class; /* of a result */
	struct place place;             /* as removed */
	bool removed;
};

struct sweep {
	struct collection *collection;
	struct index_state state;
	struct candidate *candidates; /* WALK_BATCH of them */
	size_t count;
	size_t files;
	uint64_t *rests; /* of each class's cutoff's epoch, still to go */
	/* Results go only if they are incomplete, whosever they are: what they
	 * name may be in another class, or in an epoch that goes in part. */
	bool incomplete_only;
	uint32_t latest; /* of all cutoffs */
	MDB_txn *txn;    /* the read transaction that walks */
	/* The slice of candidates that a job removes. */
	size_t first;
	size_t slice;
	uint64_t txn_id;
	struct collection_report done; /* by the job, when it is committed */
	uint32_t youngest;
};

/* --- removing, the committer's thread ------------------------------------- */

static bool
sweep_old(const struct sweep *sweep, const struct collection_class *class,
    uint32_t epoch, const struct index_state *state)
{
	return class != NULL && !class->nothing &&
	       collection_cut_epoch(sweep->collection, epoch, state) <=
		   class->cutoff;
}

static bool
sweep_old_blob(const struct sweep *sweep, const struct place *place,
    const struct index_state *state)
{
	return sweep_old(sweep,
	    collection_class_of_blob(sweep->collection, place), place->epoch,
	    state);
}

static bool
sweep_old_result(const struct sweep *sweep,
    const struct collection_class *class, uint32_t epoch,
    const struct index_state *state)
{
	if (sweep->incomplete_only)
		return collection_cut_epoch(sweep->collection, epoch, state) <=
		       sweep->latest;
	return sweep_old(sweep, class, epoch, state);
}

static void
sweep_removed(struct sweep *sweep, uint32_t epoch)
{
	if (epoch > sweep->youngest)
		sweep->youngest = epoch;
}

static int
sweep_remove_blob(struct sweep *sweep, struct index_write *write,
    struct candidate *candidate, struct error *err)
{
	struct store *store = sweep->collection->store;
	struct place *place = &candidate->place;
	uint8_t key[INDEX_KEY_MAX];
	int found = index_find(
	    store->index, write->txn, &candidate->digest, place, err);

	if (found != 1)
		return found;
	if (!sweep_old_blob(sweep, place, &write->state) ||
	    !touches_condemn(store->touches,
		(struct str){(char *)key, index_key(&candidate->digest, key)}))
		return 0;
	if (index_remove(write, &candidate->digest, place, err) < 0)
		return -1;
	candidate->removed = true;
	sweep_removed(sweep, collection_cut_epoch(sweep->collection,
				 place->epoch, &write->state));
	sweep->done.blobs++;
	sweep->done.blob_bytes += store_place_cost(place);
	sweep->done.files += place->kind == PLACE_FILE;
	return 0;
}

static int
sweep_remove_result(struct sweep *sweep, struct index_write *write,
    struct candidate *candidate, struct error *err)
{
	struct store *store = sweep->collection->store;
	const struct str key = {(char *)candidate->key, ACTION_KEY_SIZE};
	uint8_t touch[1 + ACTION_KEY_SIZE] = {DIGEST_UNKNOWN};
	struct str value;
	uint32_t epoch;
	int found =
	    index_find_action(store->index, write->txn, key, &value, err);

	if (found != 1 || value.len < INDEX_ACTION_EPOCH + 4)
		return found < 0 ? -1 : 0;
	epoch = little_endian_get32(
	    (const uint8_t *)value.data + INDEX_ACTION_EPOCH);
	memcpy(touch + 1, candidate->key, ACTION_KEY_SIZE);
	if (!sweep_old_result(sweep, candidate->class, epoch, &write->state) ||
	    !touches_condemn(
		store->touches, (struct str){(char *)touch, sizeof(touch)}))
		return 0;
	sweep->done.results++;
	sweep->done.result_bytes += store_action_cost(key.len + value.len);
	sweep_removed(sweep,
	    collection_cut_epoch(sweep->collection, epoch, &write->state));
	return index_remove_action(write, key, err) < 0 ? -1 : 0;
}

static int
sweep_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	struct sweep *sweep = cookie;

	(void)store;
	memset(&sweep->done, 0, sizeof(sweep->done));
	sweep->youngest = 0;
	sweep->txn_id = mdb_txn_id(write->txn);
	for (size_t i = 0; i < sweep->slice; i++) {
		struct candidate *candidate =
		    &sweep->candidates[sweep->first + i];
		bool blob = candidate->digest.function != DIGEST_UNKNOWN;

		candidate->removed = false;
		if ((blob ? sweep_remove_blob(sweep, write, candidate, err)
			  : sweep_remove_result(sweep, write, candidate, err)) <
		    0)
			return -1;
	}
	return 0;
}

static void
sweep_finish(void *cookie, struct store *store, bool done)
{
	struct sweep *sweep = cookie;

	if (done && sweep->done.blobs + sweep->done.results > 0)
		atomic_store(&store->collected, sweep->txn_id);
	touches_acquit(store->touches);
	for (size_t i = 0; done && i < sweep->slice; i++) {
		const struct candidate *candidate =
		    &sweep->candidates[sweep->first + i];

		if (candidate->removed && candidate->place.kind == PLACE_FILE)
			blob_file_remove(store, &candidate->digest,
			    candidate->place.encoding);
	}
}

/* --- the collecting thread ------------------------------------------------ */

/* How many candidates from first on make a job. */
static size_t
sweep_slice(const struct sweep *sweep)
{
	size_t files = 0, i = sweep->first;

	for (; i < sweep->count && files < FILES_A_JOB; i++)
		files += sweep->candidates[i].place.kind == PLACE_FILE;
	return i - sweep->first;
}

static int
sweep_run(struct sweep *sweep, struct error *err)
{
	const struct index_job job = {sweep_apply, sweep_finish, sweep};
	struct collection *collection = sweep->collection;
	struct collection_report *report = collection->report;

	for (sweep->first = 0; sweep->first < sweep->count;
	     sweep->first += sweep->slice) {
		sweep->slice = sweep_slice(sweep);
		if (collection_check(collection, err) < 0 ||
		    index_job_run(collection->store, &job, err) < 0)
			return -1;
		report->blobs += sweep->done.blobs;
		report->blob_bytes += sweep->done.blob_bytes;
		report->files += sweep->done.files;
		report->results += sweep->done.results;
		report->result_bytes += sweep->done.result_bytes;
		if (sweep->youngest > collection->youngest)
			collection->youngest = sweep->youngest;
	}
	sweep->count = 0;
	return 0;
}

/* What a plan says would have gone. */
static void
sweep_plan(struct sweep *sweep, const struct place *place, uint64_t bytes,
    uint32_t epoch)
{
	struct collection_report *report = sweep->collection->report;

	if (place != NULL) {
		report->blobs++;
		report->blob_bytes += bytes;
		report->files += place->kind == PLACE_FILE;
	} else {
		report->results++;
		report->result_bytes += bytes;
	}
	if (epoch > sweep->collection->youngest)
		sweep->collection->youngest = epoch;
}

/* False when nothing is left of it. A floor is not passed, any other mark is by
 * the entry that reaches it. */
static bool
sweep_take_bytes(
    struct sweep *sweep, const struct collection_class *class, uint64_t bytes)
{
	uint64_t *rest = &sweep->rests[class - sweep->collection->classes];

	if (*rest == 0 || (class->allowance != UINT64_MAX && bytes > *rest))
		return false;
	*rest -= bytes < *rest ? bytes : *rest;
	return true;
}

/* Of an epoch that goes in part; false: not this blob. */
static bool
sweep_take_blob(struct sweep *sweep, const struct collection_class *class,
    const struct place *place, uint64_t bytes)
{
	if (class->rest_of == REST_OF_RESULTS)
		return true;
	/* A file has no segment, so it is before all. */
	if (class->rest_of == REST_OF_SEGMENT &&
	    place->segment != class->segment)
		return place->segment < class->segment;
	if (class->rest_of == REST_OF_FILES && place->kind != PLACE_FILE)
		return false;
	return sweep_take_bytes(sweep, class, bytes);
}

static int
sweep_visit_blob(
    void *cookie, struct str key, struct str value, struct error *err)
{
	struct sweep *sweep = cookie;
	struct collection *collection = sweep->collection;
	struct candidate *candidate = &sweep->candidates[sweep->count];
	const struct collection_class *class;
	uint64_t bytes;
	uint32_t epoch;

	if (index_decode_blob(
		key, value, &candidate->digest, &candidate->place, err) < 0)
		return -1;
	class = collection_class_of_blob(collection, &candidate->place);
	if (!sweep_old(sweep, class, candidate->place.epoch, &sweep->state) ||
	    keep_has(&collection->keep, &candidate->digest))
		return 0;
	epoch = collection_cut_epoch(
	    collection, candidate->place.epoch, &sweep->state);
	bytes = store_place_cost(&candidate->place);
	if (epoch == class->cutoff && class->rest != UINT64_MAX &&
	    !sweep_take_blob(sweep, class, &candidate->place, bytes))
		return 0;
	if (!collection->wish->run)
		sweep_plan(sweep, &candidate->place, bytes, epoch);
	else
		sweep->count++;
	return 0;
}

/* 1 when all blobs of the result are there, 0, -1. */
static int
sweep_complete(
    struct sweep *sweep, const struct action_value *value, struct error *err)
{
	struct str rest = {(const char *)value->blobs, value->blobs_length};
	int found = 1;

	for (uint32_t i = 0; found == 1 && i < value->count; i++) {
		struct digest digest;
		struct place place;

		if (action_value_take_digest(&rest, &digest) < 0)
			return 0;
		if (!digest_is_empty(&digest))
			found = index_find(sweep->collection->store->index,
			    sweep->txn, &digest, &place, err);
	}
	return found;
}

/* Bytes of the result's blobs that would go as well. */
static int
sweep_blob_bytes(struct sweep *sweep, const struct action_value *value,
    uint64_t *bytes, struct error *err)
{
	struct collection *collection = sweep->collection;
	struct str rest = {(const char *)value->blobs, value->blobs_length};

	for (uint32_t i = 0; i < value->count; i++) {
		struct digest digest;
		struct place place;
		int found = 0;

		if (action_value_take_digest(&rest, &digest) < 0)
			return 0;
		if (!digest_is_empty(&digest) &&
		    !keep_has(&collection->keep, &digest))
			found = index_find(collection->store->index, sweep->txn,
			    &digest, &place, err);
		if (found < 0)
			return -1;
		if (found == 1 && sweep_old_blob(sweep, &place, &sweep->state))
			*bytes += store_place_cost(&place);
	}
	return 0;
}

/* Whose it is, for those who ask. */
static int
sweep_plan_details(struct sweep *sweep, const struct action_value *value,
    uint64_t bytes, struct error *err)
{
	struct collection_details *details = sweep->collection->wish->details;
	struct provenance provenance;
	char text[DIGEST_TEXT_MAX];

	if (details == NULL)
		return 0;
	if (sweep_blob_bytes(sweep, value, &bytes, err) < 0)
		return -1;
	(void)action_value_provenance(value, &provenance);
	collection_shares_add(&details->targets, provenance.target, bytes);
	collection_shares_add(&details->instances,
	    value->instance.len > 0 ? value->instance : STR("\"\""), bytes);
	for (size_t i = 0; i < provenance.toolchain_count; i++) {
		const struct digest *root = &provenance.toolchains[i];
		const char *name = collection_details_toolchain(details, root);

		collection_shares_add(&details->toolchains,
		    str_from(name != NULL ? name : digest_format(root, text)),
		    bytes);
	}
	return 0;
}

static int
sweep_visit_result(
    void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct sweep *sweep = cookie;
	struct collection *collection = sweep->collection;
	struct candidate *candidate = &sweep->candidates[sweep->count];
	struct collection_class *class;
	struct action_value value;
	uint64_t cost = store_action_cost(key.len + bytes.len);
	uint32_t epoch;
	int complete = 0;

	if (action_value_decode(bytes, &value, err) < 0)
		return -1;
	class = collection_class_of_result(
	    collection, &value, action_value_owner(bytes));
	if (key.len != ACTION_KEY_SIZE ||
	    !sweep_old_result(sweep, class, value.epoch, &sweep->state))
		return 0;
	epoch = collection_cut_epoch(collection, value.epoch, &sweep->state);
	/* Of a cutoff that goes in part, what lost a blob goes, and others only
	 * when its blobs are too few. */
	if (sweep->incomplete_only)
		complete = sweep_complete(sweep, &value, err);
	else if (class->rest != UINT64_MAX && epoch == class->cutoff)
		complete = class->rest_of != REST_OF_RESULTS ||
			   !sweep_take_bytes(sweep, class, cost);
	if (complete != 0)
		return complete < 0 ? -1 : 0;
	if (!collection->wish->run) {
		sweep_plan(sweep, NULL, cost, epoch);
		return sweep_plan_details(sweep, &value, cost, err);
	}
	memset(candidate, 0, sizeof(*candidate));
	memcpy(candidate->key, key.data, ACTION_KEY_SIZE);
	candidate->class = class;
	sweep->count++;
	return 0;
}

static int
sweep_table(struct sweep *sweep, enum index_table table, index_visit_fn *visit,
    struct error *err)
{
	struct store_index *index = sweep->collection->store->index;
	struct index_position position = {.length = 0};
	int rc = 1;

	while (rc == 1) {
		if (collection_check(sweep->collection, err) < 0 ||
		    index_read_begin(index, &sweep->txn, err) < 0)
			return -1;
		rc = index_state(index, sweep->txn, &sweep->state, err);
		if (rc == 0)
			rc = index_walk(index, sweep->txn, table, &position,
			    WALK_BATCH, visit, sweep, err);
		index_read_end(index, sweep->txn);
		if (rc >= 0 && sweep_run(sweep, err) < 0)
			rc = -1;
		collection_advance(sweep->collection, WALK_BATCH);
	}
	return rc;
}

/* Whether results may have lost blobs that did not go by their own age. */
static bool
sweep_is_uneven(const struct collection *collection)
{
	for (size_t i = 0; i < collection->class_count; i++) {
		const struct collection_class *class = &collection->classes[i];

		if (!class->nothing && class->rest != UINT64_MAX)
			return true;
	}
	return collection->class_count > 1;
}

static int
sweep_tables(struct sweep *sweep, struct error *err)
{
	struct collection *collection = sweep->collection;

	collection_begin(
	    collection, COLLECTION_DROPPING, collection_entries(collection));
	if (sweep_table(sweep, INDEX_ACTIONS, sweep_visit_result, err) < 0 ||
	    sweep_table(sweep, INDEX_BLOBS, sweep_visit_blob, err) < 0)
		return -1;
	/* A plan cannot know which. */
	if (!collection->wish->run || !sweep_is_uneven(collection))
		return 0;
	sweep->incomplete_only = true;
	return sweep_table(sweep, INDEX_ACTIONS, sweep_visit_result, err);
}

int
collection_sweep(struct collection *collection, struct error *err)
{
	struct sweep sweep = {.collection = collection};
	bool nothing = true;
	int rc = 0;

	sweep.rests = xcalloc(collection->class_count, sizeof(*sweep.rests));
	for (size_t i = 0; i < collection->class_count; i++) {
		const struct collection_class *class = &collection->classes[i];

		if (class->nothing)
			continue;
		nothing = false;
		sweep.rests[i] = class->rest;
		if (class->cutoff > sweep.latest)
			sweep.latest = class->cutoff;
	}
	sweep.candidates = xcalloc(WALK_BATCH, sizeof(*sweep.candidates));
	if (!nothing)
		rc = sweep_tables(&sweep, err);
	free(sweep.candidates);
	free(sweep.rests);
	return rc;
}
