/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing blobs that are in memory, and dropping blobs. Verification runs on
 * the caller's thread, the rest in jobs for the committer.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cas/store_internal.h"
#include "cas/waiter.h"
#include "cas/zstd_verify.h"

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

struct put_batch_job {
	struct commit_job job;
	struct store *store;
	struct store_batch *batch;
	struct zstd_verify *verify;  /* made when first needed */
	struct commit_blob *blobs;   /* one a put */
	struct commit_blob **queued; /* those to be committed */
	size_t queued_count;
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
	struct digest_hasher *hasher;
	struct digest computed;
	char text[DIGEST_TEXT_MAX];

	if (length != put->digest.size)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: %" PRIu64 " bytes were received",
		    digest_format(&put->digest, text), length);
	if (put->part_count == 1) {
		digest_compute(put->digest.function, put->parts[0].iov_base,
		    put->parts[0].iov_len, &computed);
		return store_check_digest(&put->digest, &computed, err);
	}
	hasher = digest_hasher_new(put->digest.function);
	for (size_t i = 0; i < put->part_count; i++)
		digest_hasher_update(
		    hasher, put->parts[i].iov_base, put->parts[i].iov_len);
	digest_hasher_finish(hasher, &computed);
	digest_hasher_free(hasher);
	return store_check_digest(&put->digest, &computed, err);
}

/* A compressed form that saves nothing is replaced by the identity form. */
static int
store_put_check_zstd(struct put_batch_job *job, const struct store_put *put,
    struct commit_blob *blob, struct error *err)
{
	uint64_t length = blob->stored_size, size = put->digest.size;

	if (job->verify == NULL)
		job->verify = zstd_verify_new();
	if (size > 0 && size <= length) {
		blob->owned.iov_base = xmalloc((size_t)size);
		blob->owned.iov_len = (size_t)size;
		blob->parts = &blob->owned;
		blob->part_count = 1;
		blob->stored_size = size;
		blob->encoding = ENCODING_IDENTITY;
	}
	zstd_verify_start(job->verify, &put->digest, blob->owned.iov_base);
	for (size_t i = 0; i < put->part_count; i++) {
		if (zstd_verify_append(job->verify, put->parts[i].iov_base,
			put->parts[i].iov_len, err) < 0)
			return -1;
	}
	return zstd_verify_finish(job->verify, err);
}

static int
store_put_verify(struct put_batch_job *job, const struct store_put *put,
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
		return store_put_check_zstd(job, put, blob, err);
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "encoding %d is not supported", (int)put->encoding);
}

/* --- the job -------------------------------------------------------------- */

/* Which of the puts are absent; one look for all of them. */
static bool *
put_batch_find(
    struct store *store, const struct store_batch *batch, struct error *err)
{
	struct digest *digests = xcalloc(batch->count + 1, sizeof(*digests));
	bool *missing = xcalloc(batch->count + 1, sizeof(*missing));
	int rc;

	for (size_t i = 0; i < batch->count; i++)
		digests[i] = batch->puts[i].digest;
	rc = store_check_writable(store, err);
	if (rc == 0)
		rc = store_find_missing(
		    store, digests, batch->count, missing, err);
	free(digests);
	if (rc == 0)
		return missing;
	free(missing);
	return NULL;
}

/* 1 when there is something to commit, 0 when it is there already, -1. */
static int
store_put_prepare(struct put_batch_job *job, const struct store_put *put,
    bool missing, struct error *err)
{
	struct store *store = job->store;
	struct commit_blob *blob = &job->blobs[put - job->batch->puts];
	uint64_t cost;
	int found = 0;

	if (store_put_verify(job, put, blob, err) < 0)
		return -1;
	if (digest_is_empty(&put->digest))
		return 0;
	if (!missing)
		found = store_is_stored(store, &put->digest, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	cost = store_blob_cost(store, blob->stored_size);
	if (store_reserve(store, cost, err) < 0)
		return -1;
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
	zstd_verify_free(job->verify);
	free(job->blobs);
	free(job->queued);
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

void
store_put_batch(struct store *store, struct store_batch *batch)
{
	struct put_batch_job *job = xcalloc(1, sizeof(*job));
	struct error err;
	bool *missing;

	job->job.finish = put_batch_finish;
	job->store = store;
	job->batch = batch;
	job->blobs = xcalloc(batch->count + 1, sizeof(*job->blobs));
	job->queued = xcalloc(batch->count + 1, sizeof(*job->queued));
	missing = put_batch_find(store, batch, &err);
	for (size_t i = 0; i < batch->count; i++) {
		struct store_put *put = &batch->puts[i];
		int rc = -1;

		put->error = NULL;
		if (missing != NULL)
			rc = store_put_prepare(job, put, missing[i], &err);
		if (rc < 0)
			store_put_set_error(put, &err);
		if (rc == 1)
			put_batch_queue(job, &job->blobs[i]);
		else
			commit_blob_clear(store, &job->blobs[i], true);
	}
	free(missing);
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
