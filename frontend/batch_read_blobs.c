/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BatchReadBlobs: every blob is read straight into its place in the reply,
 * which never exceeds 4 MiB. What is wrong with one blob is its own status.
 * Runs on a pool thread, since blobs may have to come from the disk.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "cas/store.h"
#include "frontend/content_addressable_storage.h"
#include "frontend/rpc_metrics.h"
#include "frontend/unary_call.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/server.h"

/* BatchReadBlobsRequest */
enum {
	INSTANCE_NAME = 1,
	DIGESTS = 2,
	ACCEPTABLE_COMPRESSORS = 3,
	DIGEST_FUNCTION = 4,
};
/* BatchReadBlobsResponse and its Response */
enum {
	RESPONSES = 1,
	RESPONSE_DIGEST = 1,
	RESPONSE_DATA = 2,
	RESPONSE_STATUS = 3,
	RESPONSE_COMPRESSOR = 4,
};

/* What a response may take beside its data. */
#define RESPONSE_OVERHEAD 700u

struct batch_read {
	const struct storage *storage;
	uint64_t function;
	uint64_t total; /* declared bytes of all blobs */
	size_t count;
	bool zstd;       /* the client accepts it */
	bool compressed; /* a blob went out so */
	struct buffer reply;
};

static int
read_compressors(struct batch_read *read, const struct wire_field *field)
{
	struct str packed = field->bytes;

	if (field->type == WIRE_VARINT) {
		read->zstd |= field->value == ENCODING_ZSTD;
		return 0;
	}
	/* A packed list is a run of varints without tags: each is read behind
	 * a tag of its own. */
	while (packed.len > 0) {
		uint64_t value = 0;
		size_t at = 0;

		for (; at < packed.len && at < WIRE_VARINT_MAX; at++) {
			unsigned char byte = (unsigned char)packed.data[at];

			value |= (uint64_t)(byte & 0x7fu) << (7 * at % 64);
			if ((byte & 0x80u) == 0)
				break;
		}
		if (at == packed.len || at == WIRE_VARINT_MAX)
			return -1;
		packed.data += at + 1;
		packed.len -= at + 1;
		read->zstd |= value == ENCODING_ZSTD;
	}
	return 0;
}

static int
read_fields(struct batch_read *read, struct str message, struct str *instance)
{
	struct wire_field field;
	int more;

	while ((more = wire_next(&message, &field)) > 0) {
		switch (field.number) {
		case INSTANCE_NAME:
			*instance = field.bytes;
			break;
		case DIGESTS:
			read->count++;
			break;
		case ACCEPTABLE_COMPRESSORS:
			if (read_compressors(read, &field) < 0)
				return -1;
			break;
		case DIGEST_FUNCTION:
			read->function = field.value;
			break;
		default:
			break;
		}
	}
	return more;
}

static int
read_header(struct batch_read *read, struct str message, struct error *err)
{
	struct str instance = {"", 0};

	if (read_fields(read, message, &instance) < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the BatchReadBlobsRequest is malformed");
	if (read->count > STORAGE_BATCH_ENTRIES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a batch of %zu blobs; at most %u are accepted",
		    read->count, STORAGE_BATCH_ENTRIES_MAX);
	return storage_check_instance(read->storage, instance, err);
}

static int
check_total(struct batch_read *read, struct str message, struct error *err)
{
	struct wire_field field;
	struct digest digest;

	while (wire_next(&message, &field) > 0) {
		struct error ignored;

		/* A malformed digest gets its own status later. */
		if (field.number != DIGESTS || field.type != WIRE_BYTES ||
		    storage_parse_digest(read->storage, field.bytes,
			read->function, &digest, &ignored) < 0)
			continue;
		if (digest.size > STORAGE_BATCH_MAX - read->total)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the blobs of the batch exceed the %u bytes that "
			    "GetCapabilities advertises; read large ones with "
			    "ByteStream.Read",
			    STORAGE_BATCH_MAX);
		read->total += digest.size;
	}
	return 0;
}

/* The blob's bytes, as stored when the client takes that encoding, appended
 * to content. */
static int
read_content(struct batch_read *read, const struct digest *digest,
    struct buffer *content, enum encoding *encoding, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	struct blob *blob = NULL;
	char *room;
	int found;

	*encoding = ENCODING_IDENTITY;
	found = store_open_blob(read->storage->store, digest, &blob, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "blob %s is not in the store", digest_format(digest, text));
	if (blob_encoding(blob) == ENCODING_IDENTITY || read->zstd) {
		size_t size = (size_t)blob_stored_size(blob);
		int rc = -1;

		*encoding = blob_encoding(blob);
		room = buffer_reserve(content, size);
		if (room == NULL)
			error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "blob %s does not fit into the answer any more; "
			    "read it in a smaller batch",
			    digest_format(digest, text));
		else if (size == 0 ||
			 blob_read(blob, 0, room, size, false, err) >= 0)
			rc = 0;
		if (rc == 0)
			content->len += size;
		blob_free(blob);
		return rc;
	}
	blob_free(blob);
	found = store_read(read->storage->store, digest, content, err);
	if (found == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "blob %s is not in the store", digest_format(digest, text));
	return found < 0 ? -1 : 0;
}

static int
put_bytes(struct buffer *out, uint32_t field, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];

	if (buffer_append(out, header,
		wire_put_bytes_header(header, field, bytes.len)) < 0)
		return -1;
	return buffer_append(out, bytes.data, bytes.len);
}

/* One Response; content is scratch that keeps its memory. */
static int
put_response(
    struct batch_read *read, struct str message, struct buffer *content)
{
	uint8_t field[2 * WIRE_VARINT_MAX];
	enum encoding encoding = ENCODING_IDENTITY;
	struct error err = {.code = ERROR_OK};
	struct digest digest;
	struct buffer tail;
	size_t len;
	int rc = -1;

	buffer_reset(content);
	content->limit = read->reply.limit - read->reply.len;
	content->limit -= content->limit < RESPONSE_OVERHEAD
			      ? content->limit
			      : RESPONSE_OVERHEAD;
	if (storage_parse_digest(
		read->storage, message, read->function, &digest, &err) < 0 ||
	    read_content(read, &digest, content, &encoding, &err) < 0)
		buffer_reset(content);
	if (encoding == ENCODING_ZSTD)
		read->compressed = true;
	buffer_init(&tail, RESPONSE_OVERHEAD);
	if (put_bytes(&tail, RESPONSE_DIGEST, message) < 0 ||
	    storage_put_status(&tail, RESPONSE_STATUS, &err) < 0 ||
	    (encoding != ENCODING_IDENTITY &&
		buffer_append(&tail, field,
		    wire_put_varint_field(
			field, RESPONSE_COMPRESSOR, encoding)) < 0))
		goto out;
	/* The tag of the data field takes one byte. */
	len = tail.len + 1 + wire_varint_size(content->len) + content->len;
	if (buffer_append(&read->reply, field,
		wire_put_bytes_header(field, RESPONSES, len)) < 0)
		goto out;
	if (buffer_append(&read->reply, tail.data, tail.len) < 0 ||
	    put_bytes(&read->reply, RESPONSE_DATA, buffer_str(content)) < 0)
		goto out;
	rc = 0;
out:
	buffer_clear(&tail);
	return rc;
}

static int
put_all(struct batch_read *read, struct str message, struct error *err)
{
	struct wire_field field;
	struct buffer content;
	int rc = 0;

	buffer_init(&content, 0);
	while (rc == 0 && wire_next(&message, &field) > 0) {
		if (field.number != DIGESTS || field.type != WIRE_BYTES)
			continue;
		if (put_response(read, field.bytes, &content) < 0)
			rc = error_set(err, ERROR_INVALID_ARGUMENT,
			    "the answer for %zu blobs would exceed the %u "
			    "bytes that gRPC clients accept; ask for fewer in "
			    "a batch",
			    read->count, STORAGE_SEND_MAX);
	}
	buffer_clear(&content);
	return rc;
}

static int
batch_read_run(struct unary_call *call, struct error *err)
{
	struct batch_read read = {.storage = call->service};
	struct str request = unary_call_message(call);
	struct rpc_message *message;

	buffer_init(&read.reply, STORAGE_SEND_MAX);
	if (read_header(&read, request, err) < 0 ||
	    check_total(&read, request, err) < 0 ||
	    (read.total > RPC_SMALL_REQUEST &&
		rpc_call_check_memory(call->rpc, err) < 0) ||
	    put_all(&read, request, err) < 0) {
		buffer_clear(&read.reply);
		return -1;
	}
	if (read.compressed)
		rpc_call_set_note(call->rpc, RPC_NOTE_ZSTD);
	message = rpc_message_new();
	rpc_message_add_take(message, read.reply.data, read.reply.len);
	rpc_call_reply(call->rpc, message);
	return 0;
}

void
batch_read_blobs(struct rpc_call *call, void *storage)
{
	unary_call_submit(call, storage, batch_read_run);
}
