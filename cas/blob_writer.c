/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads in pieces. Up to small_limit bytes wait in memory, more go to a file
 * under incoming/; both are verified as they come. The owner's thread; after
 * the commit, the store's.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/file_writer.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/store_internal.h"
#include "cas/zstd_verify.h"

/* Another thread is asked to write what is at least so long (it costs two
 * switches of threads) and in no more parts: a message of 1 MiB has about 22.
 */
#define BESIDE_BYTES_MIN ((size_t)256 << 10)
#define BESIDE_PARTS_MAX 64

struct blob_writer {
	struct commit_job job; /* first: the committer gets its address */
	struct store *store;
	struct commit_blob blob;
	enum encoding encoding; /* of what is received */
	enum encoding kept;     /* of what is kept: the same, or identity */
	uint64_t received;      /* bytes of this stream, as received */
	uint64_t limit;         /* of them */
	uint64_t kept_size;     /* bytes that are kept, as they are kept */
	uint64_t position;      /* bytes of content that are here */
	uint64_t repeated;      /* content that comes again */
	struct digest_hasher *hasher; /* of content that is kept as such */
	struct zstd_verify *verify;   /* zstd; NULL while suspended */
	struct buffer content;        /* while it is small */
	int fd;                       /* of the incoming file, or -1 */
	struct file_writer file;      /* what is written to it */
	void (*done)(void *cookie, const struct error *err);
	void *cookie;
};

/* What a sane compressor may add: a frame's headers, and block headers at every
 * flush. Without a bound, empty frames could fill the disk. */
static uint64_t
blob_writer_limit(enum encoding encoding, uint64_t size)
{
	if (encoding == ENCODING_IDENTITY)
		return size;
	return size + size / 8 + 65536;
}

static int
blob_writer_check(struct store *store, const struct digest *digest,
    enum encoding encoding, struct error *err)
{
	if (store_check_writable(store, err) < 0)
		return -1;
	if (digest_hash_length(digest->function) == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest function %d is not supported",
		    (int)digest->function);
	if (encoding != ENCODING_IDENTITY && encoding != ENCODING_ZSTD)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "encoding %d is not supported", (int)encoding);
	if (digest->size > DIGEST_SIZE_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a blob cannot have %" PRIu64 " bytes", digest->size);
	return 0;
}

struct blob_writer *
blob_writer_new(struct store *store, const struct digest *digest,
    enum encoding encoding, uint16_t owner, struct error *err)
{
	uint64_t cost = store_blob_cost(store, digest->size);
	struct blob_writer *writer;

	if (blob_writer_check(store, digest, encoding, err) < 0 ||
	    store_reserve_upload(store, owner, cost, err) < 0)
		return NULL;
	writer = xcalloc(1, sizeof(*writer));
	writer->store = store;
	writer->blob.digest = *digest;
	writer->blob.owner = owner;
	writer->blob.reserved = cost;
	writer->blob.uploading = true;
	writer->encoding = writer->kept = encoding;
	writer->limit = blob_writer_limit(encoding, digest->size);
	writer->fd = -1;
	buffer_init(&writer->content, store->small_limit);
	if (encoding == ENCODING_IDENTITY) {
		writer->hasher = digest_hasher_new(digest->function);
	} else {
		writer->verify = zstd_verify_new();
		zstd_verify_start(writer->verify, digest, NULL);
	}
	return writer;
}

void
blob_writer_free(struct blob_writer *writer)
{
	if (writer == NULL)
		return;
	commit_blob_clear(writer->store, &writer->blob, true);
	file_close(&writer->fd);
	digest_hasher_free(writer->hasher);
	zstd_verify_free(writer->verify);
	buffer_clear(&writer->content);
	free(writer);
}

uint64_t
blob_writer_position(const struct blob_writer *writer)
{
	return writer->position;
}

/* --- receiving ------------------------------------------------------------ */

static int
blob_writer_verify(struct blob_writer *writer, const struct iovec *parts,
    size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		const void *data = parts[i].iov_base;
		size_t len = parts[i].iov_len;

		if (writer->verify == NULL)
			digest_hasher_update(writer->hasher, data, len);
		else if (zstd_verify_append(writer->verify, data, len, err) < 0)
			return -1;
	}
	return 0;
}

/* What was in memory goes to a file. */
static int
blob_writer_spill(struct blob_writer *writer, struct error *err)
{
	struct iovec part = {writer->content.data, writer->content.len};

	writer->fd =
	    blob_file_create(writer->store, writer->blob.incoming, err);
	if (writer->fd == -1)
		return -1;
	file_writer_init(&writer->file, writer->fd, writer->blob.digest.size);
	if (part.iov_len > 0 &&
	    file_writer_append(&writer->file, &part, 1, err) < 0)
		return -1;
	buffer_clear(&writer->content);
	return 0;
}

static int
blob_writer_keep(struct blob_writer *writer, struct iovec *parts, size_t count,
    size_t len, struct error *err)
{
	struct buffer *content = &writer->content;

	writer->kept_size += len;
	if (writer->fd == -1 && len > content->limit - content->len &&
	    blob_writer_spill(writer, err) < 0)
		return -1;
	if (writer->fd != -1)
		return file_writer_append(&writer->file, parts, count, err);
	for (size_t i = 0; i < count; i++) {
		char *end = buffer_reserve(content, parts[i].iov_len);

		memcpy(end, parts[i].iov_base, parts[i].iov_len);
		content->len += parts[i].iov_len;
	}
	return 0;
}

/* Parts that are verified and written at the same time. */
struct both {
	struct blob_writer *writer;
	const struct iovec *parts;
	struct iovec *copy; /* writing uses it up */
	size_t count;
	size_t len;
	struct error errors[2];
	int results[2];
};

static void
both_run(void *cookie, size_t i)
{
	struct both *both = cookie;

	if (i == 0)
		both->results[0] = blob_writer_verify(
		    both->writer, both->parts, both->count, &both->errors[0]);
	else
		both->results[1] = blob_writer_keep(both->writer, both->copy,
		    both->count, both->len, &both->errors[1]);
}

static int
blob_writer_take(struct blob_writer *writer, struct iovec *parts, size_t count,
    size_t len, struct error *err)
{
	struct iovec copy[BESIDE_PARTS_MAX];
	struct both both = {.writer = writer,
	    .parts = parts,
	    .copy = copy,
	    .count = count,
	    .len = len};
	bool beside = len >= BESIDE_BYTES_MIN && count <= BESIDE_PARTS_MAX;

	if (!beside) {
		if (blob_writer_verify(writer, parts, count, err) < 0)
			return -1;
		if (blob_writer_keep(writer, parts, count, len, err) < 0)
			return store_disk_error(writer->store, err);
		return 0;
	}
	memcpy(copy, parts, count * sizeof(*copy));
	thread_pool_share(writer->store->pool, 2, both_run, &both);
	if (both.results[0] == 0 && both.results[1] == 0)
		return 0;
	*err = both.errors[both.results[0] < 0 ? 0 : 1];
	return both.results[0] < 0 ? -1 : store_disk_error(writer->store, err);
}

/* zstd_sink_fn: content of a stream that goes on, to be kept as such. */
static int
blob_writer_sink(void *cookie, const void *data, size_t len, struct error *err)
{
	struct blob_writer *writer = cookie;
	size_t again = writer->repeated < len ? (size_t)writer->repeated : len;
	struct iovec part = {(char *)(uintptr_t)data + again, len - again};

	writer->repeated -= again;
	if (part.iov_len == 0)
		return 0;
	len = part.iov_len;
	writer->position += len;
	digest_hasher_update(writer->hasher, part.iov_base, len);
	if (blob_writer_keep(writer, &part, 1, len, err) < 0)
		return store_disk_error(writer->store, err);
	return 0;
}

/* Parts of a compressed stream that goes on. */
static int
blob_writer_take_more(struct blob_writer *writer, const struct iovec *parts,
    size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (zstd_verify_append(writer->verify, parts[i].iov_base,
			parts[i].iov_len, err) < 0)
			return -1;
	return 0;
}

/* Passes over content that is here already; returns how much. */
static size_t
blob_writer_skip(struct blob_writer *writer, struct iovec *parts, size_t count)
{
	size_t skipped = 0;

	for (size_t i = 0; i < count && writer->repeated > 0; i++) {
		size_t again = writer->repeated < parts[i].iov_len
				   ? (size_t)writer->repeated
				   : parts[i].iov_len;

		parts[i].iov_base = (char *)parts[i].iov_base + again;
		parts[i].iov_len -= again;
		writer->repeated -= again;
		skipped += again;
	}
	return skipped;
}

int
blob_writer_append_parts(struct blob_writer *writer, struct iovec *parts,
    size_t count, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += parts[i].iov_len;
	if (len == 0)
		return 0;
	if (len > writer->limit - writer->received)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: %" PRIu64 " bytes were received",
		    digest_format(&writer->blob.digest, text),
		    writer->received + len);
	writer->received += len;
	if (writer->kept != writer->encoding)
		return blob_writer_take_more(writer, parts, count, err);
	if (writer->encoding == ENCODING_IDENTITY)
		len -= blob_writer_skip(writer, parts, count);
	if (len == 0)
		return 0;
	if (blob_writer_take(writer, parts, count, len, err) < 0)
		return -1;
	writer->position = writer->encoding == ENCODING_ZSTD
			       ? zstd_verify_produced(writer->verify)
			       : writer->position + len;
	return 0;
}

int
blob_writer_append(
    struct blob_writer *writer, const void *data, size_t len, struct error *err)
{
	struct iovec part = {(void *)(uintptr_t)data, len};

	return blob_writer_append_parts(writer, &part, 1, err);
}

/* --- interruptions -------------------------------------------------------- */

void
blob_writer_suspend(struct blob_writer *writer)
{
	zstd_verify_free(writer->verify);
	writer->verify = NULL;
}

size_t
blob_writer_memory(const struct blob_writer *writer)
{
	return sizeof(*writer) + writer->content.len;
}

/* Decompresses a file from its beginning. */
static int
blob_writer_expand_file(
    struct blob_writer *writer, int fd, uint64_t size, struct error *err)
{
	size_t room = (size_t)64 << 10;
	char *piece = xmalloc(room);
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && at < size) {
		size_t len = size - at < room ? (size_t)(size - at) : room;

		rc = file_pread(fd, piece, len, at, err);
		if (rc == 0)
			rc =
			    zstd_verify_append(writer->verify, piece, len, err);
		at += len;
	}
	free(piece);
	return rc;
}

/* What is kept compressed, with an end in the midst of a frame, becomes
 * content, to which that of another stream can be added. */
static int
blob_writer_expand(struct blob_writer *writer, struct error *err)
{
	struct commit_blob *blob = &writer->blob;
	struct buffer old = writer->content;
	char old_name[INCOMING_NAME_MAX];
	uint64_t size = writer->kept_size;
	int fd = writer->fd;
	int rc;

	memcpy(old_name, blob->incoming, sizeof(old_name));
	blob->incoming[0] = '\0';
	buffer_init(&writer->content, writer->store->small_limit);
	writer->fd = -1;
	writer->kept = ENCODING_IDENTITY;
	writer->kept_size = writer->position = 0;
	writer->hasher = digest_hasher_new(blob->digest.function);
	zstd_verify_start_part(writer->verify, &blob->digest, blob->digest.size,
	    blob_writer_sink, writer);
	rc = fd == -1
		 ? zstd_verify_append(writer->verify, old.data, old.len, err)
		 : blob_writer_expand_file(writer, fd, size, err);
	buffer_clear(&old);
	file_close(&fd);
	if (old_name[0] != '\0')
		(void)unlinkat(writer->store->incoming, old_name, 0);
	return rc;
}

int
blob_writer_resume(
    struct blob_writer *writer, uint64_t offset, struct error *err)
{
	const struct digest *digest = &writer->blob.digest;
	char text[DIGEST_TEXT_MAX];

	if (offset > digest->size)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: offset %" PRIu64 " is past its end",
		    digest_format(digest, text), offset);
	writer->received = 0;
	writer->limit =
	    blob_writer_limit(writer->encoding, digest->size - offset);
	if (writer->encoding == ENCODING_ZSTD) {
		if (writer->verify == NULL)
			writer->verify = zstd_verify_new();
		if (writer->kept == ENCODING_ZSTD &&
		    blob_writer_expand(writer, err) < 0)
			return -1;
		zstd_verify_start_part(writer->verify, digest,
		    digest->size - offset, blob_writer_sink, writer);
	}
	if (offset > writer->position)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: only %" PRIu64 " bytes are here",
		    digest_format(digest, text), writer->position);
	writer->repeated = writer->position - offset;
	return 0;
}

/* --- committing ----------------------------------------------------------- */

static void
blob_writer_finish(struct commit_job *job, const struct error *err)
{
	struct blob_writer *writer = (struct blob_writer *)job;
	void (*done)(void *cookie, const struct error *err) = writer->done;
	void *cookie = writer->cookie;

	commit_blob_clear(writer->store, &writer->blob, err != NULL);
	/* Nothing is left that a failure would remove. */
	writer->blob.placed = false;
	blob_writer_free(writer);
	done(cookie, err);
}

static int
blob_writer_append_record(
    struct commit_job *job, struct log_group *group, struct error *err)
{
	struct blob_writer *writer = (struct blob_writer *)job;

	return log_group_add(group, &writer->blob, err);
}

static int
blob_writer_apply(
    struct commit_job *job, struct commit_group *group, struct error *err)
{
	struct blob_writer *writer = (struct blob_writer *)job;

	return commit_group_add(group, &writer->blob, err);
}

static int
blob_writer_check_content(struct blob_writer *writer, struct error *err)
{
	struct digest computed;
	char text[DIGEST_TEXT_MAX];

	if (writer->kept == ENCODING_ZSTD)
		return writer->received == 0 &&
			       digest_is_empty(&writer->blob.digest)
			   ? 0
			   : zstd_verify_finish(writer->verify, err);
	if (writer->encoding == ENCODING_ZSTD &&
	    zstd_verify_finish_part(writer->verify, err) < 0)
		return -1;
	if (writer->position != writer->blob.digest.size)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: %" PRIu64 " bytes were received",
		    digest_format(&writer->blob.digest, text),
		    writer->position);
	digest_hasher_finish(writer->hasher, &computed);
	return store_check_digest(&writer->blob.digest, &computed, err);
}

/* Small content that compression did not shrink is kept as it is. */
static int
blob_writer_decode(struct blob_writer *writer, struct error *err)
{
	struct commit_blob *blob = &writer->blob;
	size_t size = (size_t)blob->digest.size;

	blob->owned.iov_base = xmalloc(size);
	blob->owned.iov_len = size;
	blob->stored_size = size;
	blob->encoding = ENCODING_IDENTITY;
	zstd_verify_start(writer->verify, &blob->digest, blob->owned.iov_base);
	if (zstd_verify_append(writer->verify, writer->content.data,
		writer->content.len, err) < 0)
		return -1;
	return zstd_verify_finish(writer->verify, err);
}

static int
blob_writer_prepare(struct blob_writer *writer, struct error *err)
{
	struct commit_blob *blob = &writer->blob;

	blob->encoding = writer->kept;
	blob->stored_size = writer->kept_size;
	if (writer->fd != -1 && file_writer_sync(&writer->file, err) < 0)
		return store_disk_error(writer->store, err);
	if (writer->fd != -1)
		return 0;
	if (writer->kept == ENCODING_ZSTD &&
	    blob->digest.size <= writer->kept_size) {
		if (blob_writer_decode(writer, err) < 0)
			return -1;
	} else {
		blob->owned.iov_base = writer->content.data;
		blob->owned.iov_len = writer->content.len;
		/* The buffer's memory is the blob's now. */
		buffer_init(&writer->content, 0);
	}
	blob->parts = &blob->owned;
	blob->part_count = 1;
	commit_blob_seal(blob);
	return 0;
}

void
blob_writer_commit(struct blob_writer *writer,
    void (*done)(void *cookie, const struct error *err), void *cookie)
{
	struct error err;
	int found;

	writer->done = done;
	writer->cookie = cookie;
	writer->job.finish = blob_writer_finish;
	store_end_upload(writer->store, &writer->blob);
	if (blob_writer_check_content(writer, &err) < 0) {
		blob_writer_finish(&writer->job, &err);
		return;
	}
	if (digest_is_empty(&writer->blob.digest)) {
		blob_writer_finish(&writer->job, NULL);
		return;
	}
	found = store_is_stored(writer->store, &writer->blob.digest, &err);
	if (found == 0)
		found = blob_writer_prepare(writer, &err);
	if (found != 0) {
		blob_writer_finish(&writer->job, found < 0 ? &err : NULL);
		return;
	}
	file_close(&writer->fd);
	writer->job.weight = commit_blob_weight(&writer->blob);
	if (writer->blob.incoming[0] != '\0')
		writer->job.apply = blob_writer_apply;
	else
		writer->job.append = blob_writer_append_record;
	committer_submit(writer->store->committer, &writer->job);
}
