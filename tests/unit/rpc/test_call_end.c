/* SPDX-License-Identifier: Apache-2.0 */
/* With what calls end whose client is gone: gRPC tells it in passing, when the
 * pollers, which these tests can hold, come to look at them. */
#include "tests/unit/rpc/fixture.h"

/* Another server, whose pollers the test can hold. */
static void
restart_with_pollers(size_t count)
{
	struct rpc_server_options options;

	fixture_teardown(NULL);
	memset(&fixture, 0, sizeof(fixture));
	fixture.pool = thread_pool_new(2);
	options = fixture_options("127.0.0.1:0");
	options.pollers = count;
	fixture_start(&options);
	fixture.channel = open_channel();
}

static struct rpc_stream *
open_stream(const char *path, int64_t timeout_ms)
{
	struct rpc_call_options options = {.timeout_ms = timeout_ms};
	struct error err;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, path, &options, &err);

	assert_non_null(stream);
	return stream;
}

#define SHORT_LIVED 20

/* The deadline of calls passes when gRPC has them, and the only poller is not
 * there to look at them. */
static void
a_call_that_ends_before_it_is_received_is_not_too_large(void **state)
{
	struct rpc_stream *first, *second, *streams[SHORT_LIVED];
	struct error err;

	(void)state;
	restart_with_pollers(1);
	first = open_stream("/t.T/Block", 60000);
	wait_until(&fixture.handled, 1);
	/* Arrives with those that follow, and is looked at before them. */
	second = open_stream("/t.T/Block", 60000);
	for (size_t i = 0; i < SHORT_LIVED; i++) {
		streams[i] = open_stream(
		    i % 2 == 0 ? "/t.T/Unary" : "/t.T/Collect", 400);
		if (i % 4 < 2)
			(void)rpc_stream_send(
			    streams[i], message_of("x"), &err);
	}
	fixture.let_go = 1;
	wait_until(&fixture.handled, 2);
	nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
	fixture.let_go = 2;
	for (size_t i = 0; i < SHORT_LIVED; i++)
		rpc_stream_free(streams[i]);
	rpc_stream_free(second);
	rpc_stream_free(first);
	/* However many of them the client got out in time. */
	rpc_server_stop(fixture.server, 60000);
	assert_true(fixture.by_status[ERROR_CANCELLED] > 0);
	assert_int_equal(fixture.by_status[ERROR_RESOURCE_EXHAUSTED], 0);
	rpc_server_free(fixture.server);
	fixture.server = NULL;
}

static void
an_answer_that_its_client_did_not_get_is_a_cancelled_call(void **state)
{
	struct rpc_stream *gone;
	struct error err;
	char out[8];

	(void)state;
	restart_with_pollers(2);
	gone = open_stream("/t.T/BlockUnary", 60000);
	assert_int_equal(rpc_stream_send(gone, message_of("x"), &err), 0);
	wait_until(&fixture.handled, 1);
	rpc_stream_free(gone);
	/* Over the same connection: gRPC has seen the other's end before. */
	assert_int_equal(call_text(fixture.channel, "/t.T/Pool", "p", &patience,
			     out, sizeof(out), &err),
	    0);
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, 0);
	fixture.let_go = 2;
	wait_until(&fixture.finished, 2);
	assert_int_equal(fixture.last_status, ERROR_CANCELLED);
}

#define FACT(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FACT(a_call_that_ends_before_it_is_received_is_not_too_large),
	    FACT(an_answer_that_its_client_did_not_get_is_a_cancelled_call),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
