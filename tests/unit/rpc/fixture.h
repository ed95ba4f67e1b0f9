/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server on loopback with the service "t.T", whose methods do what the tests
 * of rpc/ need, and a channel to it. One fixture at a time.
 */
#ifndef TESTS_UNIT_RPC_FIXTURE_H
#define TESTS_UNIT_RPC_FIXTURE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "rpc/call.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"
#include "rpc/status.h"

#define MAX_RECEIVE (1u << 20)

struct fixture {
	struct thread_pool *pool;
	struct rpc_server *server;
	struct rpc_channel *channel;
	char address[128]; /* for channels */
	atomic_int handled;
	atomic_int cancelled;
	_Atomic(const struct rpc_call *) last_cancelled;
	atomic_int finished;
	atomic_int last_status;
	atomic_int failures_left;
	atomic_uint advice_ms; /* with each of them */
	atomic_int sent;       /* messages of Count */
	_Atomic(struct rpc_call *) held;
	atomic_int on_the_pool;   /* answers of Poller that were not on one */
	atomic_int by_status[17]; /* calls that have ended with it */
	atomic_int let_go;        /* calls that Block may end */
};

static struct fixture fixture;
/* Of the call that ended last; the lock is for calls that end together. */
static char last_text[400];
static pthread_mutex_t last_text_lock = PTHREAD_MUTEX_INITIALIZER;

/* Up to a minute and more: then the test has failed. */
static inline void
wait_until(atomic_int *value, int wanted)
{
	for (int i = 0; i < 60000 && atomic_load(value) < wanted; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(atomic_load(value), wanted);
}

static inline struct rpc_message *
message_of(const char *text)
{
	struct rpc_message *message = rpc_message_new();

	rpc_message_add(message, text, strlen(text));
	return message;
}

static inline struct str
flat_request(struct rpc_call *call)
{
	return rpc_message_flat(rpc_call_request(call));
}

/* --- methods ---------------------------------------------------------------
 */

static inline void
handle_unary(struct rpc_call *call, void *service)
{
	struct str request = flat_request(call);
	struct rpc_message *reply = rpc_message_new();

	(void)service;
	atomic_fetch_add(&fixture.handled, 1);
	rpc_message_add(reply, request.data, request.len);
	rpc_call_reply(call, reply);
}

struct pool_work {
	struct task task;
	struct rpc_call *call;
};

static inline void
reply_from_pool(struct task *task)
{
	struct pool_work *work = (struct pool_work *)(void *)task;

	handle_unary(work->call, NULL);
	free(work);
}

static inline void
handle_pool(struct rpc_call *call, void *service)
{
	struct pool_work *work = xmalloc(sizeof(*work));

	(void)service;
	work->call = call;
	work->task.run = reply_from_pool;
	rpc_call_submit(call, &work->task);
}

static _Thread_local bool pool_thread;

static inline void
reply_from_poller(struct task *task)
{
	if (pool_thread)
		atomic_fetch_add(&fixture.on_the_pool, 1);
	reply_from_pool(task);
}

/* From the pool back to a poller. */
static inline void
submit_to_poller(struct task *task)
{
	struct pool_work *work = (struct pool_work *)(void *)task;

	pool_thread = true;
	work->task.run = reply_from_poller;
	rpc_call_submit_to_poller(work->call, &work->task);
}

static inline void
handle_poller(struct rpc_call *call, void *service)
{
	struct pool_work *work = xmalloc(sizeof(*work));

	(void)service;
	work->call = call;
	work->task.run = submit_to_poller;
	rpc_call_submit(call, &work->task);
}

static inline void
note_cancelled(struct rpc_call *call, void *cookie)
{
	(void)cookie;
	atomic_store(&fixture.last_cancelled, call);
	atomic_fetch_add(&fixture.cancelled, 1);
}

/* Kept until the test ends it. */
static inline void
handle_hold(struct rpc_call *call, void *service)
{
	(void)service;
	rpc_call_on_cancel(call, note_cancelled, NULL);
	atomic_store(&fixture.held, call);
	atomic_fetch_add(&fixture.handled, 1);
}

/* Holds its poller, too, until the test lets it go. */
static inline void
handle_block(struct rpc_call *call, void *service)
{
	atomic_fetch_add(&fixture.handled, 1);
	while (atomic_load(&fixture.handled) > atomic_load(&fixture.let_go))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	(void)service;
	rpc_call_reply(call, message_of("late"));
}

struct count_state {
	unsigned left;
	size_t size;
};

static inline void
count_next(struct rpc_call *call, bool ok, void *cookie)
{
	struct count_state *state = cookie;
	struct error err;
	struct rpc_message *message;
	char *bytes;

	if (!ok) {
		error_set(&err, ERROR_CANCELLED, "client gone");
		rpc_call_finish(call, &err);
		return;
	}
	if (state->left == 0) {
		rpc_call_finish(call, NULL);
		return;
	}
	state->left--;
	bytes = xmalloc(state->size);
	memset(bytes, 'x', state->size); /* memory that is really there */
	message = rpc_message_new();
	rpc_message_add_take(message, bytes, state->size);
	atomic_fetch_add(&fixture.sent, 1);
	rpc_call_send(call, message, count_next, state);
}

/* "<messages> <bytes each>" */
static inline void
handle_count(struct rpc_call *call, void *service)
{
	struct count_state *state =
	    arena_zalloc(rpc_call_arena(call), 1, sizeof(*state));
	struct str rest = flat_request(call);
	uint64_t left, size;

	(void)service;
	rpc_call_on_cancel(call, note_cancelled, NULL);
	assert_true(str_to_uint64(str_cut(&rest, ' '), UINT32_MAX, &left));
	assert_true(str_to_uint64(rest, SIZE_MAX, &size));
	state->left = (unsigned)left;
	state->size = size;
	count_next(call, true, state);
}

static inline void bidi_received(
    struct rpc_call *call, struct rpc_message *message, void *cookie);

static inline void
bidi_sent(struct rpc_call *call, bool ok, void *cookie)
{
	(void)ok;
	rpc_call_receive(call, bidi_received, cookie);
}

static inline void
bidi_received(struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	if (message == NULL)
		rpc_call_finish(call, NULL);
	else
		rpc_call_send(call, message, bidi_sent, cookie);
}

static inline void
handle_bidi(struct rpc_call *call, void *service)
{
	(void)service;
	rpc_call_on_cancel(call, note_cancelled, NULL);
	rpc_call_receive(call, bidi_received, NULL);
}

static inline void
collect_received(
    struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	size_t *total = cookie;
	char text[32];

	if (message == NULL) {
		if (rpc_call_cancelled(call))
			atomic_fetch_add(&fixture.cancelled, 1);
		atomic_fetch_add(&fixture.handled, 1);
		snprintf(text, sizeof(text), "%zu", *total);
		rpc_call_reply(call, message_of(text));
		return;
	}
	*total += rpc_message_size(message);
	rpc_message_free(message);
	rpc_call_receive(call, collect_received, total);
}

static inline void
handle_collect(struct rpc_call *call, void *service)
{
	(void)service;
	rpc_call_receive(call, collect_received,
	    arena_zalloc(rpc_call_arena(call), 1, sizeof(size_t)));
}

/* Ended by a pool thread while it receives, perhaps as the client cancels; what
 * the callbacks use is freed right after the end. */
struct race {
	struct task task;
	struct rpc_call *call;
	atomic_int seen;
};

static inline void
race_received(struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	struct race *race = cookie;
	bool ended = message == NULL;

	rpc_message_free(message);
	atomic_fetch_add(&race->seen, 1);
	if (!ended)
		rpc_call_receive(call, race_received, race);
}

static inline void
race_cancelled(struct rpc_call *call, void *cookie)
{
	struct race *race = cookie;

	assert_ptr_equal(race->call, call);
	atomic_fetch_add(&race->seen, 1);
}

static inline void
race_end(struct task *task)
{
	struct race *race = (struct race *)(void *)task;

	rpc_call_finish(race->call, NULL);
	free(race);
	atomic_fetch_add(&fixture.handled, 1);
}

static inline void
handle_race(struct rpc_call *call, void *service)
{
	struct race *race = xcalloc(1, sizeof(*race));

	(void)service;
	race->call = call;
	race->task.run = race_end;
	rpc_call_on_cancel(call, race_cancelled, race);
	rpc_call_receive(call, race_received, race);
	rpc_call_submit(call, &race->task);
}

/* Answers after the first message, whatever comes then. */
static inline void
early_received(struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	(void)cookie;
	rpc_message_free(message);
	rpc_call_reply(call, message_of("enough"));
}

static inline void
handle_early(struct rpc_call *call, void *service)
{
	(void)service;
	rpc_call_receive(call, early_received, NULL);
}

/* UNAVAILABLE with advice while failures_left. */
static inline void
handle_flaky(struct rpc_call *call, void *service)
{
	struct error err;

	if (atomic_fetch_sub(&fixture.failures_left, 1) <= 0) {
		handle_unary(call, service);
		return;
	}
	error_set_retry(&err, ERROR_UNAVAILABLE,
	    atomic_load(&fixture.advice_ms), "not now: 100%% \xc3\xa4\n");
	rpc_call_finish(call, &err);
}

/* PreconditionFailure with many violations. */
static inline void
handle_details(struct rpc_call *call, void *service)
{
	struct arena *arena = rpc_call_arena(call);
	struct rpc_violation violations[500];
	struct error err;
	struct GrpcStatus__Status *status;

	(void)service;
	error_set_retry(&err, ERROR_FAILED_PRECONDITION, 1500, "blobs missing");
	status = rpc_status_from_error(arena, &err);
	for (size_t i = 0; i < 500; i++)
		violations[i] = (struct rpc_violation){
		    STR("MISSING"), STR("blobs/0123456789/10"), STR("")};
	assert_int_equal(
	    rpc_status_add_violations(arena, status, violations, 500, &err), 0);
	rpc_call_finish_status(call, status);
}

/* The peer, the deadline and a piece of metadata as text. */
static inline void
handle_describe(struct rpc_call *call, void *service)
{
	char text[400];
	struct str value = rpc_call_metadata(call, STR("x-test-bin"));
	int64_t left = rpc_call_deadline_ms(call);

	(void)service;
	left = left == CLOCK_NEVER ? -1 : left - clock_monotonic_ms();
	snprintf(text, sizeof(text), "%.*s|%.*s|%zu|%lld|%.*s",
	    STR_ARG(rpc_call_path(call)), STR_ARG(rpc_call_peer(call)),
	    value.len, (long long)left, STR_ARG(rpc_call_identity(call)));
	rpc_call_reply(call, message_of(text));
}

static const struct rpc_method fixture_methods[] = {
    {"/t.T/Unary", RPC_UNARY, handle_unary, NULL},
    {"/t.T/Pool", RPC_UNARY, handle_pool, NULL},
    {"/t.T/Poller", RPC_UNARY, handle_poller, NULL},
    {"/t.T/Hold", RPC_UNARY, handle_hold, NULL},
    {"/t.T/Block", RPC_BIDIRECTIONAL, handle_block, NULL},
    {"/t.T/BlockUnary", RPC_UNARY, handle_block, NULL},
    {"/t.T/Count", RPC_SERVER_STREAM, handle_count, NULL},
    {"/t.T/Bidi", RPC_BIDIRECTIONAL, handle_bidi, NULL},
    {"/t.T/Session", RPC_SESSION, handle_bidi, NULL},
    {"/t.T/HoldBidi", RPC_BIDIRECTIONAL, handle_hold, NULL},
    {"/t.T/Collect", RPC_CLIENT_STREAM, handle_collect, NULL},
    {"/t.T/Race", RPC_BIDIRECTIONAL, handle_race, NULL},
    {"/t.T/Early", RPC_CLIENT_STREAM, handle_early, NULL},
    {"/t.T/Flaky", RPC_UNARY, handle_flaky, NULL},
    {"/t.T/Details", RPC_UNARY, handle_details, NULL},
    {"/t.T/Describe", RPC_UNARY, handle_describe, NULL},
};

/* --- server and client -----------------------------------------------------
 */

static inline void
fixture_finished(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie)
{
	(void)cookie;
	assert_true(duration_ns >= 0);
	assert_true(rpc_call_path(call).len > 0);
	pthread_mutex_lock(&last_text_lock);
	snprintf(last_text, sizeof(last_text), "%.*s",
	    STR_ARG(rpc_call_end_text(call)));
	pthread_mutex_unlock(&last_text_lock);
	atomic_store(&fixture.last_status, status);
	assert_in_range(status, 0, 16);
	atomic_fetch_add(&fixture.by_status[status], 1);
	atomic_fetch_add(&fixture.finished, 1);
}

/* Ends a held stream, as a frontend does. */
static inline void
fixture_stopping(void *cookie)
{
	struct rpc_call *call = atomic_exchange(&fixture.held, NULL);
	struct error err;

	(void)cookie;
	if (call == NULL)
		return;
	assert_true(rpc_server_stopping(rpc_call_server(call)));
	error_set(&err, ERROR_UNAVAILABLE, "the server stops");
	rpc_call_finish(call, &err);
}

static inline struct rpc_server_options
fixture_options(const char *listen)
{
	return (struct rpc_server_options){
	    .listen = listen,
	    .methods = fixture_methods,
	    .method_count =
		sizeof(fixture_methods) / sizeof(fixture_methods[0]),
	    .pollers = 2,
	    .max_receive_bytes = MAX_RECEIVE,
	    .max_call_memory = 4u << 20,
	    .max_streams = 2000,
	    .pool = fixture.pool,
	    .finished = fixture_finished,
	    .stopping = fixture_stopping,
	};
}

static inline struct rpc_channel *
open_channel(void)
{
	struct error err;
	struct rpc_channel *channel = rpc_channel_open(
	    &(struct rpc_channel_options){.address = fixture.address}, &err);

	if (channel == NULL)
		fail_msg("%s", err.text);
	return channel;
}

static inline void
fixture_start(const struct rpc_server_options *options)
{
	struct error err;

	fixture.server = rpc_server_new(options, &err);
	if (fixture.server == NULL)
		fail_msg("%s", err.text);
	rpc_server_start(fixture.server);
	snprintf(fixture.address, sizeof(fixture.address), "%s%s",
	    strncmp(options->listen, "unix:", 5) == 0 ? "" : "grpc://",
	    rpc_server_address(fixture.server));
}

static inline int
fixture_setup(void **state)
{
	struct rpc_server_options options;

	(void)state;
	memset(&fixture, 0, sizeof(fixture));
	fixture.pool = thread_pool_new(2);
	options = fixture_options("127.0.0.1:0");
	fixture_start(&options);
	fixture.channel = open_channel();
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	(void)state;
	rpc_channel_close(fixture.channel);
	if (fixture.server != NULL) /* a fact that failed may have stopped it */
		rpc_server_stop(fixture.server, 2000);
	rpc_server_free(fixture.server);
	thread_pool_free(fixture.pool);
	return 0;
}

/* Calls with text in and out; -1 and err for a failure. */
static inline int
call_text(struct rpc_channel *channel, const char *path, const char *text,
    const struct rpc_call_options *options, char *out, size_t size,
    struct error *err)
{
	struct rpc_message *request = message_of(text);
	struct rpc_message *response;
	int rc =
	    rpc_channel_call(channel, path, request, options, &response, err);

	rpc_message_free(request);
	if (rc < 0)
		return -1;
	snprintf(out, size, "%.*s", STR_ARG(rpc_message_flat(response)));
	rpc_message_free(response);
	return 0;
}

/* Longer than any busy machine needs. */
static const struct rpc_call_options patience = {.timeout_ms = 60000};

#endif
