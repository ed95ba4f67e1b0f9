/* SPDX-License-Identifier: Apache-2.0 */
/* How a server stops: what it waits for, how long, and what clients get. */
#include "tests/unit/rpc/fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static void
stop_ends_a_running_stream_with_unavailable(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/HoldBidi", &patience, &err);
	int64_t before = clock_monotonic_ms();

	(void)state;
	wait_until(&fixture.handled, 1);
	rpc_server_stop(fixture.server, 60000);
	assert_true(clock_monotonic_ms() - before < 30000);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_string_equal(err.text, "the server stops");
	rpc_stream_free(stream);
	rpc_server_free(fixture.server);
	fixture.server = NULL;
}

static void *
end_when_cancelled(void *argument)
{
	(void)argument;
	while (atomic_load(&fixture.cancelled) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	rpc_call_reply(argument, message_of("too late"));
	return NULL;
}

static void
stop_cancels_what_outlives_the_grace(void **state)
{
	struct error err;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Hold", &patience, &err);
	pthread_t thread;
	int64_t before;

	(void)state;
	assert_int_equal(rpc_stream_send(stream, message_of(""), &err), 0);
	wait_until(&fixture.handled, 1);
	/* The owner does not listen to "stopping". */
	pthread_create(&thread, NULL, end_when_cancelled,
	    atomic_exchange(&fixture.held, NULL));
	before = clock_monotonic_ms();
	rpc_server_stop(fixture.server, 200);
	assert_in_range(clock_monotonic_ms() - before, 190, 30000);
	pthread_join(thread, NULL);
	assert_int_equal(fixture.last_status, ERROR_UNAVAILABLE);
	rpc_stream_free(stream);
	rpc_server_free(fixture.server);
	fixture.server = NULL;
}

static void
stop_does_not_wait_for_the_next_question_of_a_dialogue(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &patience, &err);
	int64_t before;

	(void)state;
	assert_int_equal(rpc_stream_send(stream, message_of("x"), &err), 0);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), 1);
	rpc_message_free(message);
	before = clock_monotonic_ms();
	rpc_server_stop(fixture.server, 60000);
	assert_true(clock_monotonic_ms() - before < 30000);
	assert_int_equal(fixture.last_status, ERROR_UNAVAILABLE);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_stream_free(stream);
	rpc_server_free(fixture.server);
	fixture.server = NULL;
}

/* A connection by which nothing was ever said but that HTTP/2 is spoken. */
static int
silent_connection(void)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				      "\0\0\0\4\0\0\0\0\0"; /* SETTINGS */
	struct sockaddr_in address = {.sin_family = AF_INET};
	char answer[9];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)strtoul(
	    strrchr(rpc_server_address(fixture.server), ':') + 1, NULL, 10));
	assert_int_equal(
	    connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, preface, sizeof(preface) - 1),
	    (ssize_t)sizeof(preface) - 1);
	assert_int_equal(recv(fd, answer, sizeof(answer), MSG_WAITALL),
	    (ssize_t)sizeof(answer));
	return fd;
}

/* gRPC says goodbye to it and would wait 20 s for an answer. */
static void
stop_does_not_wait_for_a_peer_that_is_silent(void **state)
{
	int fd = silent_connection();
	int64_t before = clock_monotonic_ms();
	char rest[4096];

	(void)state;
	rpc_server_stop(fixture.server, 60000);
	assert_true(clock_monotonic_ms() - before < 15000);
	while (read(fd, rest, sizeof(rest)) > 0)
		continue;
	close(fd);
	rpc_server_free(fixture.server);
	fixture.server = NULL;
}

#define FACT(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FACT(stop_ends_a_running_stream_with_unavailable),
	    FACT(stop_cancels_what_outlives_the_grace),
	    FACT(stop_does_not_wait_for_the_next_question_of_a_dialogue),
	    FACT(stop_does_not_wait_for_a_peer_that_is_silent),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
