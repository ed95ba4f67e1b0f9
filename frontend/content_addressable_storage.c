/* SPDX-License-Identifier: Apache-2.0 */
/* The service's table and what its methods share. */
#include "frontend/content_addressable_storage.h"

#include "base/arena.h"
#include "base/budget.h"
#include "base/buffer.h"
#include "base/error.h"
#include "frontend/method_table.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/build.bazel.remote.execution.v2.ContentAddressableStorage/"

void
content_addressable_storage_add(
    struct method_table *table, struct storage *storage)
{
	method_table_add(table, (struct rpc_method){SERVICE "FindMissingBlobs",
				    RPC_UNARY, find_missing_blobs, storage});
	method_table_add(table, (struct rpc_method){SERVICE "BatchUpdateBlobs",
				    RPC_UNARY, batch_update_blobs, storage});
	method_table_add(table, (struct rpc_method){SERVICE "BatchReadBlobs",
				    RPC_UNARY, batch_read_blobs, storage});
	method_table_add(table, (struct rpc_method){SERVICE "GetTree",
				    RPC_SERVER_STREAM, get_tree, storage});
}

struct storage_request *
storage_request_new(struct rpc_call *call, struct storage *storage)
{
	struct rpc_message *message = rpc_call_request(call);
	uint64_t size = rpc_message_size(message);
	/* Small ones are bounded by the number of streams. */
	uint64_t taken = size > STORAGE_INLINE_WORK_MAX ? size : 0;
	struct storage_request *request;
	struct error err;

	if (!budget_take(storage->memory, taken)) {
		error_set_retry(&err, ERROR_RESOURCE_EXHAUSTED, 1000,
		    "a request of %llu bytes does not fit into what is left "
		    "of the server's memory budget of %llu bytes; try again, "
		    "send smaller requests, or raise --memory",
		    (unsigned long long)size,
		    (unsigned long long)storage->memory->limit);
		rpc_call_finish(call, &err);
		return NULL;
	}
	request = arena_zalloc(rpc_call_arena(call), 1, sizeof(*request));
	if (request == NULL) {
		error_set(&err, ERROR_RESOURCE_EXHAUSTED,
		    "the call's memory is used up");
	} else {
		request->message =
		    rpc_message_flat(message, rpc_call_arena(call), &err);
	}
	if (request == NULL || request->message.data == NULL) {
		budget_give(storage->memory, taken);
		rpc_call_finish(call, &err);
		return NULL;
	}
	request->call = call;
	request->storage = storage;
	request->budget = taken;
	return request;
}

void
storage_request_reply(
    struct storage_request *request, struct rpc_message *reply)
{
	budget_give(request->storage->memory, request->budget);
	rpc_call_reply(request->call, reply);
}

void
storage_request_fail(struct storage_request *request, const struct error *err)
{
	budget_give(request->storage->memory, request->budget);
	rpc_call_finish(request->call, err);
}

int
storage_put_status(struct buffer *out, uint32_t field, const struct error *err)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	uint8_t status[4 * WIRE_VARINT_MAX];
	size_t used;
	size_t len;

	if (err->code == ERROR_OK) {
		used = wire_put_bytes_header(header, field, 0);
		return buffer_append(out, header, used);
	}
	/* google.rpc.Status: code = 1, message = 2. */
	len = wire_put_varint_field(status, 1, (uint64_t)err->code);
	len += wire_put_bytes_header(status + len, 2, strlen(err->text));
	used = wire_put_bytes_header(header, field, len + strlen(err->text));
	if (buffer_append(out, header, used) < 0 ||
	    buffer_append(out, status, len) < 0)
		return -1;
	return buffer_append(out, err->text, strlen(err->text));
}
