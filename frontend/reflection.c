/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream around the index: receive a question, send its answer, in turn,
 * until the client has no more. All on pollers; the index is constant.
 */
#include "frontend/reflection.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "frontend/method_table.h"
#include "frontend/reflection_index.h"
#include "protos/descriptor_set.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* A question is a name; more than this is none. */
#define REQUEST_LIMIT ((size_t)64 << 10)
#define RESPONSE_LIMIT ((size_t)4 << 20)

struct reflection_service {
	struct reflection_index *index;
};

struct reflection_service *
reflection_service_new(struct error *err)
{
	struct str set = {(const char *)descriptor_set, descriptor_set_size};
	struct reflection_service *service = xcalloc(1, sizeof(*service));

	service->index = reflection_index_new(set, err);
	if (service->index == NULL) {
		reflection_service_free(service);
		return NULL;
	}
	return service;
}

void
reflection_service_free(struct reflection_service *service)
{
	if (service == NULL)
		return;
	reflection_index_free(service->index);
	free(service);
}

void
reflection_service_show(
    struct reflection_service *service, const struct method_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct str path = str_from(table->items[i].path + 1);

		reflection_index_add_service(
		    service->index, str_cut(&path, '/'));
	}
}

/* --- the stream ----------------------------------------------------------- */

static void ask(struct rpc_call *call, void *service);

static int
read_request(
    struct rpc_message *message, struct buffer *request, struct error *err)
{
	size_t count;
	const struct iovec *parts = rpc_message_parts(message, &count);

	for (size_t i = 0; i < count; i++) {
		if (buffer_append(
			request, parts[i].iov_base, parts[i].iov_len) < 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "a reflection request of %zu bytes; at most %zu "
			    "are accepted",
			    rpc_message_size(message), REQUEST_LIMIT);
	}
	return 0;
}

static void
sent(struct rpc_call *call, bool ok, void *service)
{
	struct error err;

	if (ok) {
		ask(call, service);
		return;
	}
	error_set(&err, ERROR_CANCELLED, "the client went away");
	rpc_call_finish(call, &err);
}

/* The arena is not used: it lives as long as the call, and a stream may ask
 * for ever. */
static void
answer(struct rpc_call *call, struct rpc_message *message,
    struct reflection_service *service)
{
	struct buffer request, response;
	struct rpc_message *reply;
	struct error err;

	buffer_init(&request, REQUEST_LIMIT);
	buffer_init(&response, RESPONSE_LIMIT);
	if (read_request(message, &request, &err) < 0 ||
	    reflection_index_answer(
		service->index, buffer_str(&request), &response, &err) < 0) {
		rpc_call_finish(call, &err);
		goto out;
	}
	reply = rpc_message_new();
	rpc_message_add(reply, response.data, response.len);
	rpc_call_send(call, reply, sent, service);
out:
	buffer_clear(&request);
	buffer_clear(&response);
	rpc_message_free(message);
}

static void
received(struct rpc_call *call, struct rpc_message *message, void *service)
{
	struct error err;

	if (message != NULL) {
		answer(call, message, service);
	} else if (rpc_call_cancelled(call)) {
		error_set(&err, ERROR_CANCELLED, "the client went away");
		rpc_call_finish(call, &err);
	} else {
		rpc_call_finish(call, NULL);
	}
}

static void
ask(struct rpc_call *call, void *service)
{
	rpc_call_receive(call, received, service);
}

void
reflection_service_add(
    struct method_table *table, struct reflection_service *service)
{
	static const char *const paths[] = {
	    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		method_table_add(table, (struct rpc_method){paths[i],
					    RPC_BIDIRECTIONAL, ask, service});
}
