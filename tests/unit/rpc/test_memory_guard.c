/* SPDX-License-Identifier: Apache-2.0 */
/* Calls give way when memory is short: those that wait for their peer. What
 * peers do with half a message is in tests/system/62-memory.sh. */
#include "tests/unit/rpc/fixture.h"

#include "base/budget.h"
#include "base/process_memory.h"
#include "rpc/server_core.h"
#include "tests/unit/rpc/descriptors.h"

#define MIB (1u << 20)
#define ROOM (64u * MIB)

/* A server whose limit is what is in use now, and ROOM. */
static int
setup(void **state)
{
	struct rpc_server_options options;
	char *probe;
	uint64_t before = process_memory_allocated();

	(void)state;
	memset(&fixture, 0, sizeof(fixture));
	/* A sanitizer's allocator does not tell. */
	probe = xcalloc(ROOM, 1);
	if (process_memory_allocated() < before + ROOM / 2) {
		free(probe);
		skip();
	}
	free(probe);
	fixture.pool = thread_pool_new(2);
	options = fixture_options("127.0.0.1:0");
	options.memory_limit = before + ROOM;
	fixture_start(&options);
	fixture.channel = open_channel();
	return 0;
}

static struct rpc_stream *
start(const char *path, const char *request)
{
	struct error err;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, path, &patience, &err);

	assert_non_null(stream);
	assert_int_equal(rpc_stream_send(stream, message_of(request), &err), 0);
	return stream;
}

/* One call asks for 96 MiB that the client does not read. */
static void
check_reader_gives_way(void)
{
	struct rpc_stream *reader = start("/t.T/Count", "1 100663296");
	struct rpc_message *message;
	struct error err;

	while (rpc_stream_receive(reader, &message, &err) > 0)
		rpc_message_free(message);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_int_equal(rpc_server_ended_for_memory(fixture.server), 1);
	rpc_stream_free(reader);
}

static void
the_call_that_waits_for_its_peer_gives_way(void **state)
{
	struct rpc_stream *held;
	struct error err;
	char out[64];

	setup(state);
	/* Held by us: not its peer's fault. */
	held = start("/t.T/HoldBidi", "x");
	wait_until(&fixture.handled, 1);
	check_reader_gives_way();
	/* The other goes on, and new ones are served. */
	assert_false(rpc_call_cancelled(atomic_load(&fixture.held)));
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "hello",
			     &patience, out, sizeof(out), &err),
	    0);
	rpc_call_finish(atomic_exchange(&fixture.held, NULL), NULL);
	rpc_stream_free(held);
	fixture_teardown(state);
}

/* Memory that no call holds, and so no end of a call frees. */
static void
any_other_call_ends_before_a_session(void **state)
{
	struct rpc_stream *session, *idle, *held;
	struct rpc_message *message;
	struct error err;
	char *taken;

	setup(state);
	session = start("/t.T/Session", "x");
	assert_int_equal(rpc_stream_receive(session, &message, &err), 1);
	rpc_message_free(message);
	/* One that waits and one that does not, both newer. */
	idle = start("/t.T/Bidi", "x");
	assert_int_equal(rpc_stream_receive(idle, &message, &err), 1);
	rpc_message_free(message);
	held = start("/t.T/HoldBidi", "x");
	wait_until(&fixture.handled, 1);
	assert_int_equal(atomic_load(&fixture.cancelled), 0);
	taken = xmalloc(2 * ROOM);
	explicit_bzero(taken, 2 * ROOM); /* which no compiler leaves out */
	wait_until(&fixture.cancelled, 3);
	free(taken);
	assert_int_equal(rpc_server_ended_for_memory(fixture.server), 3);
	/* The one that is left is the session. */
	assert_ptr_not_equal(
	    atomic_load(&fixture.last_cancelled), atomic_load(&fixture.held));
	assert_int_equal(rpc_stream_receive(session, &message, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	/* Its owner takes it for a client that has gone. */
	wait_until(&fixture.finished, 2);
	assert_int_equal(fixture.last_status, ERROR_RESOURCE_EXHAUSTED);
	rpc_call_finish(atomic_exchange(&fixture.held, NULL), NULL);
	rpc_stream_free(held);
	rpc_stream_free(idle);
	rpc_stream_free(session);
	fixture_teardown(state);
}

static void
without_need_nothing_is_ended(void **state)
{
	struct rpc_stream *reader;
	struct rpc_message *message;
	struct error err;

	setup(state);
	reader = start("/t.T/Count", "1 16777216");
	nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
	assert_int_equal(rpc_server_ended_for_memory(fixture.server), 0);
	assert_int_equal(rpc_stream_receive(reader, &message, &err), 1);
	assert_int_equal(rpc_message_size(message), 16u * MIB);
	rpc_message_free(message);
	rpc_stream_free(reader);
	fixture_teardown(state);
}

/* What connections leave free (test_accept.c) others may take. */
static void
it_sees_without_descriptors_that_are_free(void **state)
{
	struct descriptors all;
	struct error err;
	char out[64];

	setup(state);
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "connect",
			     &patience, out, sizeof(out), &err),
	    0);
	descriptors_take_all(&all);
	check_reader_gives_way();
	descriptors_give_back(&all);
	fixture_teardown(state);
}

static atomic_int list_locked;

/* The call is then freed while the list is locked. */
static void
finish_when_locked(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie)
{
	fixture_finished(call, status, duration_ns, cookie);
	wait_until(&list_locked, 1);
}

/* As who looks for the peers of calls that ought to be gone. */
static void
a_call_that_is_being_freed_has_its_peer_while_it_is_listed(void **state)
{
	static char text[2 * RPC_SMALL_REQUEST], out[sizeof(text)];
	struct rpc_server_options options;
	struct budget memory;
	struct rpc_call *call;
	struct error err;

	(void)state;
	memset(&fixture, 0, sizeof(fixture));
	memset(text, 'x', sizeof(text) - 1);
	budget_init(&memory, MIB);
	fixture.pool = thread_pool_new(1);
	options = fixture_options("127.0.0.1:0");
	options.request_memory = &memory;
	options.finished = finish_when_locked;
	fixture_start(&options);
	fixture.channel = open_channel();
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", text,
			     &patience, out, sizeof(out), &err),
	    0);
	wait_until(&fixture.finished, 1);
	pthread_mutex_lock(&fixture.server->lock);
	atomic_store(&list_locked, 1);
	/* The last that it gives back before it leaves the list. */
	for (int i = 0; i < 60000 && atomic_load(&memory.used) > 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(atomic_load(&memory.used), 0);
	call = TAILQ_FIRST(&fixture.server->live);
	assert_non_null(call);
	assert_int_equal(strncmp(call->peer, "ipv4:127.0.0.1:", 15), 0);
	pthread_mutex_unlock(&fixture.server->lock);
	fixture_teardown(state);
}

/* Its last reference is gone. */
static void
mark_when_freed(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie)
{
	pthread_mutex_lock(&fixture.server->lock);
	assert_false(rpc_call_mark_cut(call, ERROR_RESOURCE_EXHAUSTED));
	assert_int_equal(call->cut_status, 0);
	pthread_mutex_unlock(&fixture.server->lock);
	fixture_finished(call, status, duration_ns, cookie);
}

static void
start_with(void (*finished)(struct rpc_call *, int, int64_t, void *))
{
	struct rpc_server_options options;

	memset(&fixture, 0, sizeof(fixture));
	fixture.pool = thread_pool_new(1);
	options = fixture_options("127.0.0.1:0");
	options.finished = finished;
	fixture_start(&options);
	fixture.channel = open_channel();
}

static void
a_call_that_is_being_freed_is_not_cut_off(void **state)
{
	struct error err;
	char out[8];

	start_with(mark_when_freed);
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "x",
			     &patience, out, sizeof(out), &err),
	    0);
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, 0);
	fixture_teardown(state);
}

#define CALLS 500
static atomic_bool cutter_stops;

static struct rpc_call *
mark_first(void)
{
	struct rpc_call *call;

	pthread_mutex_lock(&fixture.server->lock);
	TAILQ_FOREACH (call, &fixture.server->live, link)
		if (rpc_call_mark_cut(call, ERROR_RESOURCE_EXHAUSTED))
			break;
	pthread_mutex_unlock(&fixture.server->lock);
	return call;
}

static void *
cut_calls(void *argument)
{
	struct rpc_call *call;

	(void)argument;
	while (!atomic_load(&cutter_stops))
		if ((call = mark_first()) != NULL)
			rpc_call_cut(call, "cut off by the test");
	return NULL;
}

/* For the thread sanitizer, above all. */
static void
calls_may_end_while_they_are_cut_off(void **state)
{
	pthread_t cutter;
	struct error err;
	char out[8];

	start_with(fixture_finished);
	atomic_store(&cutter_stops, false);
	assert_int_equal(pthread_create(&cutter, NULL, cut_calls, NULL), 0);
	for (int i = 0; i < CALLS; i++)
		if (call_text(fixture.channel,
			i % 2 ? "/t.T/Unary" : "/t.T/Pool", "x", &patience, out,
			sizeof(out), &err) < 0)
			assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	wait_until(&fixture.finished, CALLS);
	atomic_store(&cutter_stops, true);
	assert_int_equal(pthread_join(cutter, NULL), 0);
	assert_int_equal(
	    fixture.by_status[0] + fixture.by_status[ERROR_RESOURCE_EXHAUSTED],
	    CALLS);
	fixture_teardown(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_call_that_waits_for_its_peer_gives_way),
	    cmocka_unit_test(any_other_call_ends_before_a_session),
	    cmocka_unit_test(without_need_nothing_is_ended),
	    cmocka_unit_test(it_sees_without_descriptors_that_are_free),
	    cmocka_unit_test(
		a_call_that_is_being_freed_has_its_peer_while_it_is_listed),
	    cmocka_unit_test(a_call_that_is_being_freed_is_not_cut_off),
	    cmocka_unit_test(calls_may_end_while_they_are_cut_off),
	};

	rpc_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	rpc_shutdown();
	return failed;
}
