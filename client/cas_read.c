/* SPDX-License-Identifier: Apache-2.0 */
/* Single blobs into a buffer or a file, hashed on the way. */
#include "client/cas_client_core.h"

#include "base/error.h"
#include "base/file.h"

struct hashing_sink {
	struct blob_sink sink; /* first: the reader hands this back */
	struct digest_hasher *hasher;
	struct buffer *content; /* or */
	int fd;
};

static int
append_to_buffer(
    struct blob_sink *sink, const void *data, size_t len, struct error *err)
{
	struct hashing_sink *self = (struct hashing_sink *)sink;

	if (buffer_append(self->content, data, len) < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the blob is larger than the %zu bytes that are wanted",
		    self->content->limit);
	digest_hasher_update(self->hasher, data, len);
	return 0;
}

static int
append_to_file(
    struct blob_sink *sink, const void *data, size_t len, struct error *err)
{
	struct hashing_sink *self = (struct hashing_sink *)sink;

	if (file_pwrite(self->fd, data, len, sink->received, err) < 0)
		return -1;
	digest_hasher_update(self->hasher, data, len);
	return 0;
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
