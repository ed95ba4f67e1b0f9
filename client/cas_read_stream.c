/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ByteStream Read: one blob as a stream of messages, identity or zstd. The
 * data of a message is given on as it lies in gRPC's memory.
 */
#include "client/cas_client_core.h"

#include <google/bytestream/bytestream.pb-c.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "protos/wire.h"
#include "rpc/message.h"

#define PATH_READ "/google.bytestream.ByteStream/Read"
/* Memory of a window is allocated by the frame's word; 8 MiB is what every
 * decoder has to take (RFC 8878), 128 MiB what long-distance encoders use. */
#define WINDOW_LOG_MAX 27
#define OUT_SIZE (128u << 10)
/* Of ReadResponse.data, in one byte. */
#define TAG_DATA 0x52

struct reader {
	const struct cas_call *call;
	const struct digest *digest;
	struct blob_sink *sink;
	ZSTD_DCtx *zstd;  /* NULL = identity */
	bool frame_ended; /* no frame is open */
	char *out;        /* OUT_SIZE, with zstd */
	bool refused;     /* by the sink: another try would not help */
};

/* --- one message ---------------------------------------------------------- */

static int
reader_append(
    struct reader *reader, struct iovec *parts, size_t count, struct error *err)
{
	struct blob_sink *sink = reader->sink;
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += parts[i].iov_len;
	if (len > reader->digest->size - sink->received)
		return error_set(err, ERROR_DATA_LOSS,
		    "the server sends more than the %llu bytes of the blob",
		    (unsigned long long)reader->digest->size);
	if (sink->append(sink, parts, count, err) < 0) {
		reader->refused = true;
		return -1;
	}
	sink->received += len;
	return 0;
}

static int
reader_decompress(
    struct reader *reader, const struct iovec *part, struct error *err)
{
	ZSTD_inBuffer in = {part->iov_base, part->iov_len, 0};
	ZSTD_outBuffer out = {reader->out, OUT_SIZE, 0};

	/* A full output may mean that there is more inside, unless the frame
	 * is complete. */
	while (
	    in.pos < in.size || (out.pos == out.size && !reader->frame_ended)) {
		size_t rc;

		out.pos = 0;
		rc = ZSTD_decompressStream(reader->zstd, &out, &in);
		if (ZSTD_isError(rc))
			return error_set(err, ERROR_DATA_LOSS,
			    "the server sends malformed zstd: %s",
			    ZSTD_getErrorName(rc));
		reader->frame_ended = rc == 0;
		if (reader_append(
			reader, &(struct iovec){out.dst, out.pos}, 1, err) < 0)
			return -1;
	}
	return 0;
}

static int
reader_take(
    struct reader *reader, struct iovec *parts, size_t count, struct error *err)
{
	int rc = 0;

	if (reader->zstd == NULL)
		return reader_append(reader, parts, count, err);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = reader_decompress(reader, &parts[i], err);
	return rc;
}

/* The parts of a message without what precedes the data. */
static int
reader_take_parts(struct reader *reader, const struct iovec *parts,
    size_t count, size_t skip, struct error *err)
{
	struct iovec *rest = xreallocarray(NULL, count, sizeof(*rest));
	int rc;

	memcpy(rest, parts, count * sizeof(*rest));
	rest[0].iov_base = (char *)rest[0].iov_base + skip;
	rest[0].iov_len -= skip;
	rc = reader_take(reader, rest, count, err);
	free(rest);
	return rc;
}

/* Length of what precedes the data when the message is its data and nothing
 * else, which is what servers send; 0 when it is not so simple. */
static size_t
data_header(struct rpc_message *message, const struct iovec *first)
{
	const uint8_t *bytes = first->iov_base;
	uint8_t again[WIRE_VARINT_MAX];
	size_t size = rpc_message_size(message);

	/* The length that the data must have if its varint has n bytes. */
	for (size_t n = 1; n <= 5 && n + 1 <= first->iov_len; n++) {
		size_t len = size - 1 - n;

		if (bytes[0] == TAG_DATA && wire_varint_size(len) == n &&
		    wire_put_varint(again, len) == n &&
		    memcmp(again, bytes + 1, n) == 0)
			return n + 1;
	}
	return 0;
}

static int
reader_message(
    struct reader *reader, struct rpc_message *message, struct error *err)
{
	size_t count;
	const struct iovec *parts = rpc_message_parts(message, &count);
	size_t skip = count > 0 ? data_header(message, &parts[0]) : 0;
	const Bytestream__ReadResponse *response;
	struct arena arena;
	int rc = -1;

	if (skip > 0)
		return reader_take_parts(reader, parts, count, skip, err);
	arena_init(&arena, 4 * rpc_message_size(message) + 65536);
	response = rpc_message_unpack(
	    message, &bytestream__read_response__descriptor, &arena, err);
	if (response != NULL)
		rc = reader_take(reader,
		    &(struct iovec){response->data.data, response->data.len}, 1,
		    err);
	arena_clear(&arena);
	return rc;
}

/* --- one try -------------------------------------------------------------- */

static int
reader_open(
    struct reader *reader, struct rpc_stream **stream, struct error *err)
{
	const struct cas_client *client = reader->call->client;
	const struct digest *digest = reader->digest;
	struct buffer name;

	*stream = cas_call_stream(reader->call, PATH_READ,
	    digest->size - reader->sink->received, err);
	if (*stream == NULL)
		return -1;
	buffer_init(&name, CAS_RESOURCE_NAME_MAX);
	cas_resource_name(&name, str_from(client->instance), NULL, digest,
	    reader->zstd != NULL);
	/* When a send fails, the receiving side has the reason. */
	if (rpc_stream_send(*stream,
		cas_message_read(buffer_str(&name), reader->sink->received),
		err) == 0)
		rpc_stream_half_close(*stream, err);
	buffer_clear(&name);
	return 0;
}

static int
reader_end(const struct reader *reader, struct error *err)
{
	if (reader->sink->received == reader->digest->size &&
	    (reader->zstd == NULL || reader->frame_ended))
		return 1;
	/* As if it had broken: what came is good to go on from. */
	return error_set(err, ERROR_UNAVAILABLE,
	    "the server ended the stream after %llu of %llu bytes",
	    (unsigned long long)reader->sink->received,
	    (unsigned long long)reader->digest->size);
}

/* 1 all there, 0 absent, -1. */
static int
reader_try(struct reader *reader, struct error *err)
{
	struct rpc_stream *stream = NULL;
	struct rpc_message *message;
	int more;

	if (reader->zstd != NULL)
		ZSTD_DCtx_reset(reader->zstd, ZSTD_reset_session_only);
	reader->frame_ended = true;
	if (reader_open(reader, &stream, err) < 0)
		return -1;
	while ((more = rpc_stream_receive(stream, &message, err)) == 1) {
		int rc = reader_message(reader, message, err);

		rpc_message_free(message);
		if (rc < 0 || cas_call_wanted(reader->call, err) < 0) {
			more = -1;
			goto out;
		}
	}
	if (more == 0)
		more = reader_end(reader, err);
	else if (err->code == ERROR_NOT_FOUND)
		more = 0;
out:
	rpc_stream_free(stream);
	return more;
}

int
cas_read_stream(const struct cas_call *call, const struct digest *digest,
    struct blob_sink *sink, struct error *err)
{
	struct reader reader = {.call = call, .digest = digest, .sink = sink};
	struct retry retry;
	char text[DIGEST_TEXT_MAX];
	int rc;

	if (cas_client_compresses(call->client, digest->size)) {
		reader.zstd = ZSTD_createDCtx();
		reader.out = xmalloc(OUT_SIZE);
		ZSTD_DCtx_setParameter(
		    reader.zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	}
	cas_call_retry(call, &retry);
	for (;;) {
		uint64_t before = sink->received;

		rc = reader_try(&reader, err);
		if (sink->received > before)
			retry_progress(&retry);
		if (rc >= 0 || reader.refused || !retry_again(&retry, err))
			break;
	}
	if (rc < 0)
		error_prefix(err, "download %s", digest_format(digest, text));
	ZSTD_freeDCtx(reader.zstd);
	free(reader.out);
	return rc;
}
