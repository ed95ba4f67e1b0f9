/* SPDX-License-Identifier: Apache-2.0 */
/* The scrub and checks: flipped bits are found without anybody reading. One
 * thread beside the store's and the scrub's. */
#include "collector_fixture.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

#include "cas/check.h"
#include "cas/index_job.h"
#include "cas/scrub.h"

#define SMALL ((size_t)3000)
#define LARGE ((size_t)200 << 10)

/* Flips a bit of every file that matches. */
static void
flip(const struct fixture *fixture, const char *pattern, off_t at)
{
	char path[256];
	glob_t found;

	snprintf(path, sizeof(path), "%s/%s", fixture->path, pattern);
	assert_int_equal(glob(path, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		uint8_t byte;
		int fd;

		assert_int_equal(chmod(found.gl_pathv[i], 0644), 0);
		fd = open(found.gl_pathv[i], O_RDWR);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x20;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
	globfree(&found);
}

static void
wait_for_pass(struct scrub *scrub)
{
	struct scrub_statistics statistics;
	int tries = 0;

	do {
		assert_true(tries++ < 3000);
		usleep(10000);
		scrub_statistics(scrub, &statistics);
	} while (statistics.passes == 0);
}

static void
the_scrub_drops_what_is_bad_and_keeps_the_rest(void **state)
{
	struct fixture *fixture = *state;
	struct digest large = put_numbered(fixture->store, 1, LARGE);
	struct digest first = put_numbered(fixture->store, 2, SMALL);
	const struct collection_wish plan = {.sized = true};
	struct collection_report report;
	struct store_usage usage;
	struct scrub *scrub;
	struct error err;

	put_numbered(fixture->store, 3, SMALL);
	assert_int_equal(
	    put_action_naming(fixture->store, 5000, &large, 1, &err), 0);
	time_passes(fixture, 24 * HOUR_MS);
	flip(fixture, "blobs/sha256/*/*", 100000);
	flip(fixture, "segments/*", 500);
	scrub = scrub_new(fixture->store, (uint64_t)1 << 30, &err);
	assert_non_null(scrub);
	wait_for_pass(scrub);
	scrub_free(scrub);
	/* What it drops goes in the background. */
	assert_int_equal(index_job_settle(fixture->store, &err), 0);
	store_usage(fixture->store, &usage);
	/* The first pass begins anywhere, so some may be seen twice. */
	assert_in_range(usage.dropped, 2, 4);
	assert_int_equal(usage.blobs, 1);
	/* It made nothing young. */
	report = collect(fixture, 3 * HOUR_MS, &plan);
	assert_int_equal(report.young_blobs, 0);
	assert_int_equal(report.blobs, 1);
	assert_true(is_missing(fixture->store, &large));
	assert_true(is_missing(fixture->store, &first));
	assert_false(has_action(fixture->store, 5000));
	assert_content(fixture->store, 3, SMALL);
}

static int count_bad(struct fixture *fixture, uint64_t *blobs);

static void
note_bad(void *cookie, const struct digest *digest, const char *why)
{
	(void)cookie;
	(void)digest;
	assert_non_null(why);
}

static void
note_stray(void *cookie, const char *path, uint64_t bytes)
{
	(void)cookie;
	(void)path;
	(void)bytes;
}

static int
count_bad(struct fixture *fixture, uint64_t *blobs)
{
	const struct check_options options = {
	    .bad = note_bad, .stray = note_stray};
	struct store_options reader = fixture->options;
	struct check_report report;
	struct store *store;
	struct error err;

	reader.read_only = true;
	store = store_open(&reader, &err);
	assert_non_null(store);
	assert_int_equal(store_check(store, &options, &report, &err), 0);
	store_close(store);
	*blobs = report.blobs;
	return (int)report.bad;
}

static void
a_check_finds_each_flipped_bit(void **state)
{
	struct fixture *fixture = *state;
	uint64_t blobs;

	for (uint64_t i = 0; i < 5; i++)
		put_numbered(fixture->store, i, LARGE);
	put_numbered(fixture->store, 10, SMALL);
	put_numbered(fixture->store, 11, SMALL);
	/* Closing leaves nothing in the log only. */
	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(count_bad(fixture, &blobs), 0);
	assert_int_equal(blobs, 7);
	flip(fixture, "blobs/sha256/*/*", 5);
	assert_int_equal(count_bad(fixture, &blobs), 5);
	flip(fixture, "segments/*", 200);
	assert_int_equal(count_bad(fixture, &blobs), 6);
	assert_int_equal(blobs, 7);
	fixture_open(fixture);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_scrub_drops_what_is_bad_and_keeps_the_rest),
	    TEST(a_check_finds_each_flipped_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
