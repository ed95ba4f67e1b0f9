/* SPDX-License-Identifier: Apache-2.0 */
/* The server and its calls over real sockets: who gets what answer, when a
 * handler runs and when it hears of a cancelled call. */
#include "tests/unit/rpc/fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void
unary_call_is_answered(void **state)
{
	struct error err;
	char out[64];

	(void)state;
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "hello",
			     &patience, out, sizeof(out), &err),
	    0);
	assert_string_equal(out, "hello");
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, 0);
}

static void
pool_thread_may_answer(void **state)
{
	struct error err;
	char out[64];

	(void)state;
	for (int i = 0; i < 200; i++) {
		assert_int_equal(call_text(fixture.channel, "/t.T/Pool", "p",
				     &patience, out, sizeof(out), &err),
		    0);
		assert_string_equal(out, "p");
	}
}

static void
pool_thread_may_leave_the_answer_to_a_poller(void **state)
{
	struct error err;
	char out[64];

	(void)state;
	for (int i = 0; i < 200; i++) {
		assert_int_equal(call_text(fixture.channel, "/t.T/Poller", "p",
				     &patience, out, sizeof(out), &err),
		    0);
		assert_string_equal(out, "p");
	}
	assert_int_equal(fixture.on_the_pool, 0);
}

static void
empty_request_is_a_request(void **state)
{
	struct error err;
	char out[64] = "x";

	(void)state;
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "", &patience,
			     out, sizeof(out), &err),
	    0);
	assert_string_equal(out, "");
	assert_int_equal(fixture.handled, 1);
}

static void
handler_sees_path_peer_metadata_and_deadline(void **state)
{
	struct rpc_metadata metadata = {"x-test-bin", {"\0\1\2", 3}};
	struct rpc_call_options options = {
	    .timeout_ms = 60000, .metadata = &metadata, .metadata_count = 1};
	struct error err;
	char out[200], *field;
	const char *path, *peer;

	(void)state;
	assert_int_equal(call_text(fixture.channel, "/t.T/Describe", "",
			     &options, out, sizeof(out), &err),
	    0);
	field = out;
	path = strsep(&field, "|");
	peer = strsep(&field, "|");
	assert_string_equal(path, "/t.T/Describe");
	assert_non_null(peer);
	assert_memory_equal(peer, "ipv4:127.0.0.1:", 15);
	assert_non_null(field);
	assert_string_equal(strsep(&field, "|"), "3");
	assert_non_null(field);
	assert_in_range(strtoll(field, &field, 10), 1, 60000);
	assert_string_equal(field, "|");
}

static void
unknown_method_is_unimplemented(void **state)
{
	struct error err;
	char out[64];

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(call_text(fixture.channel, "/t.T/Nothing", "",
				     &patience, out, sizeof(out), &err),
		    -1);
		assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
		assert_non_null(strstr(err.text, "/t.T/Nothing"));
	}
}

static void
oversized_request_does_not_reach_the_handler(void **state)
{
	struct rpc_message *request, *response;
	struct error err;
	char out[64];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		size_t size = MAX_RECEIVE + 1 + i * MAX_RECEIVE;

		request = rpc_message_new();
		rpc_message_add_take(request, xcalloc(size, 1), size);
		assert_int_equal(rpc_channel_call(fixture.channel, "/t.T/Unary",
				     request, &patience, &response, &err),
		    -1);
		assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
		assert_non_null(strstr(err.text, "1048576 bytes"));
		rpc_message_free(request);
	}
	wait_until(&fixture.finished, 5);
	assert_int_equal(fixture.by_status[ERROR_RESOURCE_EXHAUSTED], 5);
	assert_int_equal(fixture.handled, 0);
	/* And the method still waits for calls. */
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "small",
			     &patience, out, sizeof(out), &err),
	    0);
	assert_int_equal(fixture.handled, 1);
}

static void
oversized_stream_message_ends_the_call_as_cancelled(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Collect", &patience, &err);

	(void)state;
	message = rpc_message_new();
	rpc_message_add_take(
	    message, xcalloc(MAX_RECEIVE + 1, 1), MAX_RECEIVE + 1);
	(void)rpc_stream_send(stream, message, &err);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.text, "/t.T/Collect"));
	assert_non_null(strstr(err.text, "1048576 bytes"));
	rpc_stream_free(stream);
	wait_until(&fixture.handled, 1);
	assert_int_equal(fixture.cancelled, 1);
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, ERROR_RESOURCE_EXHAUSTED);
	assert_string_equal(last_text, err.text);
}

static void
a_request_that_never_comes_does_not_reach_the_handler(void **state)
{
	struct rpc_message *message;
	struct error err;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Unary", &patience, &err);

	(void)state;
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
	rpc_stream_free(stream);
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, ERROR_UNIMPLEMENTED);
	/* Nor does one of a client that goes away meanwhile, which is not the
	 * fault of its size. */
	stream =
	    rpc_stream_open(fixture.channel, "/t.T/Unary", &patience, &err);
	assert_int_equal(call_text(fixture.channel, "/t.T/Pool", "", &patience,
			     (char[8]){""}, 8, &err),
	    0);
	wait_until(&fixture.finished, 2);
	rpc_stream_free(stream);
	wait_until(&fixture.finished, 3);
	assert_int_equal(fixture.last_status, ERROR_CANCELLED);
	assert_int_equal(fixture.handled, 1);
}

static void
end_held_call(void)
{
	struct rpc_call *call = atomic_exchange(&fixture.held, NULL);

	assert_non_null(call);
	rpc_call_reply(call, message_of("late"));
}

static void
deadline_cancels_the_held_call(void **state)
{
	struct rpc_call_options options = {.timeout_ms = 100};
	struct error err;
	char out[64];

	(void)state;
	/* A slow machine may need longer to come to the handler. */
	do {
		assert_int_equal(call_text(fixture.channel, "/t.T/Hold", "",
				     &options, out, sizeof(out), &err),
		    -1);
		assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
		for (int i = 0; i < 1000 && fixture.handled == 0; i++)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		options.timeout_ms *= 4;
	} while (fixture.handled == 0 && options.timeout_ms < 60000);
	wait_until(&fixture.cancelled, 1);
	assert_true(rpc_call_cancelled(fixture.held));
	end_held_call();
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, ERROR_CANCELLED);
}

static void
client_cancel_reaches_the_held_call(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/HoldBidi", &patience, &err);

	(void)state;
	wait_until(&fixture.handled, 1);
	assert_false(rpc_call_cancelled(fixture.held));
	rpc_stream_cancel(stream);
	wait_until(&fixture.cancelled, 1);
	end_held_call();
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_CANCELLED);
	rpc_stream_free(stream);
}

static void
connection_lost_in_a_stream_is_a_cancel(void **state)
{
	struct error err;
	struct rpc_channel *channel = open_channel();
	struct rpc_stream *stream =
	    rpc_stream_open(channel, "/t.T/Collect", &patience, &err);

	(void)state;
	assert_int_equal(rpc_stream_send(stream, message_of("part"), &err), 0);
	rpc_stream_free(stream);
	rpc_channel_close(channel);
	wait_until(&fixture.handled, 1);
	assert_int_equal(fixture.cancelled, 1);
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, ERROR_CANCELLED);
}

static void
half_close_is_not_a_cancel(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Collect", &patience, &err);

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(
		    rpc_stream_send(stream, message_of("four"), &err), 0);
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), 1);
	assert_int_equal(rpc_message_size(message), 2); /* "40" */
	rpc_message_free(message);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), 0);
	rpc_stream_free(stream);
	assert_int_equal(fixture.cancelled, 0);
}

static void
early_reply_ends_an_upload_with_ok(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Early", &patience, &err);

	(void)state;
	for (int i = 0; i < 1000; i++)
		if (rpc_stream_send(stream, message_of("more"), &err) < 0)
			break;
	assert_int_equal(rpc_stream_receive(stream, &message, &err), 1);
	rpc_message_free(message);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), 0);
	rpc_stream_free(stream);
}

static void
no_callback_runs_after_the_end(void **state)
{
	struct error err;
	struct rpc_stream *streams[8];

	(void)state;
	/* One is there for sure before others may be gone before they are. */
	streams[0] =
	    rpc_stream_open(fixture.channel, "/t.T/Race", &patience, &err);
	wait_until(&fixture.handled, 1);
	rpc_stream_free(streams[0]);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 8; i++)
			streams[i] = rpc_stream_open(
			    fixture.channel, "/t.T/Race", &patience, &err);
		for (int i = 0; i < 8; i++) {
			if (i % 2 == 0)
				(void)rpc_stream_send(
				    streams[i], message_of("x"), &err);
			rpc_stream_free(streams[i]);
		}
	}
	/* How many reached the server before they were cancelled is open; when
	 * it has stopped, all of these have ended. */
	rpc_server_stop(fixture.server, 60000);
	assert_true(fixture.finished > 0);
	wait_until(&fixture.handled, fixture.finished);
	rpc_server_free(fixture.server);
	fixture.server = NULL;
}

static struct rpc_stream *
open_count(struct rpc_channel *channel, const char *request)
{
	struct error err;
	struct rpc_stream *stream =
	    rpc_stream_open(channel, "/t.T/Count", &patience, &err);

	assert_non_null(stream);
	assert_int_equal(rpc_stream_send(stream, message_of(request), &err), 0);
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	return stream;
}

static void
server_stream_arrives_whole(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream = open_count(fixture.channel, "100 10000");
	int messages = 0, rc;

	(void)state;
	while ((rc = rpc_stream_receive(stream, &message, &err)) == 1) {
		assert_int_equal(rpc_message_size(message), 10000);
		rpc_message_free(message);
		messages++;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(messages, 100);
	rpc_stream_free(stream);
}

static void
slow_reader_holds_the_sender_back(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream = open_count(fixture.channel, "1000 1000000");
	int before;

	(void)state;
	for (int i = 0; i < 60000 && fixture.sent == 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
	before = fixture.sent;
	assert_in_range(before, 1, 200); /* of 1,000 MB */
	for (int i = 0; i < 300; i++) {
		assert_int_equal(rpc_stream_receive(stream, &message, &err), 1);
		rpc_message_free(message);
	}
	assert_true(fixture.sent > before);
	/* Gone in the middle of a blocked send. */
	rpc_stream_free(stream);
	wait_until(&fixture.finished, 1);
	assert_int_equal(fixture.last_status, ERROR_CANCELLED);
}

static void
bidirectional_stream_echoes(void **state)
{
	struct error err;
	struct rpc_message *message;
	struct rpc_stream *stream =
	    rpc_stream_open(fixture.channel, "/t.T/Bidi", &patience, &err);

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(
		    rpc_stream_send(stream, message_of("ping"), &err), 0);
		assert_int_equal(rpc_stream_receive(stream, &message, &err), 1);
		assert_int_equal(rpc_message_size(message), 4);
		rpc_message_free(message);
	}
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), 0);
	rpc_stream_free(stream);
}

static void
status_details_arrive_within_the_metadata_limit(void **state)
{
	struct error err;
	char out[8];

	(void)state;
	assert_int_equal(call_text(fixture.channel, "/t.T/Details", "",
			     &patience, out, sizeof(out), &err),
	    -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_string_equal(err.text, "blobs missing");
	assert_int_equal(err.retry_delay_ms, 1500);
}

static void
taken_port_is_a_clear_error(void **state)
{
	struct error err;
	struct rpc_server_options options =
	    fixture_options(rpc_server_address(fixture.server));

	(void)state;
	assert_null(rpc_server_new(&options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, options.listen));
	assert_non_null(strstr(err.text, "Address already in use"));
}

static void
plain_text_beyond_loopback_is_refused(void **state)
{
	static const char *const refused[] = {"0.0.0.0:0", "[::]:0"};
	static const char *const malformed[] = {"nonsense", "127.0.0.1", ":80",
	    "127.0.0.1:99999", "unix:", "::1:0"};
	struct rpc_server_options options;
	struct rpc_server *server;
	struct error err;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		options = fixture_options(refused[i]);
		assert_null(rpc_server_new(&options, &err));
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(err.text, refused[i]));
	}
	for (size_t i = 0; i < 6; i++) {
		options = fixture_options(malformed[i]);
		assert_null(rpc_server_new(&options, &err));
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
	options = fixture_options("127.0.0.1:0");
	server = rpc_server_new(&options, &err);
	assert_non_null(server);
	rpc_server_free(server); /* never started */
}

static void
unix_socket_serves_and_is_not_stolen(void **state)
{
	char listen[64];
	struct rpc_server_options options;
	struct rpc_server *first;
	struct rpc_channel *channel;
	struct error err;
	char out[64];

	(void)state;
	snprintf(
	    listen, sizeof(listen), "unix:/tmp/rpc-test-%d.socket", getpid());
	options = fixture_options(listen);
	first = rpc_server_new(&options, &err);
	assert_non_null(first);
	rpc_server_start(first);
	assert_string_equal(rpc_server_address(first), listen);
	assert_null(rpc_server_new(&options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	channel = rpc_channel_open(
	    &(struct rpc_channel_options){.address = listen}, &err);
	assert_int_equal(call_text(channel, "/t.T/Unary", "unix", &patience,
			     out, sizeof(out), &err),
	    0);
	assert_string_equal(out, "unix");
	rpc_channel_close(channel);
	rpc_server_stop(first, 1000);
	rpc_server_free(first);
	assert_int_equal(access(listen + 5, F_OK), -1);
}

static void
local_socket_is_served_beside_and_private(void **state)
{
	char path[64], address[80];
	struct rpc_server_options options;
	struct rpc_server *second;
	struct rpc_channel *channel;
	struct stat status;
	struct error err;
	char out[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/rpc-local-%d.socket", getpid());
	snprintf(address, sizeof(address), "unix:%s", path);
	options = fixture_options("127.0.0.1:0");
	options.local_socket = path;
	second = rpc_server_new(&options, &err);
	assert_non_null(second);
	rpc_server_start(second);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	channel = rpc_channel_open(
	    &(struct rpc_channel_options){.address = address}, &err);
	assert_int_equal(call_text(channel, "/t.T/Unary", "local", &patience,
			     out, sizeof(out), &err),
	    0);
	rpc_channel_close(channel);
	rpc_server_stop(second, 1000);
	rpc_server_free(second);
}

static void
thousand_idle_connections_do_no_harm(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	static int sockets[1000];
	struct error err;
	char out[64];

	(void)state;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)strtoul(
	    strrchr(rpc_server_address(fixture.server), ':') + 1, NULL, 10));
	for (size_t i = 0; i < 1000; i++) {
		sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(
		    connect(sockets[i], (struct sockaddr *)&address,
			sizeof(address)),
		    0);
	}
	assert_int_equal(call_text(fixture.channel, "/t.T/Unary", "still",
			     &patience, out, sizeof(out), &err),
	    0);
	for (size_t i = 0; i < 1000; i++)
		close(sockets[i]);
}

#define FACT(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FACT(unary_call_is_answered),
	    FACT(pool_thread_may_answer),
	    FACT(pool_thread_may_leave_the_answer_to_a_poller),
	    FACT(empty_request_is_a_request),
	    FACT(handler_sees_path_peer_metadata_and_deadline),
	    FACT(unknown_method_is_unimplemented),
	    FACT(oversized_request_does_not_reach_the_handler),
	    FACT(oversized_stream_message_ends_the_call_as_cancelled),
	    FACT(a_request_that_never_comes_does_not_reach_the_handler),
	    FACT(deadline_cancels_the_held_call),
	    FACT(client_cancel_reaches_the_held_call),
	    FACT(connection_lost_in_a_stream_is_a_cancel),
	    FACT(half_close_is_not_a_cancel),
	    FACT(early_reply_ends_an_upload_with_ok),
	    FACT(no_callback_runs_after_the_end),
	    FACT(server_stream_arrives_whole),
	    FACT(slow_reader_holds_the_sender_back),
	    FACT(bidirectional_stream_echoes),
	    FACT(status_details_arrive_within_the_metadata_limit),
	    FACT(taken_port_is_a_clear_error),
	    FACT(plain_text_beyond_loopback_is_refused),
	    FACT(unix_socket_serves_and_is_not_stolen),
	    FACT(local_socket_is_served_beside_and_private),
	    FACT(thousand_idle_connections_do_no_harm),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
