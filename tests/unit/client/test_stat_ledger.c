/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger believes of files that change, and what it keeps. */
#include "client/stat_ledger.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"

struct fixture {
	char directory[64];
	char file[96];
	char path[96]; /* of the ledger */
};

static int
set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	strcpy(fixture->directory, "/tmp/toolroot-ledger-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->file, sizeof(fixture->file), "%s/file",
	    fixture->directory);
	snprintf(fixture->path, sizeof(fixture->path), "%s/ledger",
	    fixture->directory);
	*state = fixture;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	assert_int_equal(file_remove_tree(fixture->directory, &err), 0);
	free(fixture);
	return 0;
}

static void
put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void
expect(struct stat_ledger *ledger, const char *path, const char *text)
{
	struct stat_ledger_file file;
	struct digest digest;
	struct error err;

	digest_compute(DIGEST_SHA256, text, strlen(text), &digest);
	assert_int_equal(stat_ledger_digest(ledger, path, &file, &err), 0);
	assert_true(digest_equal(&file.digest, &digest));
}

static uint64_t
files_read(struct stat_ledger *ledger)
{
	struct stat_ledger_counts counts;

	stat_ledger_counts(ledger, &counts);
	return counts.read;
}

static struct stat_ledger *
reopen(struct stat_ledger *ledger, const char *path,
    enum stat_ledger_verify verify)
{
	struct error err;

	assert_int_equal(stat_ledger_save(ledger, &err), 0);
	stat_ledger_close(ledger);
	return stat_ledger_open(path, DIGEST_SHA256, verify);
}

static void
a_file_is_read_once_while_it_stays(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(NULL, DIGEST_SHA256, STAT_LEDGER_STAT);

	put(fixture->file, "one");
	expect(ledger, fixture->file, "one");
	expect(ledger, fixture->file, "one");
	assert_int_equal(files_read(ledger), 1);
	stat_ledger_close(ledger);
}

static void
a_change_with_the_old_time_is_seen(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(NULL, DIGEST_SHA256, STAT_LEDGER_STAT);
	struct timespec times[2];
	struct stat status;

	put(fixture->file, "one");
	expect(ledger, fixture->file, "one");
	assert_int_equal(stat(fixture->file, &status), 0);
	usleep(20000);
	put(fixture->file, "two");
	times[0] = status.st_atim;
	times[1] = status.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, fixture->file, times, 0), 0);
	expect(ledger, fixture->file, "two");
	stat_ledger_close(ledger);
}

static void
a_file_that_was_just_written_is_not_kept(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);

	put(fixture->file, "one");
	expect(ledger, fixture->file, "one");
	ledger = reopen(ledger, fixture->path, STAT_LEDGER_STAT);
	expect(ledger, fixture->file, "one");
	assert_int_equal(files_read(ledger), 1);
	stat_ledger_close(ledger);
}

/* /bin/true is older than this test. */
static void
an_old_file_is_kept_unless_all_is_to_be_read(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_BOOT);
	struct stat_ledger_file file;
	struct error err;

	assert_int_equal(
	    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
	assert_true(file.executable);
	ledger = reopen(ledger, fixture->path, STAT_LEDGER_BOOT);
	assert_int_equal(
	    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
	assert_int_equal(files_read(ledger), 0);
	ledger = reopen(ledger, fixture->path, STAT_LEDGER_ALWAYS);
	assert_int_equal(
	    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
	assert_int_equal(files_read(ledger), 1);
	stat_ledger_close(ledger);
}

static void
a_damaged_ledger_is_an_empty_one(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger;

	put(fixture->path, "toolroot-ledger 99\n\nrubbish\n");
	put(fixture->file, "one");
	ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
	expect(ledger, fixture->file, "one");
	stat_ledger_close(ledger);
}

static void
a_ledger_of_the_future_is_not_believed(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_BOOT);
	struct stat_ledger_file file;
	struct buffer text;
	struct error err;
	char *line;

	assert_int_equal(
	    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
	assert_int_equal(stat_ledger_save(ledger, &err), 0);
	stat_ledger_close(ledger);
	buffer_init(&text, 10000);
	assert_int_equal(file_read_all(fixture->path, &text, &err), 0);
	line = strchr(text.data, '\n') + 1;
	assert_in_range(*line, '1', '8');
	*line = '9'; /* the second line says when it was written */
	put(fixture->path, text.data);
	buffer_clear(&text);
	ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_BOOT);
	assert_int_equal(
	    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
	assert_int_equal(files_read(ledger), 1);
	stat_ledger_close(ledger);
}

/* Each content has the same size and comes at once after the one before, so
 * that a coarse clock gives both the same times; each ledger is a new run's. */
static void
no_write_is_so_quick_that_it_is_missed(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	for (int i = 0; i < 300; i++) {
		struct stat_ledger *ledger = stat_ledger_open(
		    fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
		char content[32];

		snprintf(content, sizeof(content), "content %05d", i);
		put(fixture->file, content);
		expect(ledger, fixture->file, content);
		assert_int_equal(stat_ledger_save(ledger, &err), 0);
		stat_ledger_close(ledger);
	}
}

static void
what_is_no_file_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(NULL, DIGEST_SHA256, STAT_LEDGER_STAT);
	struct stat_ledger_file file;
	struct error err;

	assert_int_equal(
	    stat_ledger_digest(ledger, fixture->directory, &file, &err), -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(
	    stat_ledger_digest(ledger, fixture->file, &file, &err), -1);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	stat_ledger_close(ledger);
}

static void
a_file_that_was_just_written_is_not_read_again(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
	struct digest digest;
	struct stat written;
	char renamed[128];

	snprintf(renamed, sizeof(renamed), "%s/renamed", fixture->directory);
	put(fixture->file, "noted");
	assert_int_equal(stat(fixture->file, &written), 0);
	assert_int_equal(rename(fixture->file, renamed), 0);
	digest_compute(DIGEST_SHA256, "noted", 5, &digest);
	stat_ledger_note(ledger, renamed, &digest, &written);
	expect(ledger, renamed, "noted");
	assert_int_equal(files_read(ledger), 0);

	/* Another file at its place is. */
	put(fixture->file, "other");
	assert_int_equal(rename(fixture->file, renamed), 0);
	stat_ledger_note(ledger, renamed, &digest, &written);
	expect(ledger, renamed, "other");
	assert_int_equal(files_read(ledger), 1);

	/* It is too young to be believed by another run. */
	ledger = reopen(ledger, fixture->path, STAT_LEDGER_STAT);
	expect(ledger, renamed, "other");
	assert_int_equal(files_read(ledger), 1);
	stat_ledger_close(ledger);
}

/* The ledger of one run with a file, as if that had been so many days ago. */
static void
age(struct fixture *fixture, unsigned days)
{
	struct stat_ledger *ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
	uint64_t today = (uint64_t)time(NULL) / 86400;
	struct stat_ledger_file file;
	struct buffer text;
	char new[32], *day;
	struct error err;

	assert_int_equal(
	    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
	assert_int_equal(stat_ledger_save(ledger, &err), 0);
	stat_ledger_close(ledger);
	buffer_init(&text, 10000);
	assert_int_equal(file_read_all(fixture->path, &text, &err), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	day = strstr(text.data, " /bin/true");
	assert_non_null(day);
	/* A number of five digits stands before it, for some centuries. */
	snprintf(new, sizeof(new), "%05llu", (unsigned long long)today - days);
	memcpy(day - 5, new, 5);
	put(fixture->path, text.data);
	buffer_clear(&text);
}

static bool
is_kept(const struct fixture *fixture)
{
	struct buffer text;
	struct error err;
	bool kept;

	buffer_init(&text, 10000);
	assert_int_equal(file_read_all(fixture->path, &text, &err), 0);
	kept = memmem(text.data, text.len, " /bin/true", 10) != NULL;
	buffer_clear(&text);
	return kept;
}

static void
what_nobody_asks_for_is_forgotten(void **state)
{
	static const unsigned days[] = {0, 27, 28, 29, 400};

	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		struct fixture *fixture = *state;
		struct stat_ledger *ledger;
		struct stat_ledger_file file;
		struct error err;

		unlink(fixture->path);
		age(fixture, days[i]);
		ledger = stat_ledger_open(
		    fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
		assert_int_equal(
		    stat_ledger_digest(ledger, "/bin/sh", &file, &err), 0);
		ledger = reopen(ledger, fixture->path, STAT_LEDGER_STAT);
		stat_ledger_close(ledger);
		assert_int_equal(is_kept(fixture), days[i] <= 28);
	}
}

static void
what_is_asked_for_stays(void **state)
{
	struct fixture *fixture = *state;
	struct stat_ledger *ledger;
	struct stat_ledger_file file;
	struct error err;

	age(fixture, 28);
	for (int i = 0; i < 2; i++) {
		ledger = stat_ledger_open(
		    fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
		assert_int_equal(
		    stat_ledger_digest(ledger, "/bin/true", &file, &err), 0);
		assert_int_equal(files_read(ledger), 0);
		ledger = reopen(ledger, fixture->path, STAT_LEDGER_STAT);
		stat_ledger_close(ledger);
		assert_true(is_kept(fixture));
	}
	/* Its day is this one now. */
	ledger =
	    stat_ledger_open(fixture->path, DIGEST_SHA256, STAT_LEDGER_STAT);
	assert_int_equal(stat_ledger_digest(ledger, "/bin/sh", &file, &err), 0);
	stat_ledger_close(reopen(ledger, fixture->path, STAT_LEDGER_STAT));
	assert_true(is_kept(fixture));
}

int
main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(a_file_is_read_once_while_it_stays),
	    TEST(a_change_with_the_old_time_is_seen),
	    TEST(a_file_that_was_just_written_is_not_kept),
	    TEST(an_old_file_is_kept_unless_all_is_to_be_read),
	    TEST(a_damaged_ledger_is_an_empty_one),
	    TEST(a_ledger_of_the_future_is_not_believed),
	    TEST(no_write_is_so_quick_that_it_is_missed),
	    TEST(what_is_no_file_is_refused),
	    TEST(a_file_that_was_just_written_is_not_read_again),
	    TEST(what_nobody_asks_for_is_forgotten),
	    TEST(what_is_asked_for_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
