/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action results in the index. Beside the message stands the list of every blob
 * that it needs, so that completeness is a number of look-ups, nearly always in
 * one read transaction and no tree is walked again. The value's layout is in
 * docs/store-format.md. Any thread; changes go through the committer.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/little_endian.h"
#include "cas/owners.h"
#include "cas/store_internal.h"
#include "cas/waiter.h"
#include "protos/arena_allocator.h"

#define RESULT_MAX ((size_t)64 << 20)
#define UNPACKED_MAX ((size_t)512 << 20)
/* An action with more blobs than this is refused: its entry would have to be
 * read whole at every hit. */
#define RESULT_BLOBS_MAX ((size_t)1 << 20)
#define VALUE_MAX ((size_t)256 << 20)

/* --- changing ------------------------------------------------------------- */

struct action_job {
	struct commit_job job;
	struct store *store;
	struct digest name; /* the key */
	/* To put: the value and what it names. Borrowed from the waiter. */
	const struct buffer *value;
	const struct digest_list *blobs;
	/* To drop: the version seen, or 0 for any. */
	uint64_t written_at;
	bool removed;
	/* Failures of this job alone are told to the waiter. */
	bool failed;
	struct error own;
	struct waiter *waiter; /* NULL: nobody waits */
	struct error *error;   /* the waiting thread's */
	int *result;           /* the waiting thread's */
};

static void
action_job_finish(struct commit_job *base, const struct error *err)
{
	struct action_job *job = (struct action_job *)base;

	if (err == NULL && job->failed)
		err = &job->own;
	if (job->waiter != NULL) {
		if (err != NULL)
			*job->error = *err;
		*job->result = err != NULL ? -1 : job->removed;
		waiter_finish(job->waiter);
	} else if (err != NULL) {
		/* It stays; the next look finds it incomplete again. */
		log_error(
		    "action_result_drop_failed", "error=\"%s\"", err->text);
	}
	free(job);
}

static struct action_job *
action_job_new(struct store *store, const struct digest *name)
{
	struct action_job *job = xcalloc(1, sizeof(*job));

	job->job.finish = action_job_finish;
	job->store = store;
	job->name = *name;
	return job;
}

/* The result of the job: -1, or whether it removed something. */
static int
action_job_wait(struct action_job *job, struct error *err)
{
	struct waiter waiter;
	int result;

	waiter_init(&waiter);
	job->waiter = &waiter;
	job->error = err;
	job->result = &result;
	committer_submit(job->store->committer, &job->job);
	waiter_wait(&waiter);
	return result;
}

static int
action_drop_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct action_job *job = (struct action_job *)base;
	struct str key = action_key_bytes(&job->name), bytes;
	int rc = index_find_action(
	    group->store->index, group->write.txn, key, &bytes, err);

	if (rc != 1)
		return rc;
	/* Replaced since: the new one was complete. */
	if (job->written_at != 0 && bytes.len >= 8 &&
	    little_endian_get64((const uint8_t *)bytes.data) != job->written_at)
		return 0;
	rc = index_remove_action(&group->write, key, err);
	job->removed = rc == 1;
	return rc < 0 ? -1 : 0;
}

int
store_drop_action(
    struct store *store, const struct action_key *key, struct error *err)
{
	struct action_job *job;
	struct digest name;

	if (store_check_writable(store, err) < 0)
		return -1;
	action_key_digest(key, &name);
	job = action_job_new(store, &name);
	job->job.apply = action_drop_apply;
	return action_job_wait(job, err);
}

static void
action_drop_incomplete(
    struct store *store, const struct digest *name, uint64_t written_at)
{
	struct action_job *job;

	if (store->read_only)
		return;
	job = action_job_new(store, name);
	job->job.apply = action_drop_apply;
	job->written_at = written_at;
	committer_submit(store->committer, &job->job);
}

/* The index cannot change between the check and the put: one transaction. */
static int
action_put_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct action_job *job = (struct action_job *)base;
	struct place place;
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < job->blobs->count; i++) {
		const struct digest *digest = &job->blobs->items[i];
		int found;

		if (digest_is_empty(digest))
			continue;
		/* What is pending is durable, and cannot be dropped before it
		 * is in the index. */
		if (store_find_pending(job->store, digest, &place))
			continue;
		found = index_find(
		    group->store->index, group->write.txn, digest, &place, err);
		if (found < 0)
			return -1;
		if (found == 1 &&
		    store_place_exists(job->store, digest, &place) &&
		    store_touch(job->store, digest, &place))
			continue;
		job->failed = true;
		error_set(&job->own, ERROR_FAILED_PRECONDITION,
		    "the action result names the blob %s, which is not in "
		    "the store",
		    digest_format(digest, text));
		return 0;
	}
	return index_put_action(&group->write, action_key_bytes(&job->name),
	    buffer_str(job->value), err);
}

static int
action_list_blobs(struct store *store, const struct action_key *key,
    struct str result, struct digest_list *blobs, struct error *err)
{
	const struct closure_source source =
	    closure_source_of_store(store, key->action.function);
	const Reapi__ActionResult *message;
	struct arena arena;
	int rc = -1;

	if (result.len > RESULT_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "an action result of %zu bytes is larger than the limit "
		    "of %zu",
		    result.len, RESULT_MAX);
	arena_init(&arena, UNPACKED_MAX);
	message = protos_unpack(
	    &arena, &reapi__action_result__descriptor, result, err);
	if (message != NULL)
		rc = closure_of_action_result(&source, message, blobs, err);
	arena_clear(&arena);
	return rc;
}

int
store_put_action(struct store *store, const struct action_key *key,
    struct str result, const struct provenance *provenance, struct error *err)
{
	struct digest_list blobs;
	struct buffer value;
	struct action_job *job;
	struct digest name;
	uint16_t owner = 0;
	uint64_t cost = 0;
	int rc = -1;

	digest_list_init(&blobs, RESULT_BLOBS_MAX);
	buffer_init(&value, VALUE_MAX);
	if (store_check_writable(store, err) < 0 ||
	    action_list_blobs(store, key, result, &blobs, err) < 0 ||
	    store_owner(store, key->instance, &owner, err) < 0)
		goto out;
	if (action_value_encode(
		key, owner, result, &blobs, provenance, &value) < 0) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the action result names %zu blobs, which is too many",
		    blobs.count);
		goto out;
	}
	if (store_reserve(store, owner, store_action_cost(value.len), err) < 0)
		goto out;
	cost = store_action_cost(value.len);
	action_key_digest(key, &name);
	job = action_job_new(store, &name);
	job->job.apply = action_put_apply;
	job->job.weight = value.len;
	job->value = &value;
	job->blobs = &blobs;
	rc = action_job_wait(job, err);
out:
	store_release(store, owner, cost);
	digest_list_clear(&blobs);
	buffer_clear(&value);
	return rc;
}

/* --- reading -------------------------------------------------------------- */

/* 1 when every blob is there, 0, -1. */
static int
action_check_blobs(struct store *store, MDB_txn *txn,
    const struct action_value *value, bool touch, struct error *err)
{
	struct str rest = {(const char *)value->blobs, value->blobs_length};

	for (uint32_t i = 0; i < value->count; i++) {
		struct digest digest;
		struct place place;
		int found;

		if (action_value_take_digest(&rest, &digest) < 0)
			return error_set(err, ERROR_DATA_LOSS,
			    "store index: an action result is malformed");
		if (digest_is_empty(&digest))
			continue;
		found = index_find(store->index, txn, &digest, &place, err);
		/* In the log, or indexed since the transaction began. */
		if (found == 0)
			found = store_find(store, &digest, &place, err);
		if (found != 1)
			return found;
		if (touch) {
			if (!store_touch(store, &digest, &place))
				return 0;
			continue;
		}
		if (!store_place_exists(store, &digest, &place)) {
			store_drop_bad(
			    store, &digest, &place, "its file is gone");
			return 0;
		}
	}
	return 1;
}

/* Bits of its entry flipped. It is dropped, and counts with the bad blobs. */
static int
action_bad(struct store *store, const struct action_value *value)
{
	char text[DIGEST_TEXT_MAX];

	atomic_fetch_add(&store->dropped, 1);
	log_warn("action_result_bad", "action=%s",
	    digest_format(&value->action, text));
	return 0;
}

static int
action_get(struct store *store, MDB_txn *txn, const struct digest *name,
    struct action_value *value, bool *incomplete, struct error *err)
{
	struct str bytes;
	int rc = index_find_action(
	    store->index, txn, action_key_bytes(name), &bytes, err);

	if (rc != 1)
		return rc;
	if (action_value_decode(bytes, value, err) < 0)
		return -1;
	if (action_value_is_sound(action_key_bytes(name), bytes, value))
		rc = action_check_blobs(store, txn, value, false, err);
	else
		rc = action_bad(store, value);
	*incomplete = rc == 0;
	if (rc == 0)
		action_drop_incomplete(store, name, value->written_at);
	if (rc != 1)
		return rc;
	/* Only what is handed out is made young; the blobs first, since no
	 * result may be younger than its blobs. */
	rc = action_check_blobs(store, txn, value, true, err);
	if (rc == 1 && !store_touch_action(store, name, value->epoch))
		rc = 0;
	return rc;
}

static int
action_copy(const struct action_value *value, struct arena *arena,
    struct str *result, struct error *err)
{
	result->data = arena_copy(arena, value->result);
	result->len = value->result.len;
	if (result->data != NULL)
		return 1;
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "an action result of %zu bytes does not fit the memory of the "
	    "request",
	    value->result.len);
}

static void
action_count(struct store *store, int rc, bool incomplete)
{
	if (rc == 1)
		atomic_fetch_add(&store->lookup_hits, 1);
	else if (rc == 0 && incomplete)
		atomic_fetch_add(&store->lookup_incomplete, 1);
	else if (rc == 0)
		atomic_fetch_add(&store->lookup_misses, 1);
}

int
store_get_action(struct store *store, const struct action_key *key,
    struct arena *arena, struct str *result, struct error *err)
{
	struct action_value value = {0};
	struct digest name;
	MDB_txn *txn;
	bool incomplete = false;
	bool stale;
	int rc;

	action_key_digest(key, &name);
	do {
		if (index_read_begin(store->index, &txn, err) < 0)
			return -1;
		rc = action_get(store, txn, &name, &value, &incomplete, err);
		stale = rc == 1 && store_snapshot_stale(store, txn);
		if (rc == 1 && !stale)
			rc = action_copy(&value, arena, result, err);
		index_read_end(store->index, txn);
	} while (stale);
	action_count(store, rc, incomplete);
	return rc;
}
