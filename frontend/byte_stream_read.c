/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ByteStream.Read. Identity bytes that lie as such at rest go out in messages
 * of 1 MiB, read on the poller when they are in the page cache and on a pool
 * thread when not. Everything else (compression either way) is a stream over
 * the blob, advanced on the pool. One message is under way at a time, so a
 * client that stops reading holds one.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/store.h"
#include "frontend/byte_stream.h"
#include "frontend/output_stream.h"
#include "frontend/resource_name.h"
#include "frontend/rpc_metrics.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/server.h"

/* ReadRequest */
enum { RESOURCE_NAME = 1, READ_OFFSET = 2, READ_LIMIT = 3 };
/* ReadResponse */
enum { DATA = 10 };

/* In the call's arena. */
struct read {
	struct task task; /* first */
	struct rpc_call *call;
	const struct storage *storage;
	struct resource_name name;
	uint64_t offset;            /* next identity byte */
	uint64_t end;               /* one past the last */
	struct blob *blob;          /* plain reading, or */
	struct blob_stream *stream; /* any other */
};

static void read_next(struct read *read, bool may_block);

static void
read_finish(struct read *read, const struct error *err)
{
	blob_free(read->blob);
	blob_stream_free(read->stream);
	rpc_call_finish(read->call, err);
}

static void
read_sent(struct rpc_call *call, bool ok, void *cookie)
{
	struct read *read = cookie;
	struct error err;

	(void)call;
	if (ok) {
		read_next(read, false);
		return;
	}
	error_set(&err, ERROR_CANCELLED, "the client ended the read");
	read_finish(read, &err);
}

/* Takes data. */
static void
read_send(struct read *read, void *data, size_t len)
{
	struct rpc_message *message = rpc_message_new();
	uint8_t header[2 * WIRE_VARINT_MAX];

	rpc_message_add(
	    message, header, wire_put_bytes_header(header, DATA, len));
	rpc_message_add_take(message, data, len);
	rpc_call_send(read->call, message, read_sent, read);
}

static void
read_run(struct task *task)
{
	read_next((struct read *)task, true);
}

static void
read_plain(struct read *read, bool may_block)
{
	uint64_t left = read->end - read->offset;
	size_t len =
	    left < STORAGE_READ_CHUNK ? (size_t)left : STORAGE_READ_CHUNK;
	struct error err;
	void *data;
	int got;

	if (len == 0) {
		read_finish(read, NULL);
		return;
	}
	if (left > RPC_SMALL_REQUEST &&
	    rpc_call_check_memory(read->call, &err) < 0) {
		read_finish(read, &err);
		return;
	}
	data = xmalloc(len);
	got = blob_read(read->blob, read->offset, data, len, !may_block, &err);
	if (got > 0) {
		read->offset += len;
		read_send(read, data, len);
		return;
	}
	free(data);
	if (got == 0)
		rpc_call_submit(read->call, &read->task);
	else
		read_finish(read, &err);
}

/* Whether there is more of it is known when it was read: a stream that has all
 * ends well, whatever memory there is. */
static void
read_stream(struct read *read)
{
	void *data = xmalloc(STORAGE_READ_CHUNK);
	struct error err;
	size_t len;

	if (blob_stream_next(
		read->stream, data, STORAGE_READ_CHUNK, &len, &err) < 0) {
		free(data);
		read_finish(read, &err);
	} else if (len == 0) {
		free(data);
		read_finish(read, NULL);
	} else if (len > RPC_SMALL_REQUEST &&
		   rpc_call_check_memory(read->call, &err) < 0) {
		free(data);
		read_finish(read, &err);
	} else {
		/* Most streams end in a short piece: no need to hold a MiB. */
		read_send(read, xrealloc(data, len), len);
	}
}

/* Sends the next message or ends the call. */
static void
read_next(struct read *read, bool may_block)
{
	if (read->stream == NULL)
		read_plain(read, may_block);
	else if (may_block)
		read_stream(read);
	else
		rpc_call_submit(read->call, &read->task);
}

static int
read_bounds(struct read *read, int64_t offset, int64_t limit, struct error *err)
{
	uint64_t size = read->name.digest.size;

	if (limit < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "read_limit %lld is negative", (long long)limit);
	if (limit != 0 && read->name.encoding != ENCODING_IDENTITY)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "read_limit must be 0 for compressed blobs; it is %lld",
		    (long long)limit);
	if (offset < 0 || (uint64_t)offset > size)
		return error_set(err, ERROR_OUT_OF_RANGE,
		    "read_offset %lld is outside the blob of %llu bytes",
		    (long long)offset, (unsigned long long)size);
	read->offset = (uint64_t)offset;
	read->end = size;
	if (limit > 0 && (uint64_t)limit < size - read->offset)
		read->end = read->offset + (uint64_t)limit;
	return 0;
}

/* A ReadRequest. */
struct read_request {
	struct str name;
	int64_t offset;
	int64_t limit;
};

static int
request_parse(
    struct read_request *request, struct str message, struct error *err)
{
	struct wire_field field;
	int more;

	*request = (struct read_request){.name = STR("")};

	while ((more = wire_next(&message, &field)) > 0) {
		if (field.number == RESOURCE_NAME && field.type == WIRE_BYTES)
			request->name = field.bytes;
		else if (field.number == READ_OFFSET &&
			 field.type == WIRE_VARINT)
			request->offset = (int64_t)field.value;
		else if (field.number == READ_LIMIT &&
			 field.type == WIRE_VARINT)
			request->limit = (int64_t)field.value;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the ReadRequest is malformed");
	return 0;
}

static int
read_set_up(
    struct read *read, const struct read_request *request, struct error *err)
{
	if (resource_name_parse_read(request->name, &read->name, err) < 0 ||
	    storage_check_instance(read->storage, read->name.instance, err) < 0)
		return -1;
	if (!storage_function_enabled(
		read->storage, read->name.digest.function))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest function %s is not enabled on this server",
		    digest_function_name(read->name.digest.function));
	return read_bounds(read, request->offset, request->limit, err);
}

static int
read_open(struct read *read, struct error *err)
{
	struct blob_stream_options options = {
	    read->name.encoding, read->offset, read->end - read->offset};
	char text[DIGEST_TEXT_MAX];
	struct blob *blob = NULL;
	int found = store_open_blob(
	    read->storage->store, &read->name.digest, &blob, err);

	if (found < 0)
		return -1;
	if (found == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "blob %s is not in the store",
		    digest_format(&read->name.digest, text));
	if (options.encoding == ENCODING_IDENTITY &&
	    (blob_encoding(blob) == ENCODING_IDENTITY ||
		read->offset == read->end)) {
		read->blob = blob;
		return 0;
	}
	if (read->end == read->name.digest.size)
		options.limit = 0;
	read->stream = blob_stream_open(blob, &options, err);
	return read->stream != NULL ? 0 : -1;
}

/* Opens a blob on the pool: a file may have to be opened, or decompression
 * set up. */
static void
read_begin(struct task *task)
{
	struct read *read = (struct read *)task;
	struct error err;

	read->task.run = read_run;
	if (read_open(read, &err) < 0)
		read_finish(read, &err);
	else
		read_next(read, true);
}

/* True when it is the output of a running action; the call is then taken. */
static bool
read_output(struct rpc_call *call, const struct storage *storage,
    const struct read_request *request)
{
	struct output_stream_request output = {
	    .offset = request->offset, .limit = request->limit};

	if (storage->executions == NULL ||
	    !output_stream_parse(request->name, &output))
		return false;
	output_stream_read(storage->executions, call, &output);
	return true;
}

void
byte_stream_read(struct rpc_call *call, void *storage)
{
	struct read *read = rpc_call_new_state(call, sizeof(*read));
	struct read_request request;
	struct error err;

	read->call = call;
	read->storage = storage;
	read->task.run = read_begin;
	if (request_parse(
		&request, rpc_message_flat(rpc_call_request(call)), &err) < 0) {
		read_finish(read, &err);
		return;
	}
	if (read_output(call, storage, &request))
		return;
	if (read_set_up(read, &request, &err) < 0) {
		read_finish(read, &err);
		return;
	}
	if (read->name.encoding == ENCODING_ZSTD)
		rpc_call_set_note(call, RPC_NOTE_ZSTD);
	/* Small identity blobs need an index look-up and a cached pread. */
	if (read->name.encoding == ENCODING_IDENTITY &&
	    read->name.digest.size <= STORAGE_INLINE_WORK_MAX) {
		read->task.run = read_run;
		if (read_open(read, &err) < 0)
			read_finish(read, &err);
		else
			read_next(read, false);
		return;
	}
	rpc_call_submit(call, &read->task);
}
