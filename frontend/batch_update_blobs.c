/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BatchUpdateBlobs: blobs are verified and stored from where gRPC put them;
 * each has its own status, and the reply goes out when the group commit has
 * made them durable. Batches above 64 KiB are hashed on a pool thread.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/container.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/owners.h"
#include "cas/store.h"
#include "frontend/content_addressable_storage.h"
#include "frontend/rpc_metrics.h"
#include "frontend/unary_call.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* BatchUpdateBlobsRequest */
enum { INSTANCE_NAME = 1, REQUESTS = 2, DIGEST_FUNCTION = 5 };
/* BatchUpdateBlobsRequest.Request */
enum { REQUEST_DIGEST = 1, REQUEST_DATA = 2, REQUEST_COMPRESSOR = 3 };
/* BatchUpdateBlobsResponse and its Response */
enum { RESPONSES = 1, RESPONSE_DIGEST = 1, RESPONSE_STATUS = 2 };

/* One blob of the request. */
struct entry {
	struct str digest; /* the message as received */
	struct iovec data;
	size_t put;          /* index of its put, or SIZE_MAX: refused before */
	struct error *error; /* why it was refused; allocated */
};

struct batch_update {
	struct store_batch batch; /* first */
	struct task task;         /* putting it, if that is much work */
	uint64_t declared;        /* bytes of all blobs, not compressed */
	struct rpc_call *rpc;
	const struct storage *storage;
	struct str instance; /* in the request */
	struct entry *entries;
	size_t count;
};

static void
batch_update_free(struct batch_update *update)
{
	for (size_t i = 0; i < update->count; i++)
		free(update->entries[i].error);
	for (size_t i = 0; i < update->batch.count; i++)
		free(update->batch.puts[i].error);
	free(update->entries);
	free(update->batch.puts);
	free(update);
}

/* Adds the answer for one blob; body is used for what is in it. */
static int
put_response(struct buffer *reply, struct buffer *body,
    const struct batch_update *update, const struct entry *entry)
{
	static const struct error none = {.code = ERROR_OK};
	const struct error *error = entry->error;
	uint8_t header[2 * WIRE_VARINT_MAX];

	if (error == NULL && entry->put != SIZE_MAX)
		error = update->batch.puts[entry->put].error;
	buffer_reset(body);
	if (buffer_append(body, header,
		wire_put_bytes_header(
		    header, RESPONSE_DIGEST, entry->digest.len)) < 0 ||
	    buffer_append(body, entry->digest.data, entry->digest.len) < 0 ||
	    storage_put_status(
		body, RESPONSE_STATUS, error != NULL ? error : &none) < 0 ||
	    buffer_append(reply, header,
		wire_put_bytes_header(header, RESPONSES, body->len)) < 0)
		return -1;
	return buffer_append(reply, body->data, body->len);
}

static int
put_responses(struct buffer *reply, const struct batch_update *update)
{
	struct buffer body;
	int rc = 0;

	buffer_init(&body, STORAGE_SEND_MAX);
	for (size_t i = 0; rc == 0 && i < update->count; i++)
		rc = put_response(reply, &body, update, &update->entries[i]);
	buffer_clear(&body);
	return rc;
}

/* store_batch.done: all that can be stored is durable. */
static void
batch_update_done(struct store_batch *batch)
{
	struct batch_update *update = (struct batch_update *)batch;
	struct rpc_call *rpc = update->rpc;
	struct rpc_message *message;
	struct buffer reply;
	struct error err;

	buffer_init(&reply, STORAGE_SEND_MAX);
	if (put_responses(&reply, update) < 0) {
		error_set(&err, ERROR_INVALID_ARGUMENT,
		    "the answers for %zu blobs would exceed the %u bytes that "
		    "gRPC clients accept; send fewer blobs in a batch",
		    update->count, STORAGE_SEND_MAX);
		batch_update_free(update);
		buffer_clear(&reply);
		rpc_call_finish(rpc, &err);
		return;
	}
	batch_update_free(update);
	message = rpc_message_new();
	rpc_message_add_take(message, reply.data, reply.len);
	rpc_call_reply(rpc, message);
}

static void
entry_refuse(struct entry *entry, const struct error *err)
{
	entry->error = xmalloc(sizeof(*entry->error));
	*entry->error = *err;
}

static int
check_size(const struct storage *storage, uint64_t size, struct error *err)
{
	if (storage->max_blob_size == 0 || size <= storage->max_blob_size)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "a blob of %llu bytes; this server takes %llu (max-blob-size)",
	    (unsigned long long)size,
	    (unsigned long long)storage->max_blob_size);
}

/* Reads one Request; what is wrong with it becomes its own status. */
static void
read_entry(struct batch_update *update, struct entry *entry, struct str message,
    uint64_t function)
{
	struct store_put *put = &update->batch.puts[update->batch.count];
	uint64_t compressor = 0;
	struct str data = {"", 0};
	struct wire_field field;
	struct error err;

	entry->digest = (struct str){"", 0};
	entry->put = SIZE_MAX;
	while (wire_next(&message, &field) > 0) {
		if (field.number == REQUEST_DIGEST && field.type == WIRE_BYTES)
			entry->digest = field.bytes;
		else if (field.number == REQUEST_DATA &&
			 field.type == WIRE_BYTES)
			data = field.bytes;
		else if (field.number == REQUEST_COMPRESSOR &&
			 field.type == WIRE_VARINT)
			compressor = field.value;
	}
	if (message.len > 0)
		error_set(&err, ERROR_INVALID_ARGUMENT,
		    "a Request of the batch is malformed");
	else if (compressor > ENCODING_ZSTD)
		error_set(&err, ERROR_INVALID_ARGUMENT,
		    "compressor %llu is not supported; identity (0) and zstd "
		    "(1) are",
		    (unsigned long long)compressor);
	else if (storage_parse_digest(update->storage, entry->digest, function,
		     &put->digest, &err) == 0 &&
		 check_size(update->storage, put->digest.size, &err) == 0) {
		update->declared += put->digest.size;
		entry->data =
		    (struct iovec){(void *)(uintptr_t)data.data, data.len};
		put->encoding = (enum encoding)compressor;
		if (put->encoding == ENCODING_ZSTD)
			rpc_call_set_note(update->rpc, RPC_NOTE_ZSTD);
		put->parts = &entry->data;
		put->part_count = 1;
		entry->put = update->batch.count++;
		return;
	}
	entry_refuse(entry, &err);
}

/* Counts the entries and reads what stands beside them. */
static int
read_header(const struct storage *storage, struct str message,
    struct str *instance, size_t *count, uint64_t *function, struct error *err)
{
	struct wire_field field;
	int more;

	*instance = STR("");
	*count = 0;
	*function = 0;
	while ((more = wire_next(&message, &field)) > 0) {
		if (field.number == INSTANCE_NAME && field.type == WIRE_BYTES)
			*instance = field.bytes;
		else if (field.number == REQUESTS && field.type == WIRE_BYTES)
			(*count)++;
		else if (field.number == DIGEST_FUNCTION &&
			 field.type == WIRE_VARINT)
			*function = field.value;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the BatchUpdateBlobsRequest is malformed");
	if (*count > STORAGE_BATCH_ENTRIES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a batch of %zu blobs; at most %u are accepted", *count,
		    STORAGE_BATCH_ENTRIES_MAX);
	return storage_check_instance(storage, *instance, err);
}

static void
batch_update_put(struct task *task)
{
	struct batch_update *update =
	    CONTAINER_OF(task, struct batch_update, task);
	struct rpc_call *rpc = update->rpc;
	struct error err;

	if (store_owner(update->storage->store, update->instance,
		&update->batch.owner, &err) < 0) {
		batch_update_free(update);
		rpc_call_finish(rpc, &err);
		return;
	}
	store_put_batch(update->storage->store, &update->batch);
}

static int
batch_update_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	struct str rest = unary_call_message(call);
	struct batch_update *update;
	struct wire_field field;
	struct str instance;
	uint64_t function;
	size_t count;

	if (read_header(storage, rest, &instance, &count, &function, err) < 0)
		return -1;
	update = xcalloc(1, sizeof(*update));
	update->rpc = call->rpc;
	update->storage = storage;
	update->instance = instance;
	update->entries = xcalloc(count, sizeof(*update->entries));
	update->batch.puts = xcalloc(count, sizeof(*update->batch.puts));
	update->batch.done = batch_update_done;
	while (wire_next(&rest, &field) > 0) {
		if (field.number != REQUESTS || field.type != WIRE_BYTES)
			continue;
		read_entry(update, &update->entries[update->count++],
		    field.bytes, function);
	}
	update->task.run = batch_update_put;
	/* A few bytes of zstd may be many to decode and to hash; an instance
	 * that is new is written down first. */
	if (update->declared > STORAGE_INLINE_WORK_MAX ||
	    !store_owner_known(storage->store, instance, &update->batch.owner))
		rpc_call_submit(update->rpc, &update->task);
	else
		batch_update_put(&update->task);
	return 0;
}

void
batch_update_blobs(struct rpc_call *call, void *storage)
{
	if (rpc_message_size(rpc_call_request(call)) > STORAGE_INLINE_WORK_MAX)
		unary_call_submit(call, storage, batch_update_run);
	else
		unary_call_run(call, storage, batch_update_run);
}
