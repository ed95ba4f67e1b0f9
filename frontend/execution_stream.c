/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams of clients that wait for an operation, each with a pump
 * (rpc/call_pump.h): updates that come while one is being sent become one.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/container.h"
#include "base/error.h"
#include "base/memory.h"
#include "frontend/action_cache.h"
#include "frontend/execution_internal.h"
#include "frontend/operation_message.h"
#include "rpc/call.h"
#include "rpc/call_pump.h"
#include "rpc/message.h"

/* Of paths to be inlined. */
#define WISHES_MAX (256u << 10)

struct execution_stream {
	/* First. References: the timer's when set, the task's, and those of
	 * threads that notify. */
	struct call_pump pump;
	struct execution_service *service;
	enum execution_mode mode;
	struct operation *operation; /* a reference; NULL before watching */
	struct watch *watch;
	TAILQ_ENTRY(execution_stream) link; /* the service's lock */

	/* The pump's lock guards what follows. */
	struct rpc_timer timer;
	int64_t expires_ms; /* UNARY: answer then at the latest */
	bool changed;
	bool stopping;
	struct rpc_message *last; /* with contents inline: to be sent */

	/* What the client wants inline; constant while watching. */
	struct inline_options inlining;
	struct arena wishes; /* the paths; nothing in it: no wishes */
	struct task inline_task;
};

static struct execution_stream *
execution_stream_of(struct call_pump *pump)
{
	return (struct execution_stream *)(void *)pump;
}

static void
execution_stream_free(struct call_pump *pump)
{
	struct execution_stream *stream = execution_stream_of(pump);

	operation_unref(stream->operation);
	rpc_message_free(stream->last);
	arena_clear(&stream->wishes);
	free(stream);
}

/* --- the timer -------------------------------------------------------------
 */

/* Under the lock. */
static void
execution_stream_set_timer(struct execution_stream *stream)
{
	int64_t at = clock_monotonic_ms() + stream->service->options.update_ms;

	if (stream->mode == EXECUTION_UNARY)
		at = stream->expires_ms;
	call_pump_ref(&stream->pump);
	rpc_timer_set(
	    atomic_load(&stream->service->server), &stream->timer, at);
}

static void
execution_stream_timer(struct rpc_timer *timer)
{
	struct execution_stream *stream =
	    CONTAINER_OF(timer, struct execution_stream, timer);

	pthread_mutex_lock(&stream->pump.lock);
	if (!stream->pump.ended && stream->mode == EXECUTION_STREAM)
		execution_stream_set_timer(stream);
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_set(&stream->pump, &stream->changed);
	call_pump_unref(&stream->pump); /* the timer's */
}

/* --- the end ---------------------------------------------------------------
 */

static void
execution_stream_leave_watch(struct execution_stream *stream)
{
	struct execution_service *service = stream->service;
	struct watch *watch = stream->watch;

	pthread_mutex_lock(&service->lock);
	TAILQ_REMOVE(&watch->streams, stream, link);
	service->stream_count--;
	if (TAILQ_EMPTY(&watch->streams)) {
		map_remove(&service->watches,
		    (struct str){(const char *)&watch->operation,
			sizeof(watch->operation)});
		free(watch);
	}
	pthread_mutex_unlock(&service->lock);
}

static void
execution_stream_stop_timer(struct execution_stream *stream)
{
	pthread_mutex_lock(&stream->pump.lock);
	stream->pump.ended = true; /* it is not set again */
	if (rpc_timer_cancel(
		atomic_load(&stream->service->server), &stream->timer))
		/* The call's reference is still there. */
		atomic_fetch_sub(&stream->pump.references, 1);
	pthread_mutex_unlock(&stream->pump.lock);
}

/* By the pump. answer: UNARY's, taken. */
static void
execution_stream_end(struct execution_stream *stream, const struct error *err,
    struct rpc_message *answer)
{
	struct execution_service *service = stream->service;

	execution_stream_stop_timer(stream);
	execution_stream_leave_watch(stream);
	if (answer != NULL)
		call_pump_reply(&stream->pump, answer);
	else
		call_pump_finish(&stream->pump, err);
	scheduler_unwait(
	    service->scheduler, stream->operation, clock_monotonic_ms());
	execution_service_kick(service);
}

/* --- the pump --------------------------------------------------------------
 */

enum execution_step {
	STEP_NONE,
	STEP_UPDATE,
	STEP_CANCELLED,
	STEP_STOPPING,
};

/* Under the lock. */
static enum execution_step
execution_stream_next(struct execution_stream *stream)
{
	if (stream->pump.cancelled)
		return STEP_CANCELLED;
	if (stream->changed && !stream->pump.sending) {
		stream->changed = false;
		return STEP_UPDATE;
	}
	return stream->stopping ? STEP_STOPPING : STEP_NONE;
}

/* The pool: reads what the client wants inline. */
static void
execution_stream_inline(struct task *task)
{
	struct execution_stream *stream =
	    CONTAINER_OF(task, struct execution_stream, inline_task);
	struct rpc_message *message = operation_message_inlined(
	    stream->service->scheduler, stream->operation,
	    stream->service->storage->store, &stream->inlining);

	pthread_mutex_lock(&stream->pump.lock);
	stream->last = message;
	stream->pump.sending = false;
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_set(&stream->pump, &stream->changed);
	call_pump_unref(&stream->pump); /* the task's */
}

/* Whether the pool has to make the last message first. */
static bool
execution_stream_must_inline(struct execution_stream *stream)
{
	if (!stream->inlining.stdout_wanted &&
	    !stream->inlining.stderr_wanted &&
	    stream->inlining.output_file_count == 0)
		return false;
	pthread_mutex_lock(&stream->pump.lock);
	/* Counts as sending: nothing else is sent meanwhile. */
	stream->pump.sending = true;
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_ref(&stream->pump);
	stream->inline_task.run = execution_stream_inline;
	rpc_call_submit(stream->pump.call, &stream->inline_task);
	return true;
}

static void
execution_stream_update(struct execution_stream *stream)
{
	struct rpc_message *message = NULL;
	bool done;

	pthread_mutex_lock(&stream->pump.lock);
	message = stream->last;
	stream->last = NULL;
	pthread_mutex_unlock(&stream->pump.lock);
	done = message != NULL;
	if (!done) {
		message = operation_message_now(
		    stream->service->scheduler, stream->operation, &done);
		if (done && execution_stream_must_inline(stream)) {
			rpc_message_free(message);
			return;
		}
	}
	if (stream->mode == EXECUTION_UNARY) {
		if (done || clock_monotonic_ms() >= stream->expires_ms)
			execution_stream_end(stream, NULL, message);
		else
			rpc_message_free(message);
		return;
	}
	call_pump_send(&stream->pump, message);
	/* The message goes out before the status. */
	if (done)
		execution_stream_end(stream, NULL, NULL);
}

static void
execution_stream_give_up(
    struct execution_stream *stream, enum execution_step step)
{
	struct error err;

	if (step == STEP_CANCELLED)
		error_set(&err, ERROR_CANCELLED, "the client has gone");
	else
		error_set_retry(&err, ERROR_UNAVAILABLE, 1000,
		    "the server is stopping; ask again for %.*s",
		    STR_ARG(stream->operation->name));
	execution_stream_end(stream, &err, NULL);
}

static bool
execution_stream_step(struct call_pump *pump)
{
	struct execution_stream *stream = execution_stream_of(pump);
	enum execution_step step;

	pthread_mutex_lock(&pump->lock);
	step = execution_stream_next(stream);
	pthread_mutex_unlock(&pump->lock);
	if (step == STEP_UPDATE)
		execution_stream_update(stream);
	else if (step != STEP_NONE)
		execution_stream_give_up(stream, step);
	return step != STEP_NONE;
}

/* --- the beginning ---------------------------------------------------------
 */

struct execution_stream *
execution_stream_new(struct execution_service *service, struct rpc_call *call,
    enum execution_mode mode)
{
	static const struct call_pump_type type = {
	    execution_stream_step, execution_stream_free};
	struct execution_stream *stream = xcalloc(1, sizeof(*stream));

	stream->service = service;
	stream->mode = mode;
	rpc_timer_init(&stream->timer, execution_stream_timer);
	arena_init(&stream->wishes, WISHES_MAX);
	call_pump_init(&stream->pump, &type, call);
	return stream;
}

void
execution_stream_inlining(
    struct execution_stream *stream, const struct inline_options *wanted)
{
	ProtobufCBinaryData *paths;
	size_t count = wanted->output_file_count;

	stream->inlining.stdout_wanted = wanted->stdout_wanted;
	stream->inlining.stderr_wanted = wanted->stderr_wanted;
	paths = arena_zalloc(&stream->wishes, count, sizeof(*paths));
	for (size_t i = 0; paths != NULL && i < count; i++) {
		const ProtobufCBinaryData *path = &wanted->output_files[i];
		char *copy = arena_copy(&stream->wishes,
		    (struct str){(const char *)path->data, path->len});

		/* It is a hint: too many are none. */
		if (copy == NULL)
			return;
		paths[i] = (ProtobufCBinaryData){path->len, (uint8_t *)copy};
	}
	if (paths != NULL) {
		stream->inlining.output_files = paths;
		stream->inlining.output_file_count = count;
	}
}

void
execution_stream_answer(
    struct execution_stream *stream, struct rpc_message *message)
{
	call_pump_send(&stream->pump, message);
	call_pump_finish(&stream->pump, NULL);
}

void
execution_stream_fail(struct execution_stream *stream, const struct error *err)
{
	call_pump_finish(&stream->pump, err);
}

void
execution_stream_fail_status(
    struct execution_stream *stream, const struct GrpcStatus__Status *status)
{
	call_pump_finish_status(&stream->pump, status);
}

/* Under the service's lock. */
static struct watch *
execution_watch(struct execution_service *service, struct operation *operation)
{
	struct str key = {(const char *)&operation, sizeof(operation)};
	struct watch *watch = map_get(&service->watches, key);

	if (watch != NULL)
		return watch;
	watch = xcalloc(1, sizeof(*watch));
	watch->operation = operation;
	TAILQ_INIT(&watch->streams);
	key.data = (const char *)&watch->operation;
	map_put(&service->watches, key, watch);
	return watch;
}

void
execution_stream_watch(struct execution_stream *stream,
    struct operation *operation, int64_t wait_ms)
{
	struct execution_service *service = stream->service;
	bool stopping;

	stream->operation = operation;
	pthread_mutex_lock(&service->lock);
	stream->watch = execution_watch(service, operation);
	TAILQ_INSERT_TAIL(&stream->watch->streams, stream, link);
	service->stream_count++;
	stopping = service->stopping;
	pthread_mutex_unlock(&service->lock);

	pthread_mutex_lock(&stream->pump.lock);
	stream->expires_ms = clock_monotonic_ms() + wait_ms;
	stream->changed = true; /* the state as it is, first of all */
	stream->stopping |= stopping;
	execution_stream_set_timer(stream);
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_start(&stream->pump);
}

/* --- all of them -----------------------------------------------------------
 */

/* References to streams, taken under the service's lock. */
struct stream_list {
	struct execution_stream **items;
	size_t count;
};

static void
stream_list_add(struct stream_list *list, const struct watch *watch)
{
	struct execution_stream *stream;
	size_t count = list->count;

	TAILQ_FOREACH (stream, &watch->streams, link)
		count++;
	list->items = xreallocarray(list->items, count, sizeof(*list->items));
	TAILQ_FOREACH (stream, &watch->streams, link) {
		call_pump_ref(&stream->pump);
		list->items[list->count++] = stream;
	}
}

/* Takes the list. */
static void
stream_list_poke(struct stream_list *list, bool stopping)
{
	for (size_t i = 0; i < list->count; i++) {
		struct execution_stream *stream = list->items[i];

		call_pump_set(&stream->pump,
		    stopping ? &stream->stopping : &stream->changed);
		call_pump_unref(&stream->pump);
	}
	free(list->items);
}

void
execution_streams_notify(
    struct execution_service *service, struct operation *operation)
{
	struct stream_list list = {NULL, 0};
	struct watch *watch;

	pthread_mutex_lock(&service->lock);
	watch = map_get(&service->watches,
	    (struct str){(const char *)&operation, sizeof(operation)});
	if (watch != NULL)
		stream_list_add(&list, watch);
	pthread_mutex_unlock(&service->lock);
	stream_list_poke(&list, false);
}

void
execution_streams_stop(struct execution_service *service)
{
	struct stream_list list = {NULL, 0};
	struct watch *watch;
	size_t position = 0;

	pthread_mutex_lock(&service->lock);
	while ((watch = map_next(&service->watches, &position)) != NULL)
		stream_list_add(&list, watch);
	pthread_mutex_unlock(&service->lock);
	stream_list_poke(&list, true);
}
