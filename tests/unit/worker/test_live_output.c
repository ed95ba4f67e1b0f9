/* SPDX-License-Identifier: Apache-2.0 */
/* Readers of a command's output: what they get, and when. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/capture.h"
#include "worker/live_output.h"

struct fixture {
	struct live_output live;
	struct capture output;
	struct capture errors;
	char heard[256]; /* "<id>:<text>;" for each answer */
};

static void
answer(void *cookie, uint64_t read_id, struct str data)
{
	struct fixture *fixture = cookie;
	size_t len = strlen(fixture->heard);

	snprintf(fixture->heard + len, sizeof(fixture->heard) - len, "%d:%.*s;",
	    (int)read_id, STR_ARG(data));
}

static int
set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error err;

	assert_non_null(fixture);
	live_output_init(&fixture->live, answer, fixture);
	assert_int_equal(
	    capture_open(&fixture->output, 1000, &fixture->live.lock, &err), 0);
	assert_int_equal(
	    capture_open(&fixture->errors, 1000, &fixture->live.lock, &err), 0);
	*state = fixture;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;

	live_output_end(&fixture->live);
	capture_close(&fixture->output);
	capture_close(&fixture->errors);
	live_output_clear(&fixture->live);
	free(fixture);
	return 0;
}

/* The command writes. */
static void
write_text(struct fixture *fixture, struct capture *capture, const char *text)
{
	struct error err;

	assert_int_equal(
	    file_write(capture->write_fd, text, strlen(text), &err), 0);
	capture_drain(capture);
	live_output_grown(&fixture->live);
}

static bool
read_now(struct fixture *fixture, struct output_read read, const char *wanted)
{
	struct str data;

	if (!live_output_read(&fixture->live, &read, &data))
		return false;
	assert_int_equal(data.len, strlen(wanted));
	assert_memory_equal(data.data, wanted, data.len);
	free((char *)(uintptr_t)data.data);
	return true;
}

static void
a_read_waits_for_output_and_gets_what_is_there(void **state)
{
	struct fixture *fixture = *state;

	/* Before the command runs. */
	assert_false(
	    read_now(fixture, (struct output_read){1, false, 0, 100}, ""));
	live_output_begin(&fixture->live, &fixture->output, &fixture->errors);
	assert_false(
	    read_now(fixture, (struct output_read){2, true, 0, 100}, ""));
	write_text(fixture, &fixture->output, "hello");
	assert_string_equal(fixture->heard, "1:hello;");
	assert_true(
	    read_now(fixture, (struct output_read){3, false, 1, 3}, "ell"));
	assert_false(
	    read_now(fixture, (struct output_read){4, false, 6, 9}, ""));
	write_text(fixture, &fixture->output, "!");
	assert_string_equal(fixture->heard, "1:hello;");
	write_text(fixture, &fixture->output, "?");
	assert_string_equal(fixture->heard, "1:hello;4:?;");
}

static void
the_end_answers_all(void **state)
{
	struct fixture *fixture = *state;

	live_output_begin(&fixture->live, &fixture->output, &fixture->errors);
	assert_false(
	    read_now(fixture, (struct output_read){1, false, 0, 100}, ""));
	live_output_end(&fixture->live);
	assert_string_equal(fixture->heard, "1:;");
	assert_true(
	    read_now(fixture, (struct output_read){2, true, 0, 100}, ""));
}

static void
a_read_that_is_withdrawn_is_not_answered(void **state)
{
	struct fixture *fixture = *state;

	live_output_begin(&fixture->live, &fixture->output, &fixture->errors);
	assert_false(
	    read_now(fixture, (struct output_read){1, false, 0, 100}, ""));
	assert_true(live_output_withdraw(&fixture->live, 1));
	assert_false(live_output_withdraw(&fixture->live, 1));
	write_text(fixture, &fixture->output, "x");
	assert_string_equal(fixture->heard, "");
}

static void
reads_that_wait_are_bounded(void **state)
{
	struct fixture *fixture = *state;

	live_output_begin(&fixture->live, &fixture->output, &fixture->errors);
	for (uint64_t i = 0; i < LIVE_OUTPUT_READS_MAX; i++)
		assert_false(read_now(
		    fixture, (struct output_read){i, false, 0, 100}, ""));
	assert_true(
	    read_now(fixture, (struct output_read){1000, false, 0, 100}, ""));
	for (uint64_t i = 0; i < LIVE_OUTPUT_READS_MAX; i++)
		assert_true(live_output_withdraw(&fixture->live, i));
}

static void *
read_much(void *cookie)
{
	struct fixture *fixture = cookie;

	for (uint64_t i = 0; i < 2000; i++) {
		const struct output_read read = {i, false, 0, 1000};
		struct str data;

		if (live_output_read(&fixture->live, &read, &data))
			free((char *)(uintptr_t)data.data);
		else
			live_output_withdraw(&fixture->live, i);
	}
	return NULL;
}

/* For the thread sanitizer. */
static void
readers_may_look_while_the_command_writes(void **state)
{
	struct fixture *fixture = *state;
	pthread_t thread;

	live_output_begin(&fixture->live, &fixture->output, &fixture->errors);
	assert_int_equal(pthread_create(&thread, NULL, read_much, fixture), 0);
	for (int i = 0; i < 900; i++) {
		struct error err;

		assert_int_equal(
		    file_write(fixture->output.write_fd, "x", 1, &err), 0);
		capture_drain(&fixture->output);
	}
	pthread_join(thread, NULL);
	assert_int_equal(fixture->output.content.len, 900);
}

static void *
write_without_end(void *cookie)
{
	static const char text[8192];
	const int *fd = cookie;

	while (write(*fd, text, sizeof(text)) > 0)
		;
	return NULL;
}

/* Timeouts and cancellation come between. */
static void
endless_output_does_not_hold_up_a_drain(void **state)
{
	struct fixture *fixture = *state;
	pthread_t threads[4];

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, write_without_end,
			&fixture->output.write_fd),
		    0);
	for (int i = 0; i < 200; i++) {
		uint64_t before = fixture->output.dropped;

		capture_drain(&fixture->output);
		assert_in_range(
		    fixture->output.dropped - before, 0, (1 << 20) + 4096);
	}
	file_close(&fixture->output.read_fd);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_read_waits_for_output_and_gets_what_is_there),
	    TEST(the_end_answers_all),
	    TEST(a_read_that_is_withdrawn_is_not_answered),
	    TEST(reads_that_wait_are_bounded),
	    TEST(readers_may_look_while_the_command_writes),
	    TEST(endless_output_does_not_hold_up_a_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
