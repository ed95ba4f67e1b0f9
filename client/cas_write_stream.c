/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ByteStream Write: one blob in messages of 1 MiB, identity or zstd. A broken
 * identity upload goes on where QueryWriteStatus says; a broken compressed one
 * starts again, since its offsets mean nothing after a new compression. The
 * server may answer before the end: then somebody else has sent the blob.
 */
#include "client/cas_client_core.h"

#include <google/bytestream/bytestream.pb-c.h>
#include <stdlib.h>
#include <uuid/uuid.h>
#include <zstd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "client/blob_source.h"
#include "rpc/message.h"

#define PATH_WRITE "/google.bytestream.ByteStream/Write"
#define PATH_STATUS "/google.bytestream.ByteStream/QueryWriteStatus"
#define COMPRESSION_LEVEL 1
#define IN_SIZE (128u << 10)

struct writer {
	const struct cas_call *call;
	const struct cas_upload *upload;
	struct buffer name;         /* the resource */
	struct blob_source *source; /* of this try */
	uint64_t read;              /* identity bytes taken from it */
	uint64_t offset;            /* of the next message's data */
	ZSTD_CCtx *zstd;            /* NULL = identity */
	char *in;                   /* IN_SIZE, with zstd */
	ZSTD_inBuffer pending;      /* what of it is not compressed yet */
	bool local;                 /* our own side failed: no other try */
};

/* --- messages ------------------------------------------------------------- */

static int
writer_read(struct writer *writer, void *data, size_t len, struct error *err)
{
	if (blob_source_read(writer->source, data, len, err) < 0) {
		writer->local = true;
		return -1;
	}
	writer->read += len;
	return 0;
}

static size_t
writer_left(const struct writer *writer, size_t most)
{
	uint64_t left = writer->upload->digest.size - writer->read;

	return left < most ? (size_t)left : most;
}

/* Fills out with compressed bytes; *ended once the frame is complete. */
static int
writer_compress(
    struct writer *writer, ZSTD_outBuffer *out, bool *ended, struct error *err)
{
	ZSTD_inBuffer *in = &writer->pending;

	*ended = false;
	while (out->pos < out->size && !*ended) {
		ZSTD_EndDirective mode;
		size_t rc;

		if (in->pos == in->size) {
			*in = (ZSTD_inBuffer){
			    writer->in, writer_left(writer, IN_SIZE), 0};
			if (writer_read(writer, writer->in, in->size, err) < 0)
				return -1;
		}
		mode =
		    writer_left(writer, 1) == 0 ? ZSTD_e_end : ZSTD_e_continue;
		rc = ZSTD_compressStream2(writer->zstd, out, in, mode);
		if (ZSTD_isError(rc)) {
			writer->local = true;
			return error_set(err, ERROR_INTERNAL, "zstd: %s",
			    ZSTD_getErrorName(rc));
		}
		*ended = mode == ZSTD_e_end && rc == 0;
	}
	return 0;
}

/* The data of the next message, in memory of its own. */
static int
writer_piece(
    struct writer *writer, struct cas_write_piece *piece, struct error *err)
{
	size_t size = CAS_CHUNK;
	ZSTD_outBuffer out;
	int rc = 0;

	if (writer->zstd == NULL)
		size = writer_left(writer, CAS_CHUNK);
	piece->data = xmalloc(size + 1);
	piece->offset = writer->offset;
	if (writer->zstd == NULL) {
		rc = writer_read(writer, piece->data, size, err);
		piece->len = size;
		piece->finish = writer_left(writer, 1) == 0;
	} else {
		out = (ZSTD_outBuffer){piece->data, size, 0};
		rc = writer_compress(writer, &out, &piece->finish, err);
		piece->len = out.pos;
	}
	if (rc < 0)
		free(piece->data);
	writer->offset += piece->len;
	return rc;
}

/* Sends until the end or until the server wants no more. */
static int
writer_send(struct writer *writer, struct rpc_stream *stream, struct error *err)
{
	struct cas_write_piece piece = {.resource = buffer_str(&writer->name)};

	do {
		if (cas_call_wanted(writer->call, err) < 0 ||
		    writer_piece(writer, &piece, err) < 0)
			return -1;
		if (rpc_stream_send(stream, cas_message_write(&piece), err) < 0)
			return 0; /* the answer says why */
		piece.resource = (struct str){"", 0};
	} while (!piece.finish);
	/* The same here. */
	rpc_stream_half_close(stream, err);
	return 0;
}

/* --- one try -------------------------------------------------------------- */

static int
writer_check(
    const struct writer *writer, struct rpc_message *message, struct error *err)
{
	const Bytestream__WriteResponse *response;
	int64_t committed = 0;
	struct arena arena;

	arena_init(&arena, 65536);
	response = rpc_message_unpack(
	    message, &bytestream__write_response__descriptor, &arena, err);
	if (response != NULL)
		committed = response->committed_size;
	arena_clear(&arena);
	if (response == NULL)
		return -1;
	/* Compressed: -1 when it was there, else what was sent; servers differ
	 * in what they count, and only a whole blob is answered with OK. */
	if (writer->zstd != NULL ||
	    committed == (int64_t)writer->upload->digest.size)
		return 0;
	return error_set(err, ERROR_INTERNAL,
	    "the server has committed %lld of %llu bytes", (long long)committed,
	    (unsigned long long)writer->upload->digest.size);
}

static int
writer_finish(
    struct writer *writer, struct rpc_stream *stream, struct error *err)
{
	struct rpc_message *message = NULL;
	struct rpc_message *none = NULL;
	int more = rpc_stream_receive(stream, &message, err);

	if (more == 1)
		more = rpc_stream_receive(stream, &none, err);
	else if (more == 0)
		more = error_set(err, ERROR_INTERNAL,
		    "the server ended the stream without an answer");
	if (more >= 0)
		more = writer_check(writer, message, err);
	else if (err->code == ERROR_ALREADY_EXISTS)
		more = 0;
	rpc_message_free(message);
	rpc_message_free(none);
	return more;
}

static int
writer_try(struct writer *writer, uint64_t offset, struct error *err)
{
	const struct cas_upload *upload = writer->upload;
	struct rpc_stream *stream = NULL;
	int rc = -1;

	writer->offset = offset;
	writer->read = offset;
	writer->source = blob_source_open(upload, offset, err);
	if (writer->source == NULL) {
		writer->local = true;
		goto out;
	}
	if (writer->zstd != NULL)
		ZSTD_CCtx_reset(writer->zstd, ZSTD_reset_session_only);
	writer->pending = (ZSTD_inBuffer){NULL, 0, 0};
	stream = cas_call_stream(
	    writer->call, PATH_WRITE, upload->digest.size - offset, err);
	if (stream == NULL || writer_send(writer, stream, err) < 0)
		goto out;
	rc = writer_finish(writer, stream, err);
out:
	rpc_stream_free(stream);
	blob_source_close(writer->source);
	writer->source = NULL;
	return rc;
}

/* --- trying again --------------------------------------------------------- */

/* How much the server has: 1 all of it, 0 and *offset, -1. */
static int
writer_status(struct writer *writer, uint64_t *offset, struct error *err)
{
	Bytestream__QueryWriteStatusRequest request =
	    BYTESTREAM__QUERY_WRITE_STATUS_REQUEST__INIT;
	const Bytestream__QueryWriteStatusResponse *status = NULL;
	struct rpc_message *response = NULL;
	struct arena arena;
	int rc;

	*offset = 0;
	arena_init(&arena, 65536);
	request.resource_name.data = (uint8_t *)writer->name.data;
	request.resource_name.len = writer->name.len;
	rc = cas_call_unary(writer->call, PATH_STATUS,
	    rpc_message_pack(&request.base), &response, err);
	if (rc == 0)
		status = rpc_message_unpack(response,
		    &bytestream__query_write_status_response__descriptor,
		    &arena, err);
	if (status != NULL) {
		if (status->committed_size > 0 &&
		    (uint64_t)status->committed_size <
			writer->upload->digest.size)
			*offset = (uint64_t)status->committed_size;
		rc = status->complete ? 1 : 0;
	} else if (rc == 0) {
		rc = -1;
	} else if (err->code == ERROR_NOT_FOUND ||
		   err->code == ERROR_UNIMPLEMENTED) {
		rc = 0; /* from the start */
	}
	rpc_message_free(response);
	arena_clear(&arena);
	return rc;
}

static void
writer_name(struct writer *writer)
{
	uuid_t uuid;
	char text[UUID_STR_LEN];

	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, text);
	buffer_reset(&writer->name);
	cas_resource_name(&writer->name,
	    str_from(writer->call->client->instance), text,
	    &writer->upload->digest, writer->zstd != NULL);
}

static int
writer_run(struct writer *writer, struct error *err)
{
	struct retry retry;
	uint64_t offset = 0;

	cas_call_retry(writer->call, &retry);
	writer_name(writer);
	for (;;) {
		uint64_t before = offset;
		int rc = writer_try(writer, offset, err);

		if (rc == 0)
			return 0;
		if (writer->local || !retry_again(&retry, err))
			return -1;
		if (writer->zstd != NULL) {
			writer_name(writer);
			continue;
		}
		rc = writer_status(writer, &offset, err);
		if (rc == 1)
			return 0;
		if (rc < 0 && !retry_again(&retry, err))
			return -1;
		if (offset > before)
			retry_progress(&retry);
	}
}

int
cas_write_stream(const struct cas_call *call, const struct cas_upload *upload,
    struct error *err)
{
	struct writer writer = {.call = call, .upload = upload};
	char text[DIGEST_TEXT_MAX];
	int rc;

	buffer_init(&writer.name, CAS_RESOURCE_NAME_MAX);
	if (cas_client_compresses(call->client, upload->digest.size)) {
		writer.zstd = ZSTD_createCCtx();
		writer.in = xmalloc(IN_SIZE);
		ZSTD_CCtx_setParameter(
		    writer.zstd, ZSTD_c_compressionLevel, COMPRESSION_LEVEL);
	}
	rc = writer_run(&writer, err);
	if (rc < 0 && err->code == ERROR_INVALID_ARGUMENT &&
	    upload->from == CAS_UPLOAD_FILE)
		/* What the server refuses is what we read. */
		err->code = ERROR_FAILED_PRECONDITION;
	if (rc < 0)
		error_prefix(
		    err, "upload %s", digest_format(&upload->digest, text));
	ZSTD_freeCCtx(writer.zstd);
	free(writer.in);
	buffer_clear(&writer.name);
	return rc;
}
