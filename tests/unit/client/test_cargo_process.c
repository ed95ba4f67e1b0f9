/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that run for somebody end when he does. */
#include "client/cargo_process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/thread.h"

static char *const bare[] = {(char[]){"PATH=/usr/bin:/bin"}, NULL};

static int
run(const char *script, int wanted_by, int64_t timeout_ms, struct error *err)
{
	const struct cargo_process process = {.directory = "/",
	    .environment = bare,
	    .timeout_ms = timeout_ms,
	    .wanted_by = wanted_by};
	char *const argv[] = {
	    (char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};

	return cargo_process_run(&process, argv, err);
}

static void
its_status_is_told(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(run("exit 0", -1, 60000, &err), 0);
	assert_int_equal(run("exit 7", -1, 60000, &err), 7);
	assert_int_equal(run("kill -TERM $$", -1, 60000, &err), 128 + SIGTERM);
	assert_int_equal(run("sleep 600", -1, 1, &err), -1);
	assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
}

static void
what_cannot_be_started_is_an_error(void **state)
{
	const struct cargo_process process = {.directory = "/",
	    .environment = bare,
	    .timeout_ms = 60000,
	    .wanted_by = -1};
	char *const argv[] = {(char[]){"/nonexistent/rustc"}, NULL};
	struct error err;

	(void)state;
	assert_int_equal(cargo_process_run(&process, argv, &err), -1);
	assert_non_null(strstr(err.text, "/nonexistent/rustc"));
}

static void
both_outputs_are_had(void **state)
{
	const struct cargo_process process = {.directory = "/usr",
	    .environment = bare,
	    .timeout_ms = 60000,
	    .wanted_by = -1};
	char *const argv[] = {(char[]){"sh"}, (char[]){"-c"},
	    (char[]){"pwd; echo bad >&2"}, NULL};
	struct buffer output, errors;
	struct error err;

	(void)state;
	buffer_init(&output, 1u << 20);
	buffer_init(&errors, 1u << 20);
	assert_int_equal(
	    cargo_process_capture(&process, argv, &output, &errors, &err), 0);
	assert_true(str_equal(buffer_str(&output), STR("/usr\n")));
	assert_true(str_equal(buffer_str(&errors), STR("bad\n")));
	buffer_clear(&output);
	buffer_clear(&errors);
}

static void
it_ends_when_nobody_wants_it(void **state)
{
	struct error err;
	int ends[2];

	(void)state;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(run("exit 3", ends[0], 60000, &err), 3);
	file_close(&ends[1]);
	assert_int_equal(run("sleep 600", ends[0], 600000, &err), -1);
	assert_int_equal(err.code, ERROR_CANCELLED);
	file_close(&ends[0]);
}

/* A parent that is killed, with a program under way. */
static void
what_it_says_is_read(void **state)
{
	const struct cargo_process process = {
	    .environment = bare, .timeout_ms = 60000, .wanted_by = -1};
	char *const fine[] = {
	    (char[]){"sh"}, (char[]){"-c"}, (char[]){"echo yes"}, NULL};
	char *const failing[] = {
	    (char[]){"sh"}, (char[]){"-c"}, (char[]){"echo no; exit 3"}, NULL};
	struct error err;
	char *text = cargo_process_read(&process, fine, &err);

	(void)state;
	assert_string_equal(text, "yes\n");
	free(text);
	assert_null(cargo_process_read(&process, failing, &err));
	assert_non_null(strstr(err.text, "status 3"));
}

/* Starts the script and waits for its end; it is never there. */
static _Noreturn void
be_parent(const char *script, bool of_cargo)
{
	char *const argv[] = {
	    (char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};
	struct error ignored;

	if (!of_cargo)
		_exit(run(script, -1, 600000, &ignored) == 0);
	_exit(cargo_process_wait(cargo_process_start(argv, bare, -1, &ignored),
		  &ignored) == 0);
}

static void
expect_end(bool of_cargo, int number)
{
	char path[] = "/tmp/toolroot-process-XXXXXX", script[100], text[32];
	int fd = mkstemp(path);
	pid_t parent;
	ssize_t got;
	int status;

	assert_int_not_equal(fd, -1);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	(void)snprintf(
	    script, sizeof(script), "echo $$ > %s; exec sleep 600", path);
	parent = fork();
	if (parent == 0)
		be_parent(script, of_cargo);
	do
		got = pread(fd, text, sizeof(text) - 1, 0);
	while (got <= 0 || text[got - 1] != '\n');
	text[got] = '\0';
	assert_int_equal(kill(parent, SIGKILL), 0);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	/* It is ours now. */
	assert_int_equal(waitpid((pid_t)strtol(text, NULL, 10), &status, 0),
	    strtol(text, NULL, 10));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == number);
	file_close(&fd);
	unlink(path);
}

static void
it_ends_with_its_parent(void **state)
{
	(void)state;
	expect_end(false, SIGKILL);
	/* Cargo may have something to put in order. */
	expect_end(true, SIGTERM);
}

/* --- a program that was just written -------------------------------------- */

#define STARTERS 3
#define PROGRAMS 60
#define MISSES 400 /* directories that are looked at before the program's */

static atomic_bool enough;

static void *
keep_starting(void *cookie)
{
	const struct cargo_process process = {.directory = "/",
	    .environment = bare,
	    .timeout_ms = 60000,
	    .wanted_by = -1};
	char *const argv[] = {(char[]){"true"}, NULL};
	struct error err;

	(void)cookie;
	while (!atomic_load(&enough))
		(void)cargo_process_run(&process, argv, &err);
	return NULL;
}

/* So that a child is long between our descriptors' copies and its program. */
static void
make_starts_slow(void)
{
	static char path[MISSES * 24 + 32];
	size_t len = 0;

	for (int i = 0; i < MISSES; i++)
		len += (size_t)snprintf(
		    path + len, sizeof(path) - len, "/nonexistent/%d:", i);
	(void)snprintf(path + len, sizeof(path) - len, "/usr/bin:/bin");
	assert_int_equal(setenv("PATH", path, 1), 0);
}

static void
write_program(const char *path)
{
	static const char program[] = "#!/bin/true\n";
	struct error err;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_int_not_equal(fd, -1);
	assert_int_equal(file_write(fd, program, sizeof(program) - 1, &err), 0);
	/* The starters have their turn, too. */
	usleep(1000);
	file_close(&fd);
	cargo_process_settle();
}

static void
what_was_written_can_be_executed(void **state)
{
	char path[] = "/tmp/toolroot-program-XXXXXX";
	char *const argv[] = {path, NULL};
	pthread_t starters[STARTERS];
	struct error err;
	int fd = mkstemp(path);
	int busy = 0;

	(void)state;
	assert_int_not_equal(fd, -1);
	file_close(&fd);
	unlink(path);
	make_starts_slow();
	for (int i = 0; i < STARTERS; i++)
		thread_start(&starters[i], keep_starting, NULL);
	for (int i = 0; i < PROGRAMS; i++) {
		pid_t process;

		write_program(path);
		if (posix_spawn(&process, path, NULL, NULL, argv, bare) != 0)
			busy++;
		else
			assert_int_equal(cargo_process_wait(process, &err), 0);
		unlink(path);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < STARTERS; i++)
		pthread_join(starters[i], NULL);
	assert_int_equal(busy, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(its_status_is_told),
	    cmocka_unit_test(what_cannot_be_started_is_an_error),
	    cmocka_unit_test(both_outputs_are_had),
	    cmocka_unit_test(what_it_says_is_read),
	    cmocka_unit_test(it_ends_when_nobody_wants_it),
	    cmocka_unit_test(it_ends_with_its_parent),
	    cmocka_unit_test(what_was_written_can_be_executed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
