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
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/echo_servers.h"
#include "tests/bench/load_client.h"

extern char **environ;

static void
stop_here(const char *what)
{
	perror(what);
	exit(1);
}

/* --- servers as children ---------------------------------------------------
 */

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

static void
end_child(struct child child)
{
	close(child.control);
	if (waitpid(child.pid, NULL, 0) == -1)
		stop_here("waitpid");
}

static void
connect_child(struct load_client *client, const struct child *child)
{
	char address[32];

	snprintf(address, sizeof(address), "127.0.0.1:%d", child->port);
	load_open(client, address, child->pid);
}

/* --- the client ------------------------------------------------------------
 */

static grpc_byte_buffer *
echo_request(size_t number, void *cookie)
{
	(void)number;
	(void)cookie;
	return by_reference(76);
}

/* In MiB per second. */
static double
stream_rate(int64_t start)
{
	return (double)STREAM_BYTES / 1048576 * 1e9 /
	       (double)(clock_monotonic_ns() - start);
}

static double
run_read(struct load_client *client, size_t size)
{
	int64_t start = clock_monotonic_ns();
	struct load_stream stream;

	load_stream_open(&stream, client, paths[READ]);
	load_stream_send(&stream, by_reference(size), true);
	while (load_stream_receive(&stream))
		continue;
	load_stream_close(&stream);
	return stream_rate(start);
}

static double
run_write(struct load_client *client, size_t size)
{
	int64_t start = clock_monotonic_ns();
	struct load_stream stream;

	load_stream_open(&stream, client, paths[WRITE]);
	for (uint64_t sent = 0; sent < STREAM_BYTES; sent += size)
		load_stream_send(
		    &stream, by_reference(size), sent + size >= STREAM_BYTES);
	if (!load_stream_receive(&stream))
		stop_here("no answer");
	load_stream_close(&stream);
	return stream_rate(start);
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
	return stream_rate(start);
}

/* --- figures ---------------------------------------------------------------
 */

#define ROUNDS 3
#define CALLS_MAX 4000000
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
	struct load_run run = {.path = paths[ECHO],
	    .in_flight = in_flight,
	    .count = CALLS_MAX,
	    .request = echo_request};
	char what[64];

	for (int i = 0; i < ROUNDS * SIDES; i++) {
		int side = i % SIDES;
		struct child child = start_child(sides[side]);
		struct load_figures figures;
		struct load_client client;

		connect_child(&client, &child);
		run.seconds = 0.1;
		load_many(&client, &run, &figures);
		run.seconds = seconds;
		load_many(&client, &run, &figures);
		if (figures.rate > best[side])
			best[side] = figures.rate;
		if (figures.cpu_us < cpu[side])
			cpu[side] = figures.cpu_us;
		load_close(&client);
		end_child(child);
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
		struct load_client client;
		double rate, cost;

		connect_child(&client, &child);
		cost = (double)-load_server_cpu(&client);
		rate = write_it ? run_write(&client, size)
				: run_read(&client, size);
		cost += (double)load_server_cpu(&client);
		cost /= 1e3 * (double)STREAM_BYTES / 1048576;
		best[side] = rate > best[side] ? rate : best[side];
		cpu[side] = cost < cpu[side] ? cost : cpu[side];
		load_close(&client);
		end_child(child);
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
