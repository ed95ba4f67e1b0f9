/* SPDX-License-Identifier: Apache-2.0 */
/* A server that has no descriptors left for connections goes on listening. */
#include "tests/unit/rpc/fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define DESCRIPTORS 256
#define CONNECTIONS 400
#define TRIES 300

/* In a process of its own: opens them, and waits until the last one is closed
 * by the server, 20 s at most. */
static int
connect_often(uint16_t port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval patient = {.tv_sec = 20};
	char bytes[256];
	int last = -1;

	for (int i = 0; i < CONNECTIONS; i++) {
		last = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(last, (const struct sockaddr *)&address,
			sizeof(address)) == -1)
			return 1;
	}
	setsockopt(last, SOL_SOCKET, SO_RCVTIMEO, &patient, sizeof(patient));
	while (recv(last, bytes, sizeof(bytes), 0) > 0)
		continue;
	return errno == EAGAIN ? 2 : 0;
}

static void
connections_leave_descriptors_and_the_server_listens_on(void **state)
{
	const char *port = strrchr(rpc_server_address(fixture.server), ':') + 1;
	struct rlimit before, few;
	struct rpc_channel *channel;
	struct error err;
	char out[64];
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = DESCRIPTORS;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_NOFILE, &before);
		errno = 0;
		_exit(connect_often((uint16_t)atoi(port)));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* The descriptors of those that are gone are free soon, not at once. */
	channel = open_channel();
	for (int i = 0; status != 0 || i == 0; i++) {
		assert_in_range(i, 0, TRIES);
		status = call_text(channel, "/t.T/Unary", "still", &patience,
		    out, sizeof(out), &err);
		if (status != 0)
			usleep(100000);
	}
	rpc_channel_close(channel);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		connections_leave_descriptors_and_the_server_listens_on,
		fixture_setup, fixture_teardown),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
