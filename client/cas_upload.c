/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many blobs to the server: it is asked which it lacks, then small ones go by
 * BatchUpdateBlobs and large ones each by a stream, as jobs on the client's
 * threads.
 */
#include "client/cas_client_core.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "client/blob_source.h"
#include "client/job_group.h"
#include "rpc/message.h"

#define PATH_BATCH_UPDATE \
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/" \
	"BatchUpdateBlobs"

struct upload_run {
	const struct cas_call *call;
	struct job_group group;
	struct map by_digest; /* -> const struct cas_upload, each once */
	const struct cas_upload **small; /* of those the server lacks */
	const struct cas_upload **large;
	SLIST_HEAD(, upload_job) jobs;
	atomic_uint_fast64_t sent_blobs;
	atomic_uint_fast64_t sent_bytes;
};

struct upload_job {
	struct job job; /* first: the group hands this back */
	struct upload_run *run;
	const struct cas_upload **uploads; /* a run of small ones, or one */
	size_t count;
	SLIST_ENTRY(upload_job) link;
};

static void
upload_sent(struct upload_run *run, const struct cas_upload *upload)
{
	atomic_fetch_add(&run->sent_blobs, 1);
	atomic_fetch_add(&run->sent_bytes, upload->digest.size);
}

/* --- batches -------------------------------------------------------------- */

/* Reads and checks, so that a file that was changed is found here, where its
 * name is known. NULL on error. */
static void *
upload_content(const struct cas_upload *upload, struct error *err)
{
	size_t size = (size_t)upload->digest.size;
	struct blob_source *source = blob_source_open(upload, 0, err);
	struct digest actual;
	char *data;

	if (source == NULL)
		return NULL;
	data = xmalloc(size + 1);
	if (blob_source_read(source, data, size, err) < 0)
		goto fail;
	digest_compute(upload->digest.function, data, size, &actual);
	if (digest_equal(&actual, &upload->digest)) {
		blob_source_close(source);
		return data;
	}
	error_set(err, ERROR_FAILED_PRECONDITION,
	    "%s does not match the digest",
	    upload->from == CAS_UPLOAD_FILE ? upload->path : "the content");
fail:
	free(data);
	blob_source_close(source);
	return NULL;
}

static struct rpc_message *
batch_request(const struct upload_job *job, struct error *err)
{
	const struct cas_client *client = job->run->call->client;
	struct rpc_message *request = cas_message_batch_update(
	    str_from(client->instance), client->function);
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < job->count; i++) {
		const struct cas_upload *upload = job->uploads[i];
		void *data = upload_content(upload, err);

		if (data == NULL) {
			error_prefix(err, "upload %s",
			    digest_format(&upload->digest, text));
			rpc_message_free(request);
			return NULL;
		}
		cas_message_batch_update_add(
		    request, &upload->digest, data, upload->digest.size);
	}
	return request;
}

/* Keeps in the job what is to be tried again, for the reason *why. */
static int
batch_answer(struct upload_job *job, struct str rest, struct error *why,
    struct error *err)
{
	enum digest_function function = job->run->call->client->function;
	struct cas_batch_item item;
	struct map asked;
	size_t again = 0;
	int more;

	map_init(&asked);
	for (size_t i = 0; i < job->count; i++)
		map_put(&asked, digest_key(&job->uploads[i]->digest),
		    (void *)(uintptr_t)job->uploads[i]);
	while ((more = cas_batch_next(
		    &rest, CAS_BATCH_UPDATE, function, &item, err)) == 1) {
		const struct cas_upload *upload =
		    map_remove(&asked, digest_key(&item.digest));

		if (upload == NULL)
			continue; /* not sent, or told twice */
		if (item.code == ERROR_ALREADY_EXISTS)
			item.code = ERROR_OK;
		if (cas_batch_item_error(&item, "upload", err) == 0) {
			upload_sent(job->run, upload);
		} else if (retry_worth(err)) {
			*why = *err;
			job->uploads[again++] = upload;
		} else {
			more = -1;
			break;
		}
	}
	if (more == 0 && asked.count > 0)
		more = error_set(err, ERROR_INTERNAL,
		    "the server left %zu uploaded blobs out of its answer",
		    asked.count);
	job->count = again;
	map_clear(&asked);
	return more;
}

static int
batch_try(struct upload_job *job, struct error *why, struct error *err)
{
	struct rpc_message *request = batch_request(job, err);
	struct rpc_message *response = NULL;
	int rc;

	if (request == NULL)
		return -1;
	if (cas_call_unary(job->run->call, PATH_BATCH_UPDATE, request,
		&response, err) < 0) {
		error_prefix(err, "upload %zu blobs", job->count);
		return -1;
	}
	rc = batch_answer(job, rpc_message_flat(response), why, err);
	rpc_message_free(response);
	return rc;
}

static int
upload_batch(struct job *job, struct error *err)
{
	struct upload_job *self = (struct upload_job *)job;
	struct error why;
	struct retry retry;

	cas_call_retry(self->run->call, &retry);
	for (;;) {
		size_t before = self->count;

		if (batch_try(self, &why, err) < 0)
			return -1;
		if (self->count == 0)
			return 0;
		if (self->count < before)
			retry_progress(&retry);
		if (!retry_again(&retry, &why)) {
			*err = why;
			return -1;
		}
	}
}

static int
upload_stream(struct job *job, struct error *err)
{
	struct upload_job *self = (struct upload_job *)job;

	if (cas_write_stream(self->run->call, self->uploads[0], err) < 0)
		return -1;
	upload_sent(self->run, self->uploads[0]);
	return 0;
}

/* --- the whole ------------------------------------------------------------ */

static void
upload_submit(struct upload_run *run, const struct cas_upload **uploads,
    size_t count, int (*work)(struct job *job, struct error *err))
{
	struct upload_job *job = xcalloc(1, sizeof(*job));

	job->run = run;
	job->uploads = uploads;
	job->count = count;
	SLIST_INSERT_HEAD(&run->jobs, job, link);
	job_group_submit(&run->group, &job->job, work);
}

static void
upload_submit_batches(struct upload_run *run, size_t count)
{
	uint64_t limit = run->call->client->capabilities.max_batch_bytes;
	size_t start = 0;
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t size = run->small[i]->digest.size;

		if (i > start && (size > limit - bytes ||
				     i - start == CAS_BATCH_COUNT_MAX)) {
			upload_submit(
			    run, run->small + start, i - start, upload_batch);
			start = i;
			bytes = 0;
		}
		bytes += size;
	}
	if (count > start)
		upload_submit(
		    run, run->small + start, count - start, upload_batch);
}

static void
upload_start(struct upload_run *run, const struct digest_list *missing)
{
	size_t small = 0;
	size_t large = 0;

	for (size_t i = 0; i < missing->count; i++) {
		/* A digest that we did not ask about is not ours to send. */
		const struct cas_upload *upload =
		    map_remove(&run->by_digest, digest_key(&missing->items[i]));

		if (upload == NULL)
			continue;
		if (cas_client_is_small(run->call->client, upload->digest.size))
			run->small[small++] = upload;
		else
			run->large[large++] = upload;
	}
	for (size_t i = 0; i < large; i++)
		upload_submit(run, &run->large[i], 1, upload_stream);
	upload_submit_batches(run, small);
}

/* Each digest once, without the empty one, which every server has. */
static int
upload_collect(struct upload_run *run, const struct cas_upload *uploads,
    size_t count, struct digest_list *digests, struct error *err)
{
	uint64_t limit = run->call->client->capabilities.max_blob_bytes;
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < count; i++) {
		const struct digest *digest = &uploads[i].digest;

		if (digest_is_empty(digest) ||
		    map_get(&run->by_digest, digest_key(digest)) != NULL)
			continue;
		if (limit > 0 && digest->size > limit)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "upload %s: the server takes blobs of at most "
			    "%llu bytes",
			    digest_format(digest, text),
			    (unsigned long long)limit);
		map_put(&run->by_digest, digest_key(digest),
		    (void *)(uintptr_t)&uploads[i]);
		if (digest_list_add(digests, digest) < 0)
			abort(); /* the limit is count */
	}
	return 0;
}

static int
upload_missing(struct upload_run *run, const struct digest_list *missing,
    struct error *err)
{
	struct upload_job *job;
	int rc;

	run->small = xcalloc(missing->count + 1, sizeof(*run->small));
	run->large = xcalloc(missing->count + 1, sizeof(*run->large));
	job_group_init(&run->group, run->call->client->pool);
	upload_start(run, missing);
	rc = job_group_wait(&run->group, err);
	while ((job = SLIST_FIRST(&run->jobs)) != NULL) {
		SLIST_REMOVE_HEAD(&run->jobs, link);
		free(job);
	}
	free(run->small);
	free(run->large);
	return rc;
}

int
cas_client_upload(struct cas_client *client,
    const struct cas_transfer *transfer, const struct cas_upload *uploads,
    size_t count, struct cas_upload_stats *stats, struct error *err)
{
	struct upload_run run = {.jobs = SLIST_HEAD_INITIALIZER(run.jobs)};
	struct digest_list digests;
	struct digest_list missing;
	struct cas_call call;
	int rc;

	cas_call_init(&call, client, transfer);
	run.call = &call;
	map_init(&run.by_digest);
	digest_list_init(&digests, count);
	digest_list_init(&missing, count);
	rc = upload_collect(&run, uploads, count, &digests, err);
	if (rc == 0)
		rc = cas_client_find_missing(
		    client, transfer, &digests, &missing, err);
	if (rc == 0)
		rc = upload_missing(&run, &missing, err);
	if (stats != NULL)
		*stats = (struct cas_upload_stats){
		    .present_blobs = digests.count - missing.count,
		    .sent_blobs = run.sent_blobs,
		    .sent_bytes = run.sent_bytes,
		};
	digest_list_clear(&digests);
	digest_list_clear(&missing);
	map_clear(&run.by_digest);
	cas_call_clear(&call);
	return rc;
}
