/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rpc/ costs over bare gRPC core: unary echoes and streams, the same
 * client against a minimal server on grpc/grpc.h and against ours, next to raw
 * TCP. Servers are children (this program run again), so that their processor
 * time can be told apart. Prints; asserts nothing.
 *
 *	bench_rpc_echo [seconds per figure, default 1]
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"

#define LARGEST (1u << 20)
#define STREAM_BYTES (1ull << 30)

extern char **environ;
static char payload[LARGEST];

static void
keep(void *cookie)
{
	(void)cookie;
}

static void
stop_here(const char *what)
{
	perror(what);
	exit(1);
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
		free(left);
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
	uint64_t *left = xmalloc(sizeof(*left));

	*left = STREAM_BYTES;
	rpc_call_set_state(call, left);
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

/* The child: prints its port, serves until its input ends. */
static int
serve(const char *which)
{
	bool bare = strcmp(which, "bare") == 0;
	pthread_t thread;
	char byte;

	rpc_init();
	printf("%d\n", bare ? bare_start() : ours_start());
	fflush(stdout);
	if (bare)
		pthread_create(&thread, NULL, bare_main, NULL);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	_exit(0);
}

struct child {
	pid_t pid;
	int port;
	int control; /* closing it ends the child */
};

static struct child
start_child(const char *which)
{
	posix_spawn_file_actions_t actions;
	char *argv[] = {
	    "bench_rpc_echo", "--serve", (char *)(uintptr_t)which, NULL};
	int in[2], out[2];
	struct child child;
	FILE *answers;

	if (pipe2(in, O_CLOEXEC) == -1 || pipe2(out, O_CLOEXEC) == -1)
		stop_here("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	if (posix_spawn(&child.pid, "/proc/self/exe", &actions, NULL, argv,
		environ) != 0)
		stop_here("spawn");
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	child.control = in[1];
	answers = fdopen(out[0], "r");
	if (answers == NULL || fscanf(answers, "%d", &child.port) != 1)
		stop_here("server");
	fclose(answers);
	return child;
}

/* Its processor time in ns. */
static int64_t
end_child(struct child child)
{
	struct rusage used;

	close(child.control);
	if (wait4(child.pid, NULL, 0, &used) == -1)
		stop_here("wait4");
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000 +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
}

/* --- the client, on gRPC core ----------------------------------------------
 */

struct client {
	grpc_channel *channel;
	grpc_completion_queue *queue;
};

struct client_call {
	grpc_call *call;
	grpc_byte_buffer *received;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice text;
};

static struct client
connect_client(int port)
{
	grpc_arg args[] = {
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
		.value.integer = 1},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_ENABLE_RETRIES},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_ENABLE_CHANNELZ},
	};
	grpc_channel_args list = {3, args};
	grpc_channel_credentials *credentials =
	    grpc_insecure_credentials_create();
	char target[32];
	struct client client;

	snprintf(target, sizeof(target), "127.0.0.1:%d", port);
	client.channel = grpc_channel_create(target, credentials, &list);
	client.queue = grpc_completion_queue_create_for_next(NULL);
	grpc_channel_credentials_release(credentials);
	return client;
}

static void
wait_event(struct client *client)
{
	grpc_completion_queue_next(
	    client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static void
open_call(struct client *client, struct client_call *call, int method)
{
	call->call = grpc_channel_create_call(client->channel, NULL, 0,
	    client->queue, grpc_slice_from_static_string(paths[method]), NULL,
	    gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	call->received = NULL;
	grpc_metadata_array_init(&call->initial);
	grpc_metadata_array_init(&call->trailing);
}

static void
close_call(struct client_call *call)
{
	if (call->status != GRPC_STATUS_OK) {
		fprintf(stderr, "status %d\n", (int)call->status);
		exit(1);
	}
	if (call->received != NULL)
		grpc_byte_buffer_destroy(call->received);
	grpc_slice_unref(call->text);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&call->trailing);
	grpc_call_unref(call->call);
}

/* Operations for the whole of a unary call; a stream takes some of them. */
static void
call_ops(struct client_call *call, grpc_byte_buffer *message, grpc_op ops[6])
{
	static const grpc_op_type types[6] = {GRPC_OP_SEND_INITIAL_METADATA,
	    GRPC_OP_RECV_INITIAL_METADATA, GRPC_OP_RECV_STATUS_ON_CLIENT,
	    GRPC_OP_SEND_MESSAGE, GRPC_OP_SEND_CLOSE_FROM_CLIENT,
	    GRPC_OP_RECV_MESSAGE};

	for (int i = 0; i < 6; i++)
		ops[i] = (grpc_op){.op = types[i]};
	ops[1].data.recv_initial_metadata.recv_initial_metadata =
	    &call->initial;
	ops[2].data.recv_status_on_client.trailing_metadata = &call->trailing;
	ops[2].data.recv_status_on_client.status = &call->status;
	ops[2].data.recv_status_on_client.status_details = &call->text;
	ops[3].data.send_message.send_message = message;
	ops[5].data.recv_message.recv_message = &call->received;
}

static void
start_echo(struct client *client, struct client_call *call)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(payload, 76);
	grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_op ops[6];

	open_call(client, call, ECHO);
	call_ops(call, message, ops);
	grpc_call_start_batch(call->call, ops, 6, call, NULL);
	grpc_slice_unref(slice);
	grpc_byte_buffer_destroy(message);
}

/* RPCs per second with this many in flight. */
static double
run_echo(
    struct client *client, size_t in_flight, double seconds, int64_t *calls)
{
	struct client_call *all = xcalloc(in_flight, sizeof(*all));
	int64_t start = clock_monotonic_ns(), now = start, done = 0;
	int64_t end = start + (int64_t)(seconds * 1e9);

	for (size_t i = 0; i < in_flight; i++)
		start_echo(client, &all[i]);
	for (size_t running = in_flight; running > 0;) {
		grpc_event event = grpc_completion_queue_next(
		    client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

		close_call(event.tag);
		done++;
		now = clock_monotonic_ns();
		if (now < end)
			start_echo(client, event.tag);
		else
			running--;
	}
	free(all);
	*calls += done;
	return (double)done * 1e9 / (double)(now - start);
}

/* MiB per second. */
static double
run_read(struct client *client, size_t size)
{
	struct client_call call;
	grpc_byte_buffer *message = by_reference(size);
	grpc_op ops[6];
	int64_t start = clock_monotonic_ns();

	open_call(client, &call, READ);
	call_ops(&call, message, ops);
	grpc_call_start_batch(call.call, ops, 3, &call, NULL);
	grpc_call_start_batch(call.call, ops + 3, 3, &call.received, NULL);
	for (;;) {
		wait_event(client);
		if (call.received == NULL)
			break;
		grpc_byte_buffer_destroy(call.received);
		call.received = NULL;
		grpc_call_start_batch(
		    call.call, ops + 5, 1, &call.received, NULL);
	}
	wait_event(client);
	close_call(&call);
	grpc_byte_buffer_destroy(message);
	return (double)STREAM_BYTES / 1048576 * 1e9 /
	       (double)(clock_monotonic_ns() - start);
}

static double
run_write(struct client *client, size_t size)
{
	struct client_call call;
	grpc_op ops[6];
	int64_t start = clock_monotonic_ns();

	open_call(client, &call, WRITE);
	call_ops(&call, NULL, ops);
	grpc_call_start_batch(call.call, ops, 3, &call, NULL);
	for (uint64_t sent = 0; sent < STREAM_BYTES; sent += size) {
		grpc_byte_buffer *message = by_reference(size);

		ops[3].data.send_message.send_message = message;
		grpc_call_start_batch(call.call, ops + 3, 1, message, NULL);
		wait_event(client);
		grpc_byte_buffer_destroy(message);
	}
	grpc_call_start_batch(call.call, ops + 4, 2, &call.received, NULL);
	wait_event(client);
	wait_event(client);
	close_call(&call);
	return (double)STREAM_BYTES / 1048576 * 1e9 /
	       (double)(clock_monotonic_ns() - start);
}

/* --- raw TCP ---------------------------------------------------------------
 */

static int
tcp_pair(int *other)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int one = 1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, len) == -1 ||
	    listen(listener, 1) == -1 ||
	    getsockname(listener, (struct sockaddr *)&address, &len) == -1 ||
	    connect(fd, (struct sockaddr *)&address, len) == -1 ||
	    (*other = accept(listener, NULL, NULL)) == -1)
		stop_here("tcp");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*other, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
	return fd;
}

static void *
tcp_echo(void *argument)
{
	char bytes[100];
	int fd = *(int *)argument;
	ssize_t got;

	while ((got = read(fd, bytes, sizeof(bytes))) > 0)
		if (write(fd, bytes, (size_t)got) == -1)
			break;
	return NULL;
}

static void *
tcp_sink(void *argument)
{
	static char bytes[65536];

	while (read(*(int *)argument, bytes, sizeof(bytes)) > 0)
		continue;
	return NULL;
}

static double
run_ping_pong(double seconds)
{
	int other, fd = tcp_pair(&other);
	int64_t start = clock_monotonic_ns(), now, count = 0;
	char bytes[100] = "";
	pthread_t thread;

	pthread_create(&thread, NULL, tcp_echo, &other);
	do {
		if (write(fd, bytes, sizeof(bytes)) == -1 ||
		    recv(fd, bytes, sizeof(bytes), MSG_WAITALL) == -1)
			stop_here("ping-pong");
		count++;
		now = clock_monotonic_ns();
	} while ((double)(now - start) < seconds * 1e9);
	close(fd);
	pthread_join(thread, NULL);
	close(other);
	return (double)count * 1e9 / (double)(now - start);
}

static double
run_tcp(void)
{
	int other, fd = tcp_pair(&other);
	int64_t start = clock_monotonic_ns();
	pthread_t thread;

	pthread_create(&thread, NULL, tcp_sink, &other);
	for (uint64_t sent = 0; sent < STREAM_BYTES;) {
		ssize_t put = write(fd, payload, 65536);

		if (put == -1)
			stop_here("tcp");
		sent += (uint64_t)put;
	}
	close(fd);
	pthread_join(thread, NULL);
	close(other);
	return (double)STREAM_BYTES / 1048576 * 1e9 /
	       (double)(clock_monotonic_ns() - start);
}

/* --- figures ---------------------------------------------------------------
 */

#define ROUNDS 3
enum { BARE, OURS, SIDES };
static const char *const sides[SIDES] = {"bare", "ours"};

static void
show(const char *what, const double best[SIDES], const char *unit)
{
	printf("%-28s bare %9.0f  ours %9.0f %s  ratio %.2f\n", what,
	    best[BARE], best[OURS], unit, best[OURS] / best[BARE]);
}

static void
show_cpu(const char *what, const double least[SIDES])
{
	printf("%-28s bare %9.1f  ours %9.1f us     ratio %.2f\n", what,
	    least[BARE], least[OURS], least[BARE] / least[OURS]);
}

/* The best of some rounds, the sides in turn: other work on the machine only
 * ever slows. */
static void
compare_echo(size_t in_flight, double seconds)
{
	double best[SIDES] = {0, 0}, cpu[SIDES] = {1e18, 1e18};
	char what[64];

	for (int i = 0; i < ROUNDS * SIDES; i++) {
		int side = i % SIDES;
		struct child child = start_child(sides[side]);
		struct client client = connect_client(child.port);
		int64_t calls = 0;
		double rate, cost;

		run_echo(&client, in_flight, 0.1, &calls);
		rate = run_echo(&client, in_flight, seconds, &calls);
		cost = (double)end_child(child) / 1e3 / (double)calls;
		best[side] = rate > best[side] ? rate : best[side];
		cpu[side] = cost < cpu[side] ? cost : cpu[side];
		grpc_channel_destroy(client.channel);
	}
	snprintf(what, sizeof(what), "unary, %zu in flight", in_flight);
	show(what, best, "RPC/s");
	show_cpu("  server CPU per RPC", cpu);
}

static void
compare_stream(bool write_it, size_t size)
{
	double best[SIDES] = {0, 0}, cpu[SIDES] = {1e18, 1e18};
	char what[64];

	for (int i = 0; i < ROUNDS * SIDES; i++) {
		int side = i % SIDES;
		struct child child = start_child(sides[side]);
		struct client client = connect_client(child.port);
		double rate = write_it ? run_write(&client, size)
				       : run_read(&client, size);
		double cost = (double)end_child(child) / 1e3 /
			      ((double)STREAM_BYTES / 1048576);

		best[side] = rate > best[side] ? rate : best[side];
		cpu[side] = cost < cpu[side] ? cost : cpu[side];
		grpc_channel_destroy(client.channel);
	}
	snprintf(what, sizeof(what), "%s, %zu KiB messages",
	    write_it ? "Write" : "Read", size / 1024);
	show(what, best, "MiB/s");
	show_cpu("  server CPU per MiB", cpu);
}

int
main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;

	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		return serve(argv[2]);
	rpc_init();
	printf("raw TCP: ping-pong %.0f/s, 64 KiB writes %.0f MiB/s\n",
	    run_ping_pong(seconds), run_tcp());
	for (size_t in_flight = 1; in_flight <= 64; in_flight *= 8)
		compare_echo(in_flight, seconds);
	compare_stream(false, 16384);
	compare_stream(false, LARGEST);
	compare_stream(true, 16384);
	compare_stream(true, LARGEST);
	return 0;
}
