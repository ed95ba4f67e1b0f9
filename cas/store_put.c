/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing blobs that are in memory, and dropping blobs. Look-ups and
 * verification run on the caller's thread and idle ones of the pool, the rest
 * in jobs for the committer.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/store_internal.h"
#include "cas/waiter.h"
#include "cas/zstd_verify.h"

/* What one thread verifies at a time; idle ones of the pool join in. */
#define RANGE_BYTES ((uint64_t)64 << 10)
/* Of a range of so many puts, one in SAMPLE is looked up first. */
#define SAMPLED_MIN 32
#define SAMPLE 8

int
store_check_digest(const struct digest *declared, const struct digest *computed,
    struct error *err)
{
	char wanted[DIGEST_TEXT_MAX], found[DIGEST_TEXT_MAX];

	if (digest_equal(declared, computed))
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "the data is not what the digest says: declared %s, received %s",
	    digest_format(declared, wanted), digest_format(computed, found));
}

/* --- verification --------------------------------------------------------- */

/* A run of puts that one thread looks up and verifies. */
struct put_range {
	size_t first;
	size_t count;
	bool sampled; /* not all of it was looked for in the index */
	struct zstd_verify *verify; /* made when first needed */
};

struct put_batch_job {
	struct commit_job job;
	struct store *store;
	struct store_batch *batch;
	uint64_t looked_at;          /* pending_generation before any look */
	atomic_bool some_here;       /* a look has found one */
	bool *missing;               /* one a put: absent a moment ago */
	bool *wanted;                /* one a put: it is to be committed */
	struct put_range *ranges;    /* at most one a put */
	struct commit_blob **queued; /* those to be committed */
	size_t queued_count;
	struct commit_blob blobs[]; /* one a put; the arrays above follow it */
};

static uint64_t
store_put_length(const struct store_put *put)
{
	uint64_t total = 0;

	for (size_t i = 0; i < put->part_count; i++)
		total += put->parts[i].iov_len;
	return total;
}

static int
store_put_check_identity(
    const struct store_put *put, uint64_t length, struct error *err)
{
	struct digest computed;
	char text[DIGEST_TEXT_MAX];

	if (length != put->digest.size)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: %" PRIu64 " bytes were received",
		    digest_format(&put->digest, text), length);
	digest_compute_parts(
	    put->digest.function, put->parts, put->part_count, &computed);
	return store_check_digest(&put->digest, &computed, err);
}

/* A compressed form that saves nothing is replaced by the identity form. */
static int
store_put_check_zstd(struct put_range *range, const struct store_put *put,
    struct commit_blob *blob, struct error *err)
{
	uint64_t length = blob->stored_size, size = put->digest.size;

	if (range->verify == NULL)
		range->verify = zstd_verify_new();
	if (size > 0 && size <= length) {
		blob->owned.iov_base = xmalloc((size_t)size);
		blob->owned.iov_len = (size_t)size;
		blob->parts = &blob->owned;
		blob->part_count = 1;
		blob->stored_size = size;
		blob->encoding = ENCODING_IDENTITY;
	}
	zstd_verify_start(range->verify, &put->digest, blob->owned.iov_base);
	for (size_t i = 0; i < put->part_count; i++) {
		if (zstd_verify_append(range->verify, put->parts[i].iov_base,
			put->parts[i].iov_len, err) < 0)
			return -1;
	}
	return zstd_verify_finish(range->verify, err);
}

static int
store_put_verify(struct put_range *range, const struct store_put *put,
    struct commit_blob *blob, struct error *err)
{
	if (digest_hash_length(put->digest.function) == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest function %d is not supported",
		    (int)put->digest.function);
	blob->digest = put->digest;
	blob->encoding = put->encoding;
	blob->stored_size = store_put_length(put);
	blob->parts = put->parts;
	blob->part_count = put->part_count;
	switch (put->encoding) {
	case ENCODING_IDENTITY:
		return store_put_check_identity(put, blob->stored_size, err);
	case ENCODING_ZSTD:
		return store_put_check_zstd(range, put, blob, err);
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "encoding %d is not supported", (int)put->encoding);
}

/* --- the job -------------------------------------------------------------- */

/* Looks for one in step of the range, in one transaction. Sets missing[] of
 * these. */
static int
put_range_look(struct put_batch_job *job, const struct put_range *range,
    size_t step, struct error *err)
{
	const struct store_put *puts = job->batch->puts + range->first;
	bool *missing = job->missing + range->first;
	size_t count = (range->count + step - 1) / step;
	struct digest *digests = xcalloc(count + 1, sizeof(*digests));
	bool *absent = xcalloc(count + 1, sizeof(*absent));
	int rc;

	for (size_t i = 0; i < count; i++)
		digests[i] = puts[i * step].digest;
	rc = store_find_missing(job->store, digests, count, absent, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		missing[i * step] = absent[i];
		if (!absent[i] && !digest_is_empty(&digests[i]))
			atomic_store(&job->some_here, true);
	}
	free(digests);
	free(absent);
	return rc;
}

/* Which of the range are absent. Each look is several cache misses, half of all
 * that a small blob costs here, and clients upload what is not there. So of
 * many, some are looked for, and all only when one of them is here: of a batch
 * fewer than SAMPLE are stored a second time on average, however many are here;
 * the index finds that. */
static int
put_range_find(
    struct put_batch_job *job, struct put_range *range, struct error *err)
{
	bool *missing = job->missing + range->first;

	if (store_check_writable(job->store, err) < 0)
		return -1;
	memset(missing, true, range->count * sizeof(*missing));
	if (job->batch->absent)
		return 0;
	if (range->count >= SAMPLED_MIN && !atomic_load(&job->some_here)) {
		if (put_range_look(job, range, SAMPLE, err) < 0)
			return -1;
		range->sampled = !atomic_load(&job->some_here);
		if (range->sampled)
			return 0;
	}
	return put_range_look(job, range, 1, err);
}

static bool
store_put_is_pending(struct store *store, const struct digest *digest)
{
	struct place place;

	return store_find_pending(store, digest, &place) &&
	       atomic_load(&store->drops) == 0;
}

/* 1 when there is something to commit, 0 when it is there already, -1. */
static int
store_put_prepare(struct put_batch_job *job, struct put_range *range, size_t i,
    struct error *err)
{
	const struct store_put *put = &job->batch->puts[i];
	struct commit_blob *blob = &job->blobs[i];
	struct store *store = job->store;
	struct error ignored;
	uint64_t cost;
	int found = 0;

	if (store_put_verify(range, put, blob, err) < 0)
		return -1;
	if (digest_is_empty(&put->digest))
		return 0;
	if (!job->missing[i])
		found = store_is_stored(store, &put->digest, err);
	else if (range->sampled)
		found = store_put_is_pending(store, &put->digest);
	if (found != 0)
		return found < 0 ? -1 : 0;
	cost = store_blob_cost(store, blob->stored_size);
	blob->owner = job->batch->owner;
	blob->looked_at = job->looked_at;
	if (store_reserve(store, blob->owner, cost, err) < 0) {
		/* What is here needs no room, though it was not looked for. */
		found = store_is_stored(store, &put->digest, &ignored);
		return found == 1 ? 0 : -1;
	}
	blob->reserved = cost;
	if (blob->stored_size > store->small_limit)
		return blob_file_write(store, blob, err) < 0 ? -1 : 1;
	commit_blob_seal(blob);
	return 1;
}

static bool
commit_blob_is_large(const struct commit_blob *blob)
{
	return blob->incoming[0] != '\0';
}

static int
put_batch_append(
    struct commit_job *base, struct log_group *group, struct error *err)
{
	struct put_batch_job *job = (struct put_batch_job *)base;

	log_group_expect(group, job->queued_count);
	for (size_t i = 0; i < job->queued_count; i++) {
		if (!commit_blob_is_large(job->queued[i]) &&
		    log_group_add(group, job->queued[i], err) < 0)
			return -1;
	}
	return 0;
}

static int
put_batch_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct put_batch_job *job = (struct put_batch_job *)base;

	for (size_t i = 0; i < job->queued_count; i++) {
		if (commit_blob_is_large(job->queued[i]) &&
		    commit_group_add(group, job->queued[i], err) < 0)
			return -1;
	}
	return 0;
}

static void
store_put_set_error(struct store_put *put, const struct error *err)
{
	put->error = xmalloc(sizeof(*put->error));
	*put->error = *err;
}

static void
put_batch_finish(struct commit_job *base, const struct error *err)
{
	struct put_batch_job *job = (struct put_batch_job *)base;
	struct store_batch *batch = job->batch;

	for (size_t i = 0; i < job->queued_count; i++) {
		struct commit_blob *blob = job->queued[i];

		if (err != NULL)
			store_put_set_error(
			    &batch->puts[blob - job->blobs], err);
		commit_blob_clear(job->store, blob, err != NULL);
	}
	free(job);
	batch->done(batch);
}

/* Only the stages that it needs. */
static void
put_batch_queue(struct put_batch_job *job, struct commit_blob *blob)
{
	job->queued[job->queued_count++] = blob;
	job->job.weight += commit_blob_weight(blob);
	if (commit_blob_is_large(blob))
		job->job.apply = put_batch_apply;
	else
		job->job.append = put_batch_append;
}

static void
put_batch_prepare(void *cookie, size_t number)
{
	struct put_batch_job *job = cookie;
	struct put_range *range = &job->ranges[number];
	struct error err;
	int found = put_range_find(job, range, &err);

	for (size_t i = range->first; i < range->first + range->count; i++) {
		int rc = found;

		if (found == 0)
			rc = store_put_prepare(job, range, i, &err);
		if (rc < 0)
			store_put_set_error(&job->batch->puts[i], &err);
		job->wanted[i] = rc == 1;
	}
	zstd_verify_free(range->verify);
}

/* Returns how many ranges there are. */
static size_t
put_batch_divide(struct put_batch_job *job)
{
	struct put_range *range = job->ranges;
	uint64_t bytes = 0;

	for (size_t i = 0; i < job->batch->count; i++) {
		if (bytes >= RANGE_BYTES) {
			range++;
			range->first = i;
			bytes = 0;
		}
		range->count++;
		bytes += store_put_length(&job->batch->puts[i]);
	}
	return (size_t)(range - job->ranges) + 1;
}

static struct put_batch_job *
put_batch_job_new(struct store *store, struct store_batch *batch)
{
	const size_t room = batch->count + 1;
	struct put_batch_job *job;

	/* One piece of memory, since most batches are of one small blob. */
	job = xcalloc(
	    1, sizeof(*job) +
		   room * (sizeof(*job->blobs) + sizeof(*job->ranges) +
			      sizeof(*job->queued) + sizeof(*job->missing) +
			      sizeof(*job->wanted)));
	job->job.finish = put_batch_finish;
	job->store = store;
	job->batch = batch;
	job->ranges = (struct put_range *)(void *)(job->blobs + room);
	job->queued = (struct commit_blob **)(void *)(job->ranges + room);
	job->missing = (bool *)(job->queued + room);
	job->wanted = job->missing + room;
	return job;
}

void
store_put_batch(struct store *store, struct store_batch *batch)
{
	struct put_batch_job *job = put_batch_job_new(store, batch);

	if (!batch->absent)
		job->looked_at = pending_generation(store->pending);
	for (size_t i = 0; i < batch->count; i++)
		batch->puts[i].error = NULL;
	thread_pool_share(
	    store->pool, put_batch_divide(job), put_batch_prepare, job);
	for (size_t i = 0; i < batch->count; i++) {
		if (job->wanted[i])
			put_batch_queue(job, &job->blobs[i]);
		else
			commit_blob_clear(store, &job->blobs[i], true);
	}
	if (job->queued_count > 0)
		committer_submit(store->committer, &job->job);
	else
		put_batch_finish(&job->job, NULL);
}

/* --- waiting for a batch -------------------------------------------------- */

struct put_wait {
	struct store_batch batch; /* first: done gets its address */
	struct waiter waiter;
};

static void
put_bytes_done(struct store_batch *batch)
{
	struct put_wait *wait = (struct put_wait *)batch;

	waiter_finish(&wait->waiter);
}

int
store_put_bytes(struct store *store, const struct digest *digest,
    struct str content, struct error *err)
{
	struct iovec part = {(void *)(uintptr_t)content.data, content.len};
	struct store_put put = {.digest = *digest,
	    .encoding = ENCODING_IDENTITY,
	    .parts = &part,
	    .part_count = 1};
	struct put_wait wait = {
	    .batch = {.puts = &put, .count = 1, .done = put_bytes_done}};
	int rc = 0;

	waiter_init(&wait.waiter);
	store_put_batch(store, &wait.batch);
	waiter_wait(&wait.waiter);
	if (put.error != NULL) {
		*err = *put.error;
		free(put.error);
		rc = -1;
	}
	return rc;
}
