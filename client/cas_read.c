/* SPDX-License-Identifier: Apache-2.0 */
/* Single blobs into a buffer or a file, hashed on the way. */
#include "client/cas_client_core.h"

#include <pthread.h>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"

static void
hash_parts(
    struct digest_hasher *hasher, const struct iovec *parts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		digest_hasher_update(
		    hasher, parts[i].iov_base, parts[i].iov_len);
}

struct hashing_sink {
	struct blob_sink sink; /* first: the reader hands this back */
	struct digest_hasher *hasher;
	struct buffer *content; /* or */
	int fd;
};

static int
append_to_buffer(struct blob_sink *sink, struct iovec *parts, size_t count,
    struct error *err)
{
	struct hashing_sink *self = (struct hashing_sink *)sink;

	for (size_t i = 0; i < count; i++) {
		if (buffer_append(
			self->content, parts[i].iov_base, parts[i].iov_len) < 0)
			return error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the blob is larger than the %zu bytes that are "
			    "wanted",
			    self->content->limit);
	}
	hash_parts(self->hasher, parts, count);
	return 0;
}

static int
append_to_file(struct blob_sink *sink, struct iovec *parts, size_t count,
    struct error *err)
{
	struct hashing_sink *self = (struct hashing_sink *)sink;

	/* Before they are written, which uses them up. One call for a message
	 * gets larger pages from the file system than one for each part. */
	hash_parts(self->hasher, parts, count);
	return file_pwritev(self->fd, parts, count, sink->received, err);
}

static int
read_hashed(struct cas_client *client, const struct cas_transfer *transfer,
    const struct digest *digest, struct hashing_sink *self, struct error *err)
{
	struct digest actual;
	struct cas_call call;
	char text[DIGEST_TEXT_MAX];
	int rc = 1;

	if (digest_is_empty(digest))
		return 1;
	cas_call_init(&call, client, transfer);
	self->hasher = digest_hasher_new(digest->function);
	rc = cas_read_stream(&call, digest, &self->sink, err);
	digest_hasher_finish(self->hasher, &actual);
	if (rc == 1 && !digest_equal(&actual, digest))
		rc = error_set(err, ERROR_DATA_LOSS,
		    "the server's bytes for %s do not match the digest",
		    digest_format(digest, text));
	digest_hasher_free(self->hasher);
	cas_call_clear(&call);
	return rc;
}

int
cas_client_read(struct cas_client *client, const struct cas_transfer *transfer,
    const struct digest *digest, struct buffer *content, struct error *err)
{
	struct hashing_sink self = {
	    .sink = {append_to_buffer, 0}, .content = content};
	size_t before = content->len;
	char text[DIGEST_TEXT_MAX];
	int rc;

	if (digest->size > content->limit - before)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s is larger than the %zu bytes that are wanted",
		    digest_format(digest, text), content->limit - before);
	rc = read_hashed(client, transfer, digest, &self, err);
	if (rc != 1)
		content->len = before;
	return rc;
}

int
cas_client_read_file(struct cas_client *client,
    const struct cas_transfer *transfer, const struct digest *digest, int fd,
    struct error *err)
{
	struct hashing_sink self = {.sink = {append_to_file, 0}, .fd = fd};

	return read_hashed(client, transfer, digest, &self, err);
}

/* --- several -------------------------------------------------------------- */

struct file_reads {
	struct cas_client *client; /* constant, with the next two */
	const struct cas_transfer *transfer;
	const struct cas_client_file *files;
	/* Guards the rest. */
	pthread_mutex_t lock;
	bool failed;
	struct error error; /* the first */
};

static bool
have_failed(struct file_reads *reads)
{
	bool failed;

	pthread_mutex_lock(&reads->lock);
	failed = reads->failed;
	pthread_mutex_unlock(&reads->lock);
	return failed;
}

static void
keep_failure(struct file_reads *reads, const struct error *why)
{
	pthread_mutex_lock(&reads->lock);
	if (!reads->failed)
		reads->error = *why;
	reads->failed = true;
	pthread_mutex_unlock(&reads->lock);
}

static void
read_one(void *cookie, size_t i)
{
	struct file_reads *reads = cookie;
	const struct cas_client_file *file = &reads->files[i];
	char text[DIGEST_TEXT_MAX];
	struct error why;
	int rc;

	if (have_failed(reads))
		return;
	rc = cas_client_read_file(
	    reads->client, reads->transfer, &file->digest, file->fd, &why);
	if (rc == 0)
		error_set(&why, ERROR_NOT_FOUND, "the server lacks %s",
		    digest_format(&file->digest, text));
	if (rc <= 0)
		keep_failure(reads, &why);
}

int
cas_client_read_files(struct cas_client *client,
    const struct cas_transfer *transfer, const struct cas_client_file *files,
    size_t count, struct error *err)
{
	struct file_reads reads = {.client = client,
	    .transfer = transfer,
	    .files = files,
	    .lock = PTHREAD_MUTEX_INITIALIZER};

	thread_pool_share(client->pool, count, read_one, &reads);
	pthread_mutex_destroy(&reads.lock);
	if (!reads.failed)
		return 0;
	*err = reads.error;
	return -1;
}
