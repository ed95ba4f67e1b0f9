/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load client directly on gRPC core, for benches: many calls of one message
 * each way in flight, or one stream, on one thread with one completion queue.
 * Measures what the caller waits for, and the processor time that the server
 * used meanwhile. What goes wrong ends the program: a bench has no use for half
 * a figure. Functions are static since only benches include this.
 */
#ifndef TOOLROOT_TESTS_BENCH_LOAD_CLIENT_H
#define TOOLROOT_TESTS_BENCH_LOAD_CLIENT_H

#include <dirent.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/str.h"

#define LOAD_RECEIVE_MAX (64 << 20)

struct load_client {
	grpc_channel *channel;
	grpc_completion_queue *queue;
	int server_pid; /* 0: its processor time is not looked at */
};

/* One call. */
struct load_call {
	grpc_call *call;
	grpc_byte_buffer *request; /* borrowed from the maker of requests */
	grpc_byte_buffer *reply;
	grpc_metadata_array initial, trailing;
	grpc_metadata header; /* with a key when there is one */
	bool has_header;
	bool may_miss; /* NOT_FOUND is no failure */
	grpc_status_code status;
	grpc_slice text;
	size_t number;
	int64_t started_ns;
};

/* Many calls: requests by number from 0 on, until count are done or the time
 * is over. */
struct load_run {
	const char *path;
	size_t in_flight;
	size_t count;
	double seconds; /* 0 = all of count */
	/* The caller owns what it returns, and gives it back in done. */
	grpc_byte_buffer *(*request)(size_t number, void *cookie);
	/* After the time was taken; ends the program when it is wrong. NULL:
	 * any reply will do. */
	void (*check)(size_t number, struct str reply, void *cookie);
	/* The RequestMetadata of a call. NULL: none is sent. */
	grpc_slice (*metadata)(size_t number, void *cookie);
	bool may_miss; /* NOT_FOUND is no failure */
	void *cookie;
};

#define LOAD_METADATA_KEY "build.bazel.remote.execution.v2.requestmetadata-bin"

struct load_figures {
	double rate; /* calls a second */
	double p50_us, p99_us;
	double cpu_us; /* of the server, a call */
	size_t calls;
};

static inline void
load_die(const char *what, const char *why)
{
	fprintf(stderr, "bench_load: %s: %s\n", what, why);
	exit(1);
}

static inline void
load_open(struct load_client *client, const char *address, int server_pid)
{
	grpc_arg args[] = {
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
		.value.integer = 1},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		.value.integer = LOAD_RECEIVE_MAX},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_ENABLE_RETRIES},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_ENABLE_CHANNELZ},
	};
	grpc_channel_args list = {4, args};
	grpc_channel_credentials *credentials =
	    grpc_insecure_credentials_create();

	client->channel = grpc_channel_create(address, credentials, &list);
	client->queue = grpc_completion_queue_create_for_next(NULL);
	client->server_pid = server_pid;
	grpc_channel_credentials_release(credentials);
}

static inline void
load_close(struct load_client *client)
{
	grpc_channel_destroy(client->channel);
	grpc_completion_queue_shutdown(client->queue);
	while (grpc_completion_queue_next(
		   client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
		   .type != GRPC_QUEUE_SHUTDOWN)
		continue;
	grpc_completion_queue_destroy(client->queue);
}

/* Nanoseconds on a processor of all threads that the server has now. */
static inline int64_t
load_server_cpu(const struct load_client *client)
{
	char path[300];
	struct dirent *entry;
	int64_t sum = 0, one;
	DIR *tasks;
	FILE *file;

	if (client->server_pid == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task", client->server_pid);
	tasks = opendir(path);
	if (tasks == NULL)
		load_die(path, "no such process");
	while ((entry = readdir(tasks)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat",
		    client->server_pid, entry->d_name);
		file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
		if (file == NULL)
			continue;
		if (fscanf(file, "%" SCNd64, &one) == 1)
			sum += one;
		fclose(file);
	}
	closedir(tasks);
	return sum;
}

/* --- a call ----------------------------------------------------------------
 */

static inline void
load_call_open(
    struct load_client *client, struct load_call *call, const char *path)
{
	call->call = grpc_channel_create_call(client->channel, NULL, 0,
	    client->queue, grpc_slice_from_static_string(path), NULL,
	    gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	call->reply = NULL;
	grpc_metadata_array_init(&call->initial);
	grpc_metadata_array_init(&call->trailing);
	call->started_ns = clock_monotonic_ns();
}

static inline void
load_call_close(struct load_call *call, const char *path)
{
	if (call->status != GRPC_STATUS_OK &&
	    (!call->may_miss || call->status != GRPC_STATUS_NOT_FOUND)) {
		fprintf(stderr, "bench_load: %s: status %d: %.*s\n", path,
		    (int)call->status, (int)GRPC_SLICE_LENGTH(call->text),
		    (const char *)GRPC_SLICE_START_PTR(call->text));
		exit(1);
	}
	grpc_byte_buffer_destroy(call->reply);
	grpc_slice_unref(call->text);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&call->trailing);
	if (call->has_header)
		grpc_slice_unref(call->header.value);
	grpc_call_unref(call->call);
}

enum {
	LOAD_SEND_METADATA,
	LOAD_RECEIVE_METADATA,
	LOAD_STATUS,
	LOAD_SEND,
	LOAD_CLOSE,
	LOAD_RECEIVE,
	LOAD_OPS
};

/* The operations of a whole unary call; a stream takes some at a time. */
static inline void
load_call_ops(struct load_call *call, grpc_op ops[LOAD_OPS])
{
	memset(ops, 0, LOAD_OPS * sizeof(*ops));
	ops[LOAD_SEND_METADATA].op = GRPC_OP_SEND_INITIAL_METADATA;
	if (call->has_header) {
		ops[LOAD_SEND_METADATA].data.send_initial_metadata.count = 1;
		ops[LOAD_SEND_METADATA].data.send_initial_metadata.metadata =
		    &call->header;
	}
	ops[LOAD_RECEIVE_METADATA].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[LOAD_RECEIVE_METADATA]
	    .data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	ops[LOAD_STATUS].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[LOAD_STATUS].data.recv_status_on_client.trailing_metadata =
	    &call->trailing;
	ops[LOAD_STATUS].data.recv_status_on_client.status = &call->status;
	ops[LOAD_STATUS].data.recv_status_on_client.status_details =
	    &call->text;
	ops[LOAD_SEND].op = GRPC_OP_SEND_MESSAGE;
	ops[LOAD_SEND].data.send_message.send_message = call->request;
	ops[LOAD_CLOSE].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[LOAD_RECEIVE].op = GRPC_OP_RECV_MESSAGE;
	ops[LOAD_RECEIVE].data.recv_message.recv_message = &call->reply;
}

/* Calls check with the reply in one run of bytes. */
static inline void
load_check(const struct load_run *run, const struct load_call *call)
{
	grpc_byte_buffer_reader reader;
	grpc_slice slice;

	if (run->check == NULL)
		return;
	if (call->reply == NULL ||
	    !grpc_byte_buffer_reader_init(&reader, call->reply))
		load_die(run->path, "no reply");
	slice = grpc_byte_buffer_reader_readall(&reader);
	run->check(call->number,
	    (struct str){(const char *)GRPC_SLICE_START_PTR(slice),
		GRPC_SLICE_LENGTH(slice)},
	    run->cookie);
	grpc_slice_unref(slice);
	grpc_byte_buffer_reader_destroy(&reader);
}

/* --- many calls ------------------------------------------------------------
 */

static inline void
load_start(struct load_client *client, const struct load_run *run,
    struct load_call *call, size_t number)
{
	grpc_op ops[LOAD_OPS];

	call->number = number;
	call->request = run->request(number, run->cookie);
	call->may_miss = run->may_miss;
	call->has_header = run->metadata != NULL;
	if (call->has_header)
		call->header = (grpc_metadata){
		    .key = grpc_slice_from_static_string(LOAD_METADATA_KEY),
		    .value = run->metadata(number, run->cookie)};
	load_call_open(client, call, run->path);
	load_call_ops(call, ops);
	if (grpc_call_start_batch(call->call, ops, LOAD_OPS, call, NULL) !=
	    GRPC_CALL_OK)
		load_die(run->path, "gRPC refuses the batch");
	grpc_byte_buffer_destroy(call->request);
}

static inline int
load_order(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

static inline void
load_summary(struct load_figures *figures, int64_t *times, int64_t took_ns,
    int64_t cpu_ns)
{
	size_t count = figures->calls;

	if (count == 0)
		load_die("run", "no call was made");
	qsort(times, count, sizeof(*times), load_order);
	figures->rate = (double)count * 1e9 / (double)took_ns;
	figures->p50_us = (double)times[count / 2] / 1e3;
	figures->p99_us = (double)times[count * 99 / 100] / 1e3;
	figures->cpu_us = (double)cpu_ns / 1e3 / (double)count;
}

static inline void
load_many(struct load_client *client, const struct load_run *run,
    struct load_figures *figures)
{
	struct load_call *calls = xcalloc(run->in_flight, sizeof(*calls));
	int64_t *times = xcalloc(run->count, sizeof(*times));
	int64_t cpu = load_server_cpu(client);
	int64_t start = clock_monotonic_ns(), now = start;
	int64_t end = run->seconds > 0 ? start + (int64_t)(run->seconds * 1e9)
				       : INT64_MAX;
	size_t next = 0, running = 0;

	figures->calls = 0;
	while (next < run->count && running < run->in_flight)
		load_start(client, run, &calls[running++], next++);
	while (running > 0) {
		grpc_event event = grpc_completion_queue_next(
		    client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
		struct load_call *call = event.tag;

		now = clock_monotonic_ns();
		times[figures->calls++] = now - call->started_ns;
		if (call->status == GRPC_STATUS_OK)
			load_check(run, call);
		load_call_close(call, run->path);
		if (next < run->count && now < end)
			load_start(client, run, call, next++);
		else
			running--;
	}
	load_summary(
	    figures, times, now - start, load_server_cpu(client) - cpu);
	free(times);
	free(calls);
}

/* --- one stream ------------------------------------------------------------
 */

struct load_stream {
	struct load_client *client;
	struct load_call call;
	const char *path;
	bool ended; /* the status is there */
};

static inline void
load_stream_open(
    struct load_stream *stream, struct load_client *client, const char *path)
{
	grpc_op ops[LOAD_OPS];

	*stream = (struct load_stream){.client = client, .path = path};
	load_call_open(client, &stream->call, path);
	load_call_ops(&stream->call, ops);
	grpc_call_start_batch(stream->call.call, ops, LOAD_STATUS + 1,
	    &stream->call.status, NULL);
}

/* Until the tag's operation is done; the status may come at any time. */
static inline void
load_stream_wait(struct load_stream *stream, void *tag)
{
	for (;;) {
		grpc_event event =
		    grpc_completion_queue_next(stream->client->queue,
			gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

		if (event.tag == &stream->call.status)
			stream->ended = true;
		if (event.tag == tag)
			return;
	}
}

static inline void
load_stream_send(
    struct load_stream *stream, grpc_byte_buffer *message, bool last)
{
	grpc_op ops[LOAD_OPS];

	stream->call.request = message;
	load_call_ops(&stream->call, ops);
	grpc_call_start_batch(
	    stream->call.call, &ops[LOAD_SEND], last ? 2 : 1, message, NULL);
	load_stream_wait(stream, message);
	grpc_byte_buffer_destroy(message);
}

/* The bytes received, false at the end. The message is stream->call.reply. */
static inline bool
load_stream_receive(struct load_stream *stream)
{
	grpc_op ops[LOAD_OPS];

	grpc_byte_buffer_destroy(stream->call.reply);
	stream->call.reply = NULL;
	load_call_ops(&stream->call, ops);
	grpc_call_start_batch(stream->call.call, &ops[LOAD_RECEIVE], 1,
	    &stream->call.reply, NULL);
	load_stream_wait(stream, &stream->call.reply);
	return stream->call.reply != NULL;
}

static inline void
load_stream_close(struct load_stream *stream)
{
	if (!stream->ended)
		load_stream_wait(stream, &stream->call.status);
	load_call_close(&stream->call, stream->path);
}

#endif
