/* SPDX-License-Identifier: Apache-2.0 */
/* A shell in the compiler's place: when it is to be run again, plainly. */
#include "client/cargo_local.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_message.h"

#define NOTICE(file) \
	"echo '{\"$message_type\":\"artifact\",\"artifact\":\"" file \
	"\"}' >&2; "
#define FAIL "echo 'No such file or directory' >&2; exit 3"

static int
run(const char *script, int *status)
{
	struct cargo_message_place place = {.directory = NULL};
	struct error err;
	int rc;

	place.directory = xstrdup("/");
	cargo_strings_add(&place.arguments, "/bin/sh");
	cargo_strings_add(&place.arguments, "-c");
	cargo_strings_add(&place.arguments, script);
	cargo_strings_end(&place.environment);
	rc = cargo_local_run(&place, status, &err);
	free(place.directory);
	cargo_strings_clear(&place.arguments);
	cargo_strings_clear(&place.environment);
	return rc;
}

static void
only_metadata_that_is_there_rules_out_the_plain_way(void **state)
{
	int status = 0;

	(void)state;
	if (run("exit 3", &status) == 0)
		skip(); /* no namespaces here */
	assert_int_equal(status, 3);
	assert_int_equal(run(FAIL, &status), 0);
	assert_int_equal(run(NOTICE("/t/a.d") FAIL, &status), 0);
	assert_int_equal(
	    run(NOTICE("/t/a.d") NOTICE("/t/liba.rmeta") FAIL, &status), 1);
	assert_int_equal(status, 3);
}

static void
what_cannot_be_started_goes_the_plain_way(void **state)
{
	struct rlimit before, none;
	int status = 0, rc;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	rc = run("exit 3", &status);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(rc, 0);
}

#define USER 12345 /* of nobody's */

/* A user who has to make a namespace of users first. Ends with 77 where that
 * cannot be. */
static _Noreturn void
be_user(int fd)
{
	char script[80];
	int status;

	if (setresgid(USER, USER, USER) == -1 ||
	    setresuid(USER, USER, USER) == -1 ||
	    prctl(PR_SET_DUMPABLE, 1) == -1 || run("exit 3", &status) == 0)
		_exit(77);
	(void)snprintf(
	    script, sizeof(script), "echo $$ >&%d; exec sleep 600", fd);
	run(script, &status);
	_exit(0);
}

static void
it_ends_with_its_parent_whoever_it_is(void **state)
{
	char text[32] = "";
	int ends[2], status;
	pid_t parent, compiler;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(ends), 0);
	parent = fork();
	if (parent == 0)
		be_user(ends[1]);
	close(ends[1]);
	if (read(ends[0], text, sizeof(text) - 1) <= 0) {
		assert_int_equal(waitpid(parent, &status, 0), parent);
		assert_int_equal(WEXITSTATUS(status), 77);
		skip();
	}
	assert_int_equal(kill(parent, SIGKILL), 0);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	/* It is ours now. */
	compiler = (pid_t)strtol(text, NULL, 10);
	assert_int_equal(waitpid(compiler, &status, 0), compiler);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(ends[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		only_metadata_that_is_there_rules_out_the_plain_way),
	    cmocka_unit_test(what_cannot_be_started_goes_the_plain_way),
	    cmocka_unit_test(it_ends_with_its_parent_whoever_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
