/* SPDX-License-Identifier: Apache-2.0 */
/* --sandbox=none: the same actions without namespaces, in a directory. */
#include "run_fixture.h"

#include <dirent.h>

#include "base/clock.h"

static char scratch[64] = "/tmp/toolroot-scratch-XXXXXX";

static void
command_sees_its_inputs_and_leaves_an_output(void **state)
{
	struct fixture *fixture = *state;

	fixture_add_text(fixture, "a/in.txt", "hello\n");
	fixture_script(fixture, "cat a/in.txt a/in.txt > out/deep/x.txt");
	fixture_output(fixture, "out/deep/x.txt");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_files, 1);
	fixture_assert_blob(fixture, fixture->result->output_files[0]->digest,
	    "hello\nhello\n");
}

static void
large_inputs_are_copied(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 700000;
	char *script = xmalloc(size);
	const char *start = "#!/bin/sh\necho ran\nexit 0\n";

	memset(script, '#', size);
	memcpy(script, start, strlen(start));
	fixture_add_file(fixture, "tool", (struct str){script, size}, true);
	fixture_add_file(fixture, "data", (struct str){script, size}, false);
	fixture_script(fixture, "./tool; stat -c '%s %a' tool data");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "ran\n700000 555\n700000 444\n");
	free(script);
}

static void
timeout_kills_processes_that_left_the_group(void **state)
{
	struct fixture *fixture = *state;
	int64_t start;

	fixture->run.timeout_ms = 300;
	fixture_script(fixture, "echo early; (setsid sleep 61 &); sleep 61");
	/* A slow machine may need longer to come to the echo. */
	do {
		start = clock_monotonic_ms();
		fixture_run(fixture);
		fixture->root_given = true;
		assert_int_equal(fixture->error.code, ERROR_DEADLINE_EXCEEDED);
		assert_true(clock_monotonic_ms() - start < 60000);
		fixture->run.timeout_ms *= 4;
	} while (fixture->result->stdout_digest == NULL &&
		 fixture->run.timeout_ms < 40000);
	fixture_assert_stdout(fixture, "early\n");
}

/* Its first process cannot end it any more, and is killed. */
static void
timeout_is_told_where_the_first_process_is_stuck(void **state)
{
	struct fixture *fixture = *state;

	fixture->run.timeout_ms = 300;
	fixture_script(fixture,
	    "echo early; (sleep 4; kill -9 $PPID) & kill -STOP $PPID; sleep "
	    "64");
	fixture_run(fixture);
	if (fixture->result->stdout_digest == NULL) {
		/* It had not come to the echo. */
		fixture->root_given = true;
		fixture->run.timeout_ms = 1500;
		fixture_run(fixture);
	}
	assert_int_equal(fixture->error.code, ERROR_DEADLINE_EXCEEDED);
	assert_int_equal(fixture->result->exit_code, 137);
	fixture_assert_stdout(fixture, "early\n");
}

static void
leftover_processes_do_not_hold_up_the_end(void **state)
{
	struct fixture *fixture = *state;
	int64_t start = clock_monotonic_ms();

	fixture_script(fixture, "(setsid sleep 62 &); echo done");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "done\n");
	assert_true(clock_monotonic_ms() - start < 60000);
}

static void
note_sleep(void *cookie, const char *command)
{
	size_t *count = cookie;

	*count += strcmp(command, "sleep 6363") == 0;
}

/* Command lines, with blanks, of all processes of the machine. */
static void
each_command(void (*each)(void *cookie, const char *command), void *cookie)
{
	DIR *stream = opendir("/proc");
	const struct dirent *entry;

	assert_non_null(stream);
	while ((entry = readdir(stream)) != NULL) {
		char path[300];
		char text[64];
		FILE *file;
		size_t len;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		file = entry->d_name[0] >= '1' && entry->d_name[0] <= '9'
			   ? fopen(path, "re")
			   : NULL;
		if (file == NULL)
			continue;
		len = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
		text[len] = '\0';
		for (size_t i = 0; i + 1 < len; i++)
			if (text[i] == '\0')
				text[i] = ' ';
		each(cookie, text);
	}
	closedir(stream);
}

static void
nothing_outlives_a_first_process_that_was_killed(void **state)
{
	struct fixture *fixture = *state;
	size_t count = 1;

	fixture_script(fixture,
	    "(setsid sh -c 'sleep 6363; true' &); (sleep 6363 &); "
	    "sleep 0.2; kill -9 $PPID; sleep 6363");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INTERNAL);
	for (int tries = 0; count > 0 && tries < 1000; tries++) {
		if (tries > 0)
			usleep(10000);
		count = 0;
		each_command(note_sleep, &count);
	}
	assert_int_equal(count, 0);
}

static void
scratch_is_emptied(void **state)
{
	DIR *directory = opendir(scratch);
	size_t count = 0;

	(void)state;
	assert_non_null(directory);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	/* Its own two entries and the sandboxes made ahead of demand. */
	assert_true(count <= 4);
}

int
main(void)
{
#define RUN_TEST(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(command_sees_its_inputs_and_leaves_an_output),
	    RUN_TEST(large_inputs_are_copied),
	    RUN_TEST(timeout_kills_processes_that_left_the_group),
	    RUN_TEST(timeout_is_told_where_the_first_process_is_stuck),
	    RUN_TEST(leftover_processes_do_not_hold_up_the_end),
	    RUN_TEST(nothing_outlives_a_first_process_that_was_killed),
	    RUN_TEST(scratch_is_emptied),
	};
	struct error err;
	int failed;

	if (mkdtemp(scratch) == NULL || !fixture_start_spawner(scratch))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_stop_spawner();
	if (file_remove_tree(scratch, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	return failed;
}
