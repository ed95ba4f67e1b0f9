/* SPDX-License-Identifier: Apache-2.0 */
/* Channels and streams of a client: retries, deadlines, two threads on one
 * stream, cancelling. */
#include "tests/unit/rpc/fixture.h"

#include <pthread.h>

static void
retries_follow_the_servers_advice(void **state)
{
	struct rpc_call_options options = {.timeout_ms = 60000, .retries = 1};
	struct error err;
	char out[16];
	int64_t start = clock_monotonic_ms();

	(void)state;
	/* Longer than the pause that we would choose. */
	fixture.failures_left = 1;
	fixture.advice_ms = 700;
	assert_int_equal(call_text(fixture.channel, "/t.T/Flaky", "again",
			     &options, out, sizeof(out), &err),
	    0);
	assert_string_equal(out, "again");
	assert_true(clock_monotonic_ms() - start >= 700);
	assert_int_equal(fixture.handled, 1);
}

static void
error_arrives_when_retries_are_used_up(void **state)
{
	struct rpc_call_options options = {.timeout_ms = 60000, .retries = 2};
	struct error err;
	char out[16];

	(void)state;
	fixture.failures_left = 10;
	fixture.advice_ms = 20;
	assert_int_equal(call_text(fixture.channel, "/t.T/Flaky", "", &options,
			     out, sizeof(out), &err),
	    -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_int_equal(err.retry_delay_ms, 20);
	assert_string_equal(err.text, "not now: 100% \xc3\xa4\n");
	assert_int_equal(fixture.failures_left, 7);
}

static void
absent_server_is_unavailable_within_the_deadline(void **state)
{
	struct rpc_call_options options = {.timeout_ms = 700, .retries = 1000};
	struct error err;
	struct rpc_channel *channel = rpc_channel_open(
	    &(struct rpc_channel_options){.address = "grpc://127.0.0.1:1"},
	    &err);
	char out[16];
	int64_t start;

	(void)state;
	/* The last try of a slow machine may come to the deadline. */
	do {
		start = clock_monotonic_ms();
		assert_int_equal(call_text(channel, "/t.T/Unary", "", &options,
				     out, sizeof(out), &err),
		    -1);
		assert_true(clock_monotonic_ms() - start < 30000);
		options.timeout_ms *= 4;
	} while (
	    err.code == ERROR_DEADLINE_EXCEEDED && options.timeout_ms < 30000);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_channel_close(channel);
}

static void
addresses_of_another_form_are_refused(void **state)
{
	static const char *const bad[] = {"", "host:1", "http://host:1",
	    "grpc://", "grpc://host", "grpc://:80", "grpc://h:1/path", "unix:"};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(rpc_channel_open(
		    &(struct rpc_channel_options){.address = bad[i]}, &err));
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
}

static void
certificates_beside_plain_text_are_refused(void **state)
{
	struct rpc_channel_options options = {
	    .address = "grpc://127.0.0.1:1", .tls_ca = "ca.pem"};
	struct rpc_channel *channel;
	struct error err;

	(void)state;
	assert_null(rpc_channel_open(&options, &err));
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(err.text, "--tls-ca"));
	assert_non_null(strstr(err.text, "grpcs://"));
	options.tls_ca = NULL;
	options.tls_key = "me.key";
	assert_null(rpc_channel_open(&options, &err));
	assert_non_null(strstr(err.text, "--tls-key"));
	/* Taken back, and where nobody else can listen. */
	options.tls_key = "";
	channel = rpc_channel_open(&options, &err);
	assert_non_null(channel);
	rpc_channel_close(channel);
	options.tls_key = "me.key";
	options.address = "unix:/nowhere";
	channel = rpc_channel_open(&options, &err);
	assert_non_null(channel);
	rpc_channel_close(channel);
}

static void
bad_metadata_is_refused(void **state)
{
	struct rpc_metadata metadata[] = {
	    {"good", STR("yes")}, {"Bad Key", STR("x")}};
	struct rpc_call_options options = {
	    .timeout_ms = 1000, .metadata = metadata, .metadata_count = 2};
	struct error err;
	char out[8];

	(void)state;
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "", &options,
			     out, sizeof(out), &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_null(
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &options, &err));
}

#define ROUNDS 2000

static void *
send_many(void *stream)
{
	struct error err;

	for (int i = 0; i < ROUNDS; i++)
		if (rpc_stream_send(stream, message_of("x"), &err) < 0)
			return stream;
	return rpc_stream_half_close(stream, &err) < 0 ? stream : NULL;
}

static void
one_thread_sends_while_another_receives(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &patience, &err);
	pthread_t thread;
	void *failed;
	int received = 0, rc;

	(void)state;
	pthread_create(&thread, NULL, send_many, stream);
	while ((rc = rpc_stream_receive(stream, &message, &err)) == 1) {
		rpc_message_free(message);
		received++;
	}
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(rc, 0);
	assert_int_equal(received, ROUNDS);
	rpc_stream_free(stream);
}

static void *
cancel_soon(void *stream)
{
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	rpc_stream_cancel(stream);
	return NULL;
}

static void
cancel_from_another_thread_wakes_the_receiver(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_call_options forever = {.timeout_ms = 0};
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &forever, &err);
	pthread_t thread;

	(void)state;
	pthread_create(&thread, NULL, cancel_soon, stream);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_CANCELLED);
	pthread_join(thread, NULL);
	assert_int_equal(rpc_stream_send(stream, message_of("x"), &err), -1);
	/* The same answer as often as one asks. */
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_CANCELLED);
	rpc_stream_free(stream);
}

static void
a_silent_server_is_not_waited_for(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_call_options options = {.timeout_ms = 0, .silence_ms = 100};
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &options, &err);

	(void)state;
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
	assert_non_null(strstr(err.text, "silent"));
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
	rpc_stream_free(stream);
}

static void
stream_deadline_ends_it(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_call_options brief = {.timeout_ms = 100};
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &brief, &err);

	(void)state;
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
	rpc_stream_free(stream);
	rpc_stream_free(NULL);
}

static void *
call_often(void *argument)
{
	static const char *const paths[] = {
	    "/t.T/Unary", "/t.T/Pool", "/t.T/Poller"};
	struct error err;
	char out[16];

	(void)argument;
	for (int i = 0; i < 200; i++)
		if (call_text(fixture.channel, paths[i % 3], "many", &patience,
			out, sizeof(out), &err) < 0)
			return argument;
	return NULL;
}

static void
many_threads_share_a_channel(void **state)
{
	pthread_t threads[8];
	void *failed;

	(void)state;
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, call_often, threads);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	wait_until(&fixture.finished, 1600);
}

#define FACT(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FACT(retries_follow_the_servers_advice),
	    FACT(error_arrives_when_retries_are_used_up),
	    FACT(absent_server_is_unavailable_within_the_deadline),
	    FACT(addresses_of_another_form_are_refused),
	    FACT(certificates_beside_plain_text_are_refused),
	    FACT(bad_metadata_is_refused),
	    FACT(one_thread_sends_while_another_receives),
	    FACT(cancel_from_another_thread_wakes_the_receiver),
	    FACT(a_silent_server_is_not_waited_for),
	    FACT(stream_deadline_ends_it),
	    FACT(many_threads_share_a_channel),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
