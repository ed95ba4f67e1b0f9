/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google.longrunning.Operations over the scheduler's operations. All answers
 * come from memory, on the poller. Lists are paged by the operations' numbers,
 * so a page stays right while others end.
 */
#include <google/longrunning/operations.pb-c.h>
#include <google/protobuf/empty.pb-c.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "frontend/execution_internal.h"
#include "frontend/method_table.h"
#include "frontend/operation_message.h"
#include "protos/binary.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/google.longrunning.Operations/"
#define PAGE_DEFAULT 100
#define PAGE_MAX 500
/* Done operations carry their response. */
#define PAGE_BYTES_MAX (3u << 20)
/* WaitOperation without a timeout, or with a longer one. */
#define WAIT_MAX_MS (60 * 1000)
#define NAME_SHOWN 200

struct operation *
operations_find(
    struct execution_service *service, struct str name, struct error *err)
{
	struct operation *operation = scheduler_find(service->scheduler, name);

	if (operation == NULL)
		error_set(err, ERROR_NOT_FOUND,
		    "there is no operation \"%.*s\"; it may have ended some "
		    "time ago, or the server was restarted: call Execute again",
		    name.len > NAME_SHOWN ? NAME_SHOWN : (int)name.len,
		    name.data);
	return operation;
}

/* Unpacks the request, or ends the call. */
static void *
operations_request(struct execution_service *service, struct rpc_call *call,
    const ProtobufCMessageDescriptor *descriptor)
{
	struct error err;
	void *message;

	execution_service_meet(service, call);
	message = rpc_message_unpack(
	    rpc_call_request(call), descriptor, rpc_call_arena(call), &err);
	if (message == NULL)
		rpc_call_finish(call, &err);
	return message;
}

/* The operation, to be unref'd, or ends the call. */
static struct operation *
operations_named(struct execution_service *service, struct rpc_call *call,
    ProtobufCBinaryData name)
{
	struct error err;
	struct operation *operation =
	    operations_find(service, binary_str(name), &err);

	if (operation == NULL)
		rpc_call_finish(call, &err);
	return operation;
}

static void
operations_reply_empty(struct rpc_call *call)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	rpc_call_reply_packed(call, &empty.base);
}

static void
get_operation(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	const Longrunning__GetOperationRequest *request;
	struct operation *operation;
	bool done;

	request = operations_request(
	    service, call, &longrunning__get_operation_request__descriptor);
	if (request == NULL)
		return;
	operation = operations_named(service, call, request->name);
	if (operation == NULL)
		return;
	rpc_call_reply(
	    call, operation_message_now(service->scheduler, operation, &done));
	operation_unref(operation);
}

static void
cancel_operation(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	const Longrunning__CancelOperationRequest *request;
	struct operation *operation;

	request = operations_request(
	    service, call, &longrunning__cancel_operation_request__descriptor);
	if (request == NULL)
		return;
	operation = operations_named(service, call, request->name);
	if (operation == NULL)
		return;
	scheduler_cancel(service->scheduler, operation, clock_monotonic_ms());
	operation_unref(operation);
	operations_reply_empty(call);
	execution_service_kick(service);
}

static void
delete_operation(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	const Longrunning__DeleteOperationRequest *request;
	struct operation *operation;
	struct error err;
	bool forgotten;

	request = operations_request(
	    service, call, &longrunning__delete_operation_request__descriptor);
	if (request == NULL)
		return;
	operation = operations_named(service, call, request->name);
	if (operation == NULL)
		return;
	forgotten = scheduler_forget(service->scheduler, operation);
	operation_unref(operation);
	if (forgotten) {
		operations_reply_empty(call);
		return;
	}
	error_set(&err, ERROR_FAILED_PRECONDITION,
	    "the operation is not done; cancel it first");
	rpc_call_finish(call, &err);
}

static void
wait_operation(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	const Longrunning__WaitOperationRequest *request;
	struct execution_stream *stream;
	struct operation *operation;
	int64_t wait_ms = WAIT_MAX_MS;

	request = operations_request(
	    service, call, &longrunning__wait_operation_request__descriptor);
	if (request == NULL)
		return;
	operation = operations_named(service, call, request->name);
	if (operation == NULL)
		return;
	if (request->timeout != NULL && request->timeout->seconds >= 0 &&
	    request->timeout->seconds < WAIT_MAX_MS / 1000)
		wait_ms = request->timeout->seconds * 1000 +
			  request->timeout->nanos / 1000000;
	stream = execution_stream_new(service, call, EXECUTION_UNARY);
	scheduler_wait(service->scheduler, operation);
	execution_stream_watch(stream, operation, wait_ms);
}

/* --- listing ---------------------------------------------------------------
 */

/* The instance whose operations "name" asks for: "instance",
 * "instance/operations" or "operations". */
static struct str
list_instance(struct str name)
{
	struct str suffix = STR("operations");

	if (name.len < suffix.len || memcmp(name.data + name.len - suffix.len,
					 suffix.data, suffix.len) != 0)
		return name;
	if (name.len == suffix.len)
		return STR("");
	if (name.data[name.len - suffix.len - 1] != '/')
		return name;
	return (struct str){name.data, name.len - suffix.len - 1};
}

/* Fills the response with what fits; unpacked messages borrow from found. */
static void
list_fill(struct execution_service *service, struct arena *arena,
    struct operation **found, size_t count,
    Longrunning__ListOperationsResponse *response)
{
	size_t bytes = 0;

	response->operations =
	    arena_zalloc(arena, count + 1, sizeof(*response->operations));
	if (response->operations == NULL)
		return;
	for (size_t i = 0; i < count; i++) {
		struct operation_view view;
		Longrunning__Operation *message;

		operation_view_read(service->scheduler, found[i], &view);
		message = operation_message(arena, &view);
		if (message == NULL)
			return;
		bytes += longrunning__operation__get_packed_size(message);
		if (i > 0 && bytes > PAGE_BYTES_MAX)
			return;
		response->operations[response->n_operations++] = message;
	}
}

static void
list_page(struct execution_service *service, struct rpc_call *call,
    struct str instance, uint64_t after, size_t size)
{
	Longrunning__ListOperationsResponse response =
	    LONGRUNNING__LIST_OPERATIONS_RESPONSE__INIT;
	struct operation *found[PAGE_MAX];
	struct arena arena;
	char token[24];
	size_t count;

	arena_init(&arena, (size_t)PAGE_MAX * OPERATION_MESSAGE_ARENA);
	count =
	    scheduler_list(service->scheduler, instance, &after, found, size);
	list_fill(service, &arena, found, count, &response);
	/* A short page is the last, unless the bytes made it short. */
	if (count == size || response.n_operations < count) {
		if (response.n_operations > 0)
			after = found[response.n_operations - 1]->number;
		response.next_page_token.len = (size_t)snprintf(
		    token, sizeof(token), "%llu", (unsigned long long)after);
		response.next_page_token.data = (uint8_t *)token;
	}
	rpc_call_reply_packed(call, &response.base);
	for (size_t i = 0; i < count; i++)
		operation_unref(found[i]);
	arena_clear(&arena);
}

static void
list_operations(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	const Longrunning__ListOperationsRequest *request;
	size_t size = PAGE_DEFAULT;
	uint64_t after = 0;
	struct error err;

	request = operations_request(
	    service, call, &longrunning__list_operations_request__descriptor);
	if (request == NULL)
		return;
	if (request->filter.len > 0)
		error_set(&err, ERROR_INVALID_ARGUMENT,
		    "filters are not supported; leave \"filter\" empty");
	else if (request->page_size < 0)
		error_set(
		    &err, ERROR_INVALID_ARGUMENT, "page_size is negative");
	else if (request->page_token.len > 0 &&
		 !str_to_uint64(
		     binary_str(request->page_token), UINT64_MAX, &after))
		error_set(&err, ERROR_INVALID_ARGUMENT,
		    "page_token is none that this server has given");
	else
		err.code = ERROR_OK;
	if (err.code != ERROR_OK) {
		rpc_call_finish(call, &err);
		return;
	}
	if (request->page_size > 0)
		size = (size_t)request->page_size;
	list_page(service, call, list_instance(binary_str(request->name)),
	    after, size < PAGE_MAX ? size : PAGE_MAX);
}

void
operations_add(struct method_table *table, struct execution_service *service)
{
	method_table_add(table, (struct rpc_method){SERVICE "GetOperation",
				    RPC_UNARY, get_operation, service});
	method_table_add(table, (struct rpc_method){SERVICE "ListOperations",
				    RPC_UNARY, list_operations, service});
	method_table_add(table, (struct rpc_method){SERVICE "CancelOperation",
				    RPC_UNARY, cancel_operation, service});
	method_table_add(table, (struct rpc_method){SERVICE "DeleteOperation",
				    RPC_UNARY, delete_operation, service});
	method_table_add(table, (struct rpc_method){SERVICE "WaitOperation",
				    RPC_UNARY, wait_operation, service});
}
