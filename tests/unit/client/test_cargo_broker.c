/* SPDX-License-Identifier: Apache-2.0 */
/* The socket of a build: where it is, and what happens without descriptors. */
#include "client/cargo_broker.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_message.h"
#include "client/cargo_session.h"
#include "client/client_options.h"

struct fixture {
	char cache[64];
	char function[8];
	struct client_options client;
	struct cargo_session *session;
};

static int
set_up(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));
	struct cargo_session_options options = {.client = &fixture->client};
	struct error err;

	strcpy(fixture->cache, "/tmp/toolroot-broker-XXXXXX");
	options.cache = mkdtemp(fixture->cache);
	assert_non_null(options.cache);
	strcpy(fixture->function, "sha256");
	fixture->client.digest_function = fixture->function;
	fixture->session = cargo_session_open(&options, &err);
	assert_non_null(fixture->session);
	*state = fixture;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	cargo_session_close(fixture->session);
	assert_int_equal(file_remove_tree(fixture->cache, &err), 0);
	free(fixture);
	return 0;
}

static void
a_place_without_room_for_a_socket_is_not_taken(void **state)
{
	const struct fixture *fixture = *state;
	char *base = xasprintf("%s/%0*d", fixture->cache, 100, 0);
	struct cargo_broker *broker;
	struct error err;

	assert_int_equal(file_make_directories(base, &err), 0);
	assert_int_equal(setenv("XDG_RUNTIME_DIR", base, 1), 0);
	broker = cargo_broker_start(fixture->session, &err);
	assert_non_null(broker);
	assert_int_equal(strncmp(cargo_broker_address(broker), "/tmp/", 5), 0);
	assert_true(cargo_broker_stop(broker));
	assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
	free(base);
}

static void
connect_to(const struct cargo_broker *broker, int fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strncpy(address.sun_path, cargo_broker_address(broker),
	    sizeof(address.sun_path) - 1);
	assert_int_equal(
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
}

static double
processor_seconds(void)
{
	struct timespec used;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* It would take all of a processor. */
static void
without_descriptors_it_waits(void **state)
{
	const struct fixture *fixture = *state;
	const struct timespec pause = {.tv_sec = 1};
	struct rlimit before, none;
	struct cargo_broker *broker;
	struct error err;
	double used;
	int fd;

	broker = cargo_broker_start(fixture->session, &err);
	assert_non_null(broker);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_not_equal(fd, -1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	connect_to(broker, fd);
	used = processor_seconds();
	assert_int_equal(nanosleep(&pause, NULL), 0);
	used = processor_seconds() - used;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(used < 0.5);
	file_close(&fd);
	assert_true(cargo_broker_stop(broker));
}

static void
a_shim_that_is_gone_is_seen(void **state)
{
	struct cargo_message_call call = {.caller = -1};
	int ends[2];

	(void)state;
	assert_true(cargo_message_is_awaited(&call));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	call.caller = ends[0];
	assert_true(cargo_message_is_awaited(&call));
	file_close(&ends[1]);
	assert_false(cargo_message_is_awaited(&call));
	file_close(&ends[0]);
}

/* Last: the session is stopped with the broker. */
static void
nothing_is_put_in_place_after_the_end(void **state)
{
	const struct fixture *fixture = *state;
	struct cargo_broker *broker;
	struct error err;

	broker = cargo_broker_start(fixture->session, &err);
	assert_non_null(broker);
	assert_true(cargo_session_begin_put(fixture->session));
	cargo_session_end_put(fixture->session);
	assert_true(cargo_broker_stop(broker));
	assert_false(cargo_session_begin_put(fixture->session));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		a_place_without_room_for_a_socket_is_not_taken, set_up,
		tear_down),
	    cmocka_unit_test_setup_teardown(
		without_descriptors_it_waits, set_up, tear_down),
	    cmocka_unit_test(a_shim_that_is_gone_is_seen),
	    cmocka_unit_test_setup_teardown(
		nothing_is_put_in_place_after_the_end, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
