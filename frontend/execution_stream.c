/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams of clients that wait for an operation. Changes, the timer, the
 * client's cancellation and the end of a send only set flags; the pump looks
 * at them and does one thing after the other with the call. Whoever finds the
 * pump running leaves the work to it, so the call has one user at a time, and
 * updates that come while one is being sent become one.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "frontend/action_cache.h"
#include "frontend/execution_internal.h"
#include "frontend/operation_message.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* Of paths to be inlined. */
#define WISHES_MAX (256u << 10)

struct execution_stream {
	struct execution_service *service;
	struct rpc_call *call; /* the pump's, while watching */
	enum execution_mode mode;
	/* One of the call's, one of the timer when set, one of each thread
	 * that notifies. */
	atomic_size_t references;
	struct operation *operation; /* a reference; NULL before watching */
	struct watch *watch;
	TAILQ_ENTRY(execution_stream) link; /* the service's lock */

	/* Guards what follows; not held across calls of rpc/call.h. */
	pthread_mutex_t lock;
	struct rpc_timer timer;
	int64_t expires_ms; /* UNARY: answer then at the latest */
	bool watching;
	bool pumping;
	bool again; /* look once more */
	bool changed;
	bool sending;
	bool cancelled;
	bool stopping;
	bool ended;
	struct rpc_message *last; /* with contents inline: to be sent */

	/* What the client wants inline; constant while watching. */
	struct inline_options inlining;
	struct arena wishes; /* the paths; nothing in it: no wishes */
	struct task inline_task;
};

static void execution_stream_pump(struct execution_stream *stream);

static void
execution_stream_unref(struct execution_stream *stream)
{
	if (atomic_fetch_sub(&stream->references, 1) != 1)
		return;
	operation_unref(stream->operation);
	rpc_message_free(stream->last);
	arena_clear(&stream->wishes);
	pthread_mutex_destroy(&stream->lock);
	free(stream);
}

/* --- what sets flags -------------------------------------------------------
 */

static void
execution_stream_cancelled(struct rpc_call *call, void *cookie)
{
	struct execution_stream *stream = cookie;

	(void)call;
	pthread_mutex_lock(&stream->lock);
	stream->cancelled = true;
	pthread_mutex_unlock(&stream->lock);
	execution_stream_pump(stream);
}

static void
execution_stream_sent(struct rpc_call *call, bool ok, void *cookie)
{
	struct execution_stream *stream = cookie;

	(void)call;
	pthread_mutex_lock(&stream->lock);
	stream->sending = false;
	if (!ok)
		stream->cancelled = true;
	pthread_mutex_unlock(&stream->lock);
	execution_stream_pump(stream);
}

/* Under the lock. */
static void
execution_stream_set_timer(struct execution_stream *stream)
{
	int64_t at = clock_monotonic_ms() + stream->service->options.update_ms;

	if (stream->mode == EXECUTION_UNARY)
		at = stream->expires_ms;
	atomic_fetch_add(&stream->references, 1);
	rpc_timer_set(
	    atomic_load(&stream->service->server), &stream->timer, at);
}

static void
execution_stream_timer(struct rpc_timer *timer)
{
	struct execution_stream *stream = (struct execution_stream *)(void
		*)((char *)timer - offsetof(struct execution_stream, timer));

	pthread_mutex_lock(&stream->lock);
	stream->changed = true;
	if (!stream->ended && stream->mode == EXECUTION_STREAM)
		execution_stream_set_timer(stream);
	pthread_mutex_unlock(&stream->lock);
	execution_stream_pump(stream);
	execution_stream_unref(stream); /* the timer's */
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

/* By the pump, for the one that set ended. answer: UNARY's, taken. */
static void
execution_stream_end(struct execution_stream *stream, const struct error *err,
    struct rpc_message *answer)
{
	struct execution_service *service = stream->service;

	execution_stream_leave_watch(stream);
	if (answer != NULL)
		rpc_call_reply(stream->call, answer);
	else
		rpc_call_finish(stream->call, err);
	scheduler_unwait(
	    service->scheduler, stream->operation, clock_monotonic_ms());
	execution_service_kick(service);
	execution_stream_unref(stream); /* the call's */
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
	if (!stream->watching || stream->ended)
		return STEP_NONE;
	if (stream->cancelled)
		return STEP_CANCELLED;
	if (stream->changed && !stream->sending) {
		stream->changed = false;
		return STEP_UPDATE;
	}
	return stream->stopping ? STEP_STOPPING : STEP_NONE;
}

/* Under the lock. */
static void
execution_stream_set_ended(struct execution_stream *stream)
{
	stream->ended = true;
	/* The call's reference is still there. */
	if (rpc_timer_cancel(
		atomic_load(&stream->service->server), &stream->timer))
		atomic_fetch_sub(&stream->references, 1);
}

/* The pool: reads what the client wants inline. */
static void
execution_stream_inline(struct task *task)
{
	struct execution_stream *stream =
	    (struct execution_stream *)(void *)((char *)task -
						offsetof(
						    struct execution_stream,
						    inline_task));
	struct rpc_message *message = operation_message_inlined(
	    stream->service->scheduler, stream->operation,
	    stream->service->storage->store, &stream->inlining);

	pthread_mutex_lock(&stream->lock);
	stream->last = message;
	stream->sending = false;
	stream->changed = true;
	pthread_mutex_unlock(&stream->lock);
	execution_stream_pump(stream);
	execution_stream_unref(stream); /* the task's */
}

/* Whether the pool has to make the last message first. */
static bool
execution_stream_must_inline(struct execution_stream *stream)
{
	if (!stream->inlining.stdout_wanted &&
	    !stream->inlining.stderr_wanted &&
	    stream->inlining.output_file_count == 0)
		return false;
	pthread_mutex_lock(&stream->lock);
	/* Counts as sending: nothing else is sent meanwhile. */
	stream->sending = true;
	pthread_mutex_unlock(&stream->lock);
	atomic_fetch_add(&stream->references, 1);
	stream->inline_task.run = execution_stream_inline;
	rpc_call_submit(stream->call, &stream->inline_task);
	return true;
}

static void
execution_stream_update(struct execution_stream *stream)
{
	struct rpc_message *message = NULL;
	bool done;

	pthread_mutex_lock(&stream->lock);
	message = stream->last;
	stream->last = NULL;
	pthread_mutex_unlock(&stream->lock);
	done = message != NULL;
	if (!done) {
		message = operation_message_now(
		    stream->service->scheduler, stream->operation, &done);
		if (done && execution_stream_must_inline(stream)) {
			rpc_message_free(message);
			return;
		}
	}
	pthread_mutex_lock(&stream->lock);
	if (stream->mode == EXECUTION_UNARY)
		done |= clock_monotonic_ms() >= stream->expires_ms;
	if (done)
		execution_stream_set_ended(stream);
	else if (stream->mode == EXECUTION_STREAM)
		stream->sending = true;
	pthread_mutex_unlock(&stream->lock);
	if (stream->mode == EXECUTION_UNARY) {
		if (done)
			execution_stream_end(stream, NULL, message);
		else
			rpc_message_free(message);
		return;
	}
	rpc_call_send(stream->call, message, execution_stream_sent, stream);
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
	pthread_mutex_lock(&stream->lock);
	execution_stream_set_ended(stream);
	pthread_mutex_unlock(&stream->lock);
	execution_stream_end(stream, &err, NULL);
}

static void
execution_stream_pump(struct execution_stream *stream)
{
	enum execution_step step;

	pthread_mutex_lock(&stream->lock);
	stream->again = true;
	if (stream->pumping) {
		pthread_mutex_unlock(&stream->lock);
		return;
	}
	stream->pumping = true;
	/* The end gives up the call's reference. */
	atomic_fetch_add(&stream->references, 1);
	while (stream->again) {
		step = execution_stream_next(stream);
		stream->again = step != STEP_NONE;
		pthread_mutex_unlock(&stream->lock);
		if (step == STEP_UPDATE)
			execution_stream_update(stream);
		else if (step != STEP_NONE)
			execution_stream_give_up(stream, step);
		pthread_mutex_lock(&stream->lock);
	}
	stream->pumping = false;
	pthread_mutex_unlock(&stream->lock);
	execution_stream_unref(stream);
}

/* --- the beginning ---------------------------------------------------------
 */

struct execution_stream *
execution_stream_new(struct execution_service *service, struct rpc_call *call,
    enum execution_mode mode)
{
	struct execution_stream *stream = xcalloc(1, sizeof(*stream));

	stream->service = service;
	stream->call = call;
	stream->mode = mode;
	atomic_init(&stream->references, 1);
	pthread_mutex_init(&stream->lock, NULL);
	rpc_timer_init(&stream->timer, execution_stream_timer);
	arena_init(&stream->wishes, WISHES_MAX);
	rpc_call_on_cancel(call, execution_stream_cancelled, stream);
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
	rpc_call_send(stream->call, message, execution_stream_sent, stream);
	rpc_call_finish(stream->call, NULL);
	execution_stream_unref(stream);
}

void
execution_stream_fail(struct execution_stream *stream, const struct error *err)
{
	rpc_call_finish(stream->call, err);
	execution_stream_unref(stream);
}

void
execution_stream_fail_status(
    struct execution_stream *stream, const struct GrpcStatus__Status *status)
{
	rpc_call_finish_status(stream->call, status);
	execution_stream_unref(stream);
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

	/* Others may end it as soon as it watches. */
	atomic_fetch_add(&stream->references, 1);
	stream->operation = operation;
	pthread_mutex_lock(&service->lock);
	stream->watch = execution_watch(service, operation);
	TAILQ_INSERT_TAIL(&stream->watch->streams, stream, link);
	service->stream_count++;
	stopping = service->stopping;
	pthread_mutex_unlock(&service->lock);

	pthread_mutex_lock(&stream->lock);
	stream->expires_ms = clock_monotonic_ms() + wait_ms;
	stream->watching = true;
	stream->changed = true; /* the state as it is, first of all */
	stream->stopping |= stopping;
	execution_stream_set_timer(stream);
	pthread_mutex_unlock(&stream->lock);
	execution_stream_pump(stream);
	execution_stream_unref(stream);
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
		atomic_fetch_add(&stream->references, 1);
		list->items[list->count++] = stream;
	}
}

/* Takes the list. */
static void
stream_list_poke(struct stream_list *list, bool stopping)
{
	for (size_t i = 0; i < list->count; i++) {
		struct execution_stream *stream = list->items[i];

		pthread_mutex_lock(&stream->lock);
		stream->changed |= !stopping;
		stream->stopping |= stopping;
		pthread_mutex_unlock(&stream->lock);
		execution_stream_pump(stream);
		execution_stream_unref(stream);
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
