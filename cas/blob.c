/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles on blobs. A handle holds a reference on its segment or its own
 * descriptor of its file, so dropping the blob does not take the bytes away.
 * The caller's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/blob_internal.h"
#include "cas/store_segment.h"

struct blob {
	struct store *store;
	struct digest digest;
	struct place place;
	struct segment *segment; /* a reference, or NULL */
	int fd;                  /* of the file, or -1 */
	bool verified;           /* the record's checksum was right */
	uint8_t *record;         /* a record read whole, verified, or NULL */
};

/* --- opening -------------------------------------------------------------- */

/* 1, 0 when the file is not there or has another size, -1. */
static int
blob_open_file(struct blob *blob, struct error *err)
{
	char path[BLOB_PATH_MAX];
	struct stat status;

	blob_file_path(&blob->digest, blob->place.encoding, path);
	blob->fd =
	    openat(blob->store->blobs, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (blob->fd == -1 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (blob->fd == -1 || fstat(blob->fd, &status) == -1)
		return error_set_errno(err, errno, "open blobs/%s", path);
	if ((uint64_t)status.st_size == blob->place.stored_size)
		return 1;
	file_close(&blob->fd);
	return 0;
}

static int
blob_open_place(struct blob *blob, struct error *err)
{
	if (blob->place.kind == PLACE_FILE)
		return blob_open_file(blob, err);
	return segment_ref(
	    blob->store->segments, blob->place.segment, &blob->segment, err);
}

static bool
place_is_same(const struct place *a, const struct place *b)
{
	return a->kind == b->kind && a->encoding == b->encoding &&
	       a->segment == b->segment && a->offset == b->offset;
}

/* 1, 0, -1. What is gone although the index names it is dropped, unless it was
 * moved between our two looks. */
static int
blob_open(struct blob *blob, struct error *err)
{
	struct place before;
	int found = store_find(blob->store, &blob->digest, &blob->place, err);

	for (;;) {
		if (found != 1)
			return found;
		found = blob_open_place(blob, err);
		if (found != 0)
			return found;
		before = blob->place;
		found =
		    store_find(blob->store, &blob->digest, &blob->place, err);
		if (found == 1 && place_is_same(&before, &blob->place)) {
			store_drop_bad(blob->store, &blob->digest, &blob->place,
			    "its file is gone");
			return 0;
		}
	}
}

int
store_open_blob(struct store *store, const struct digest *digest,
    struct blob **result, struct error *err)
{
	struct blob *blob = xcalloc(1, sizeof(*blob));
	int found = 1;

	blob->store = store;
	blob->digest = *digest;
	blob->fd = -1;
	if (!digest_is_empty(digest))
		found = blob_open(blob, err);
	if (found == 1)
		*result = blob;
	else
		blob_free(blob);
	return found;
}

int
store_open_blob_at(struct store *store, const struct digest *digest,
    const struct place *place, struct blob **result, struct error *err)
{
	struct blob *blob = xcalloc(1, sizeof(*blob));
	int found;

	blob->store = store;
	blob->digest = *digest;
	blob->place = *place;
	blob->fd = -1;
	found = blob_open_place(blob, err);
	if (found == 1)
		*result = blob;
	else
		blob_free(blob);
	return found;
}

void
blob_free(struct blob *blob)
{
	if (blob == NULL)
		return;
	if (blob->segment != NULL)
		segment_unref(blob->store->segments, blob->segment);
	file_close(&blob->fd);
	free(blob->record);
	free(blob);
}

const struct digest *
blob_digest(const struct blob *blob)
{
	return &blob->digest;
}

enum encoding
blob_encoding(const struct blob *blob)
{
	return blob->place.encoding;
}

uint64_t
blob_stored_size(const struct blob *blob)
{
	return blob->place.stored_size;
}

int
blob_descriptor(const struct blob *blob)
{
	return blob->place.encoding == ENCODING_IDENTITY ? blob->fd : -1;
}

/* --- reading -------------------------------------------------------------- */

void
blob_drop_bad(struct blob *blob, const char *why)
{
	store_drop_bad(blob->store, &blob->digest, &blob->place, why);
}

/* 1, 0 when it is not all in memory. */
static int
blob_read_cached(
    int fd, const struct iovec *vector, size_t len, uint64_t offset)
{
	ssize_t count = preadv2(fd, vector, 2, (off_t)offset, RWF_NOWAIT);

	/* Whatever is wrong will show when it is read again and may block. */
	return count >= 0 && (size_t)count == len ? 1 : 0;
}

/* Reads header (may be of length 0) and data that follow each other. */
static int
blob_read_at(struct blob *blob, struct iovec vector[2], uint64_t offset,
    bool cached_only, struct error *err)
{
	int fd = blob->segment != NULL ? segment_descriptor(blob->segment)
				       : blob->fd;
	size_t len = vector[0].iov_len + vector[1].iov_len;
	char text[DIGEST_TEXT_MAX];

	if (cached_only)
		return blob_read_cached(fd, vector, len, offset);
	/* As a rule one call does it; whatever is wrong shows below. */
	if (preadv(fd, vector, 2, (off_t)offset) == (ssize_t)len)
		return 1;
	for (size_t i = 0; i < 2; i++) {
		if (file_pread(fd, vector[i].iov_base, vector[i].iov_len,
			offset, err) < 0) {
			error_prefix(
			    err, "blob %s", digest_format(&blob->digest, text));
			if (err->code == ERROR_DATA_LOSS)
				blob_drop_bad(blob, "its file is too short");
			return -1;
		}
		offset += vector[i].iov_len;
	}
	return 1;
}

/* Reads the payload of a record to data and checks it. */
static int
blob_read_record(
    struct blob *blob, void *data, bool cached_only, struct error *err)
{
	uint8_t header[RECORD_HEADER_SIZE];
	struct iovec vector[2] = {
	    {header, sizeof(header)}, {data, blob->place.stored_size}};
	int rc =
	    blob_read_at(blob, vector, blob->place.offset, cached_only, err);

	if (rc != 1)
		return rc;
	if (record_check(header, &blob->digest, &blob->place, data, err) < 0) {
		blob_drop_bad(blob, "its checksum is wrong");
		return -1;
	}
	blob->verified = true;
	return 1;
}

static int
blob_read_segment(struct blob *blob, uint64_t offset, const struct iovec *part,
    bool cached_only, struct error *err)
{
	struct iovec vector[2] = {{NULL, 0}, *part};
	uint8_t *record;
	int rc;

	if (!blob->verified && part->iov_len == blob->place.stored_size)
		return blob_read_record(blob, part->iov_base, cached_only, err);
	if (!blob->verified) {
		/* Part of a record: the checksum needs all of it. */
		record = xmalloc(blob->place.stored_size);
		rc = blob_read_record(blob, record, cached_only, err);
		if (rc != 1) {
			free(record);
			return rc;
		}
		blob->record = record;
	}
	if (blob->record != NULL) {
		memcpy(part->iov_base, blob->record + offset, part->iov_len);
		return 1;
	}
	return blob_read_at(blob, vector,
	    blob->place.offset + RECORD_HEADER_SIZE + offset, cached_only, err);
}

int
blob_read(struct blob *blob, uint64_t offset, void *data, size_t len,
    bool cached_only, struct error *err)
{
	struct iovec part = {data, len};
	struct iovec vector[2] = {{NULL, 0}, part};

	if (offset > blob->place.stored_size ||
	    len > blob->place.stored_size - offset)
		return error_set(err, ERROR_OUT_OF_RANGE,
		    "bytes %" PRIu64 " to %" PRIu64
		    " are not within a blob of %" PRIu64 " stored bytes",
		    offset, offset + len, blob->place.stored_size);
	if (len == 0)
		return 1;
	if (blob->segment != NULL)
		return blob_read_segment(blob, offset, &part, cached_only, err);
	return blob_read_at(blob, vector, offset, cached_only, err);
}

static int
blob_read_decoded(struct blob *blob, char *data, struct error *err)
{
	const struct blob_stream_options options = {ENCODING_IDENTITY, 0, 0};
	uint64_t size = blob->digest.size, used = 0;
	struct blob_stream *stream = blob_stream_open(blob, &options, err);
	int rc = stream == NULL ? -1 : 0;

	while (rc == 0 && used < size) {
		size_t len;

		rc = blob_stream_next(
		    stream, data + used, (size_t)(size - used), &len, err);
		used += rc == 0 ? len : 0;
	}
	blob_stream_free(stream);
	return rc;
}

int
store_read(struct store *store, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	struct blob *blob;
	char *data;
	int rc = store_open_blob(store, digest, &blob, err);

	if (rc != 1)
		return rc;
	if (digest->size > content->limit - content->len ||
	    (data = buffer_reserve(content, (size_t)digest->size)) == NULL) {
		blob_free(blob);
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "blob %s does not fit the limit of %zu bytes",
		    digest_format(digest, text), content->limit);
	}
	if (blob->place.encoding == ENCODING_ZSTD) {
		rc = blob_read_decoded(blob, data, err);
	} else {
		rc = blob_read(blob, 0, data, (size_t)digest->size, false, err);
		blob_free(blob);
	}
	if (rc < 0)
		return -1;
	data[digest->size] = '\0';
	content->len += (size_t)digest->size;
	return 1;
}
