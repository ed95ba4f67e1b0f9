/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many blobs into a store: small ones by BatchReadBlobs, large ones each by a
 * stream, as jobs on the client's threads. The store verifies everything.
 */
#include "client/cas_client_core.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "cas/store.h"
#include "client/job_group.h"
#include "rpc/message.h"

#define PATH_BATCH_READ \
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/" \
	"BatchReadBlobs"

struct download {
	const struct cas_call *call;
	const struct cas_download *request;
	struct job_group group;
	struct digest *small; /* of the digests wanted */
	struct digest *large;
	SLIST_HEAD(, download_job) jobs;
	/* Guards request->absent. */
	pthread_mutex_t lock;
};

struct download_job {
	struct job job; /* first: the group hands this back */
	struct download *download;
	struct digest *digests; /* a run of small ones, or one large */
	size_t count;
	SLIST_ENTRY(download_job) link;
};

static int
download_absent(
    struct download *download, const struct digest *digest, struct error *err)
{
	int rc;

	pthread_mutex_lock(&download->lock);
	rc = digest_list_add(download->request->absent, digest);
	pthread_mutex_unlock(&download->lock);
	if (rc < 0)
		return error_set(
		    err, ERROR_INTERNAL, "the list of absent blobs is full");
	return 0;
}

static void
download_arrived(const struct download *download, const struct digest *digest)
{
	const struct cas_download *request = download->request;

	if (request->arrived != NULL)
		request->arrived(request->cookie, digest);
}

/* What the store says to bytes that do not match is the server's fault. */
static int
download_refused(
    const struct digest *digest, const struct error *why, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	*err = *why;
	if (err->code == ERROR_INVALID_ARGUMENT)
		err->code = ERROR_DATA_LOSS;
	error_prefix(err, "download %s", digest_format(digest, text));
	return -1;
}

/* --- batches -------------------------------------------------------------- */

/* One BatchReadBlobs and what became of its blobs. */
struct batch {
	struct download *download;
	struct digest *digests; /* to be asked for; then those left */
	size_t count;
	struct map wanted;      /* digest -> itself, until it was answered */
	struct store_put *puts; /* what has come */
	struct iovec *parts;
	size_t put_count;
	struct digest *again; /* to be tried again */
	size_t again_count;
	struct error why; /* the last reason for that */
};

static void
batch_init(struct batch *batch, struct download_job *job)
{
	*batch = (struct batch){.download = job->download,
	    .digests = job->digests,
	    .count = job->count};
	batch->puts = xcalloc(job->count, sizeof(*batch->puts));
	batch->parts = xcalloc(job->count, sizeof(*batch->parts));
	batch->again = xcalloc(job->count, sizeof(*batch->again));
}

static void
batch_clear(struct batch *batch)
{
	free(batch->puts);
	free(batch->parts);
	free(batch->again);
}

static int
batch_take(
    struct batch *batch, const struct cas_batch_item *item, struct error *err)
{
	const struct digest *digest =
	    map_remove(&batch->wanted, digest_key(&item->digest));
	size_t i;

	if (digest == NULL)
		return 0; /* not asked for, or told twice */
	if (item->code == ERROR_NOT_FOUND)
		return download_absent(batch->download, digest, err);
	if (cas_batch_item_error(item, "download", err) < 0) {
		if (!retry_worth(err))
			return -1;
		batch->why = *err;
		batch->again[batch->again_count++] = *digest;
		return 0;
	}
	if (item->compressor != ENCODING_IDENTITY)
		return error_set(err, ERROR_INTERNAL,
		    "the server sends a blob compressed, unasked");
	i = batch->put_count++;
	batch->parts[i] =
	    (struct iovec){(void *)(uintptr_t)item->data.data, item->data.len};
	batch->puts[i] = (struct store_put){.digest = *digest,
	    .encoding = ENCODING_IDENTITY,
	    .parts = &batch->parts[i],
	    .part_count = 1};
	return 0;
}

struct batch_wait {
	struct store_batch batch; /* first: the store hands this back */
	struct completion completion;
};

static void
batch_stored(struct store_batch *batch)
{
	completion_signal(&((struct batch_wait *)batch)->completion);
}

static int
batch_store(struct batch *batch, struct error *err)
{
	struct batch_wait wait = {.batch = {.puts = batch->puts,
				      .count = batch->put_count,
				      .done = batch_stored}};
	int rc = 0;

	if (batch->put_count == 0)
		return 0;
	completion_init(&wait.completion);
	store_put_batch(batch->download->request->store, &wait.batch);
	completion_wait(&wait.completion);
	for (size_t i = 0; i < batch->put_count; i++) {
		struct store_put *put = &batch->puts[i];

		if (put->error == NULL)
			download_arrived(batch->download, &put->digest);
		else
			rc = download_refused(&put->digest, put->error, err);
		free(put->error);
	}
	return rc;
}

static int
batch_response(
    struct batch *batch, struct rpc_message *response, struct error *err)
{
	enum digest_function function = batch->download->call->client->function;
	struct str rest = rpc_message_flat(response);
	struct cas_batch_item item;
	char text[DIGEST_TEXT_MAX];
	size_t position = 0;
	int more;

	while ((more = cas_batch_next(
		    &rest, CAS_BATCH_READ, function, &item, err)) == 1) {
		if (batch_take(batch, &item, err) < 0)
			return -1;
	}
	if (more == 0 && batch->wanted.count > 0)
		more = error_set(err, ERROR_INTERNAL,
		    "the server left %zu blobs out of its answer, among them "
		    "%s",
		    batch->wanted.count,
		    digest_format(map_next(&batch->wanted, &position), text));
	if (more == 0)
		more = batch_store(batch, err);
	return more;
}

/* Asks for all that is left, and leaves what is to be tried again. */
static int
batch_try(struct batch *batch, struct error *err)
{
	const struct cas_call *call = batch->download->call;
	struct rpc_message *response = NULL;
	int rc;

	map_init(&batch->wanted);
	for (size_t i = 0; i < batch->count; i++)
		map_put(&batch->wanted, digest_key(&batch->digests[i]),
		    &batch->digests[i]);
	batch->put_count = 0;
	batch->again_count = 0;
	rc = cas_call_unary(call, PATH_BATCH_READ,
	    cas_message_batch_read(str_from(call->client->instance),
		call->client->function, batch->digests, batch->count),
	    &response, err);
	if (rc == 0)
		rc = batch_response(batch, response, err);
	rpc_message_free(response);
	map_clear(&batch->wanted);
	memcpy(batch->digests, batch->again,
	    batch->again_count * sizeof(*batch->again));
	batch->count = batch->again_count;
	return rc;
}

static int
download_batch(struct job *job, struct error *err)
{
	struct batch batch;
	struct retry retry;
	int rc;

	batch_init(&batch, (struct download_job *)job);
	cas_call_retry(batch.download->call, &retry);
	for (;;) {
		size_t before = batch.count;

		rc = batch_try(&batch, err);
		if (rc < 0 || batch.count == 0)
			break;
		if (batch.count < before)
			retry_progress(&retry);
		if (!retry_again(&retry, &batch.why)) {
			*err = batch.why;
			rc = -1;
			break;
		}
	}
	batch_clear(&batch);
	return rc;
}

/* --- streams -------------------------------------------------------------- */

struct writer_sink {
	struct blob_sink sink; /* first: the reader hands this back */
	struct blob_writer *writer;
	struct completion completion;
	struct error error; /* of the commit */
	bool failed;
};

static int
append_to_writer(struct blob_sink *sink, struct iovec *parts, size_t count,
    struct error *err)
{
	struct blob_writer *writer = ((struct writer_sink *)sink)->writer;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = blob_writer_append(
		    writer, parts[i].iov_base, parts[i].iov_len, err);
	return rc;
}

static void
writer_committed(void *cookie, const struct error *err)
{
	struct writer_sink *self = cookie;

	if (err != NULL) {
		self->failed = true;
		self->error = *err;
	}
	completion_signal(&self->completion);
}

static int
writer_commit(
    struct writer_sink *self, const struct digest *digest, struct error *err)
{
	completion_init(&self->completion);
	blob_writer_commit(self->writer, writer_committed, self);
	self->writer = NULL;
	completion_wait(&self->completion);
	return self->failed ? download_refused(digest, &self->error, err) : 0;
}

static int
download_stream(struct job *job, struct error *err)
{
	struct download_job *self = (struct download_job *)job;
	struct download *download = self->download;
	const struct digest *digest = self->digests;
	struct writer_sink sink = {.sink = {append_to_writer, 0}};
	int rc;

	sink.writer = blob_writer_new(
	    download->request->store, digest, ENCODING_IDENTITY, 0, err);
	if (sink.writer == NULL)
		return -1;
	rc = cas_read_stream(download->call, digest, &sink.sink, err);
	if (rc == 0) {
		rc = download_absent(download, digest, err);
	} else if (rc == 1) {
		rc = writer_commit(&sink, digest, err);
		if (rc == 0)
			download_arrived(download, digest);
	}
	blob_writer_free(sink.writer);
	return rc;
}

/* --- the whole ------------------------------------------------------------ */

static void
download_submit(struct download *download, struct digest *digests, size_t count,
    int (*run)(struct job *job, struct error *err))
{
	struct download_job *job = xcalloc(1, sizeof(*job));

	job->download = download;
	job->digests = digests;
	job->count = count;
	SLIST_INSERT_HEAD(&download->jobs, job, link);
	job_group_submit(&download->group, &job->job, run);
}

static void
download_submit_batches(struct download *download, size_t count)
{
	uint64_t limit = download->call->client->capabilities.max_batch_bytes;
	size_t start = 0;
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t size = download->small[i].size;

		if (i > start && (size > limit - bytes ||
				     i - start == CAS_BATCH_COUNT_MAX)) {
			download_submit(download, download->small + start,
			    i - start, download_batch);
			start = i;
			bytes = 0;
		}
		bytes += size;
	}
	if (count > start)
		download_submit(download, download->small + start,
		    count - start, download_batch);
}

/* The long ones first, so that they do not stand alone at the end. */
static void
download_start(struct download *download)
{
	const struct digest_list *digests = download->request->digests;
	size_t small = 0;
	size_t large = 0;

	for (size_t i = 0; i < digests->count; i++) {
		const struct digest *digest = &digests->items[i];

		if (digest_is_empty(digest))
			download_arrived(download, digest);
		else if (cas_client_is_small(
			     download->call->client, digest->size))
			download->small[small++] = *digest;
		else
			download->large[large++] = *digest;
	}
	for (size_t i = 0; i < large; i++)
		download_submit(
		    download, &download->large[i], 1, download_stream);
	download_submit_batches(download, small);
}

int
cas_client_download(struct cas_client *client,
    const struct cas_transfer *transfer, const struct cas_download *request,
    struct error *err)
{
	size_t count = request->digests->count;
	struct download download = {.request = request};
	struct download_job *job;
	struct cas_call call;
	int rc;

	cas_call_init(&call, client, transfer);
	download.call = &call;
	download.small = xcalloc(count + 1, sizeof(*download.small));
	download.large = xcalloc(count + 1, sizeof(*download.large));
	SLIST_INIT(&download.jobs);
	pthread_mutex_init(&download.lock, NULL);
	job_group_init(&download.group, client->pool);
	download_start(&download);
	rc = job_group_wait(&download.group, err);
	while ((job = SLIST_FIRST(&download.jobs)) != NULL) {
		SLIST_REMOVE_HEAD(&download.jobs, link);
		free(job);
	}
	pthread_mutex_destroy(&download.lock);
	free(download.small);
	free(download.large);
	cas_call_clear(&call);
	return rc;
}
