/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two servers of bench_rpc_echo: a minimal one on grpc/grpc.h, the limit of
 * what can be had, and one on rpc/. Both know the methods of paths: Echo
 * answers with the request, Read sends STREAM_BYTES in messages as long as the
 * request, Write takes a stream and answers with a byte. One program includes
 * this.
 */
#ifndef TOOLROOT_TESTS_BENCH_ECHO_SERVERS_H
#define TOOLROOT_TESTS_BENCH_ECHO_SERVERS_H

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"

#define LARGEST (1u << 20)
#define STREAM_BYTES (1ull << 30)

static char payload[LARGEST];

static void
keep(void *cookie)
{
	(void)cookie;
}

/* --- the bare server -------------------------------------------------------
 * One thread, one queue, one armed call a method; every shape in one struct. */

enum { ECHO, READ, WRITE, METHODS };
static const char *const paths[METHODS] = {
    "/b.B/Echo", "/b.B/Read", "/b.B/Write"};

struct bare {
	int method;
	int step; /* 0 arrived, 1 streaming, 2 ended */
	grpc_call *call;
	grpc_byte_buffer *message;
	grpc_metadata_array metadata;
	gpr_timespec deadline;
	uint64_t left;
	size_t size;
	int cancelled;
};

static grpc_server *bare_server;
static grpc_completion_queue *bare_queue;
static void *bare_methods[METHODS];

static void
bare_arm(int method)
{
	struct bare *call = xcalloc(1, sizeof(*call));

	call->method = method;
	grpc_metadata_array_init(&call->metadata);
	grpc_server_request_registered_call(bare_server, bare_methods[method],
	    &call->call, &call->deadline, &call->metadata,
	    method == WRITE ? NULL : &call->message, bare_queue, bare_queue,
	    call);
}

static grpc_byte_buffer *
by_reference(size_t size)
{
	grpc_slice slice =
	    grpc_slice_new_with_user_data(payload, size, keep, NULL);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return buffer;
}

static void
bare_end(struct bare *call, grpc_byte_buffer *message)
{
	grpc_op ops[4] = {{.op = GRPC_OP_SEND_STATUS_FROM_SERVER},
	    {.op = GRPC_OP_RECV_CLOSE_ON_SERVER},
	    {.op = GRPC_OP_SEND_INITIAL_METADATA},
	    {.op = GRPC_OP_SEND_MESSAGE}};

	ops[1].data.recv_close_on_server.cancelled = &call->cancelled;
	ops[3].data.send_message.send_message = message;
	call->step = 2;
	grpc_call_start_batch(
	    call->call, ops, message != NULL ? 4 : 2, call, NULL);
}

static void
bare_read(struct bare *call)
{
	grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE},
	    {.op = GRPC_OP_SEND_INITIAL_METADATA}};
	grpc_byte_buffer *message;

	if (call->left == 0) {
		bare_end(call, NULL);
		return;
	}
	message = by_reference(call->size);
	ops[0].data.send_message.send_message = message;
	grpc_call_start_batch(
	    call->call, ops, call->step == 0 ? 2 : 1, call, NULL);
	grpc_byte_buffer_destroy(message);
	call->left -= call->size < call->left ? call->size : call->left;
	call->step = 1;
}

static void
bare_write(struct bare *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	if (call->step == 1 && call->message == NULL) {
		call->message = by_reference(1);
		bare_end(call, call->message);
		return;
	}
	if (call->message != NULL)
		grpc_byte_buffer_destroy(call->message);
	call->message = NULL;
	call->step = 1;
	op.data.recv_message.recv_message = &call->message;
	grpc_call_start_batch(call->call, &op, 1, call, NULL);
}

static void
bare_event(struct bare *call)
{
	if (call->step == 2) {
		grpc_byte_buffer_destroy(call->message);
		grpc_metadata_array_destroy(&call->metadata);
		grpc_call_unref(call->call);
		free(call);
		return;
	}
	if (call->step == 0)
		bare_arm(call->method);
	if (call->method == ECHO) {
		bare_end(call, call->message);
	} else if (call->method == READ) {
		if (call->step == 0) {
			call->left = STREAM_BYTES;
			call->size = grpc_byte_buffer_length(call->message);
		}
		bare_read(call);
	} else {
		bare_write(call);
	}
}

static int
bare_start(void)
{
	grpc_arg arg = {.type = GRPC_ARG_INTEGER,
	    .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_CHANNELZ};
	grpc_channel_args args = {1, &arg};
	grpc_server_credentials *credentials =
	    grpc_insecure_server_credentials_create();
	int port;

	bare_server = grpc_server_create(&args, NULL);
	bare_queue = grpc_completion_queue_create_for_next(NULL);
	grpc_server_register_completion_queue(bare_server, bare_queue, NULL);
	for (int i = 0; i < METHODS; i++)
		bare_methods[i] =
		    grpc_server_register_method(bare_server, paths[i], NULL,
			i == WRITE ? GRPC_SRM_PAYLOAD_NONE
				   : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER,
			0);
	port =
	    grpc_server_add_http2_port(bare_server, "127.0.0.1:0", credentials);
	grpc_server_start(bare_server);
	for (int i = 0; i < METHODS; i++)
		bare_arm(i);
	return port;
}

static void *
bare_main(void *unused)
{
	for (;;) {
		grpc_event event = grpc_completion_queue_next(
		    bare_queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

		if (event.success == 0)
			return unused;
		bare_event(event.tag);
	}
}

/* --- ours ------------------------------------------------------------------
 */

static void
ours_echo(struct rpc_call *call, void *service)
{
	size_t count;
	const struct iovec *parts =
	    rpc_message_parts(rpc_call_request(call), &count);
	struct rpc_message *reply = rpc_message_new();

	(void)service;
	for (size_t i = 0; i < count; i++)
		rpc_message_add(reply, parts[i].iov_base, parts[i].iov_len);
	rpc_call_reply(call, reply);
}

static void
ours_read(struct rpc_call *call, bool ok, void *cookie)
{
	uint64_t *left = rpc_call_state(call);
	struct rpc_message *message;
	size_t size = rpc_message_size(rpc_call_request(call));

	if (!ok || *left == 0) {
		rpc_call_finish(call, NULL);
		return;
	}
	*left -= size < *left ? size : *left;
	message = rpc_message_new();
	rpc_message_add_borrowed(message, payload, size, keep, NULL);
	rpc_call_send(call, message, ours_read, cookie);
}

static void
ours_start_read(struct rpc_call *call, void *service)
{
	uint64_t *left = rpc_call_new_state(call, sizeof(*left));

	*left = STREAM_BYTES;
	ours_read(call, true, service);
}

static void
ours_written(struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	struct rpc_message *reply;

	rpc_message_free(message);
	if (message != NULL) {
		rpc_call_receive(call, ours_written, cookie);
		return;
	}
	reply = rpc_message_new();
	rpc_message_add(reply, "x", 1);
	rpc_call_reply(call, reply);
}

static void
ours_write(struct rpc_call *call, void *service)
{
	rpc_call_receive(call, ours_written, service);
}

static int
ours_start(void)
{
	static const struct rpc_method methods[METHODS] = {
	    {"/b.B/Echo", RPC_UNARY, ours_echo, NULL},
	    {"/b.B/Read", RPC_SERVER_STREAM, ours_start_read, NULL},
	    {"/b.B/Write", RPC_CLIENT_STREAM, ours_write, NULL},
	};
	struct rpc_server_options options = {.listen = "127.0.0.1:0",
	    .methods = methods,
	    .method_count = METHODS,
	    .pollers = 1,
	    .max_receive_bytes = 4u << 20,
	    .max_call_memory = 1u << 20,
	    .max_streams = 1000};
	struct error err;
	struct rpc_server *server = rpc_server_new(&options, &err);

	if (server == NULL) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	rpc_server_start(server);
	return atoi(strrchr(rpc_server_address(server), ':') + 1);
}

#endif
