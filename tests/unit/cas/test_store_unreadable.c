/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cannot be read or decoded at the moment is no damage: it is told, and
 * nothing is dropped or written over. This program's pread and
 * ZSTD_decompressStream stand before the libraries'.
 */
#include "store_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <zstd_errors.h>

#include "cas/check.h"
#include "cas/repair.h"
#include "cas/zstd_verify.h"

/* Two blocks. */
#define RECORD ((size_t)8192)
#define SMALL (RECORD - 96)
#define BLOBS 6

/* --- before the libraries ------------------------------------------------- */

/* Bytes of a file that the disk does not give. */
static struct {
	ino_t inode; /* 0: none */
	off_t begin;
	off_t end;
} unreadable;

static bool no_memory; /* for zstd */

ssize_t
pread(int fd, void *data, size_t len, off_t offset)
{
	struct stat status;

	if (unreadable.inode != 0 && offset < unreadable.end &&
	    offset + (off_t)len > unreadable.begin && fstat(fd, &status) == 0 &&
	    status.st_ino == unreadable.inode) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, data, len, offset);
}

size_t
ZSTD_decompressStream(
    ZSTD_DStream *stream, ZSTD_outBuffer *output, ZSTD_inBuffer *input)
{
	size_t (*next)(ZSTD_DStream *, ZSTD_outBuffer *, ZSTD_inBuffer *);

	if (no_memory)
		return (size_t)-ZSTD_error_memory_allocation;
	*(void **)&next = dlsym(RTLD_NEXT, "ZSTD_decompressStream");
	return next(stream, output, input);
}

static int
setup(void **state)
{
	unreadable.inode = 0;
	no_memory = false;
	return fixture_setup(state);
}

/* --- the disk ------------------------------------------------------------- */

static void
lose(const char *path, off_t begin, off_t end)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	unreadable.inode = status.st_ino;
	unreadable.begin = begin;
	unreadable.end = end;
}

static void
tell(void *cookie, const char *what, const char *why)
{
	(void)what;
	if (strstr(why, "the disk does not give") != NULL)
		*(bool *)cookie = true;
}

static struct repair_report
repair(struct fixture *fixture, bool *told)
{
	const struct repair_options options = {
	    .path = fixture->path, .tell = tell, .cookie = told};
	struct repair_report report;
	struct error err;

	*told = false;
	if (store_repair(&options, &report, &err) < 0)
		fail_msg("repair: %s", err.text);
	return report;
}

static void
fill(struct fixture *fixture)
{
	for (uint64_t i = 0; i < BLOBS; i++)
		put_numbered(fixture->store, i, SMALL);
	store_close(fixture->store);
	fixture->store = NULL;
}

/* The last records of the log are on blocks that give an error: they come back
 * with the blocks. */
static void
an_unreadable_end_of_the_log_is_no_torn_one(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;
	char path[320];
	struct stat before, after;
	bool told;

	fill(fixture);
	snprintf(path, sizeof(path), "%s/segments/00000001", fixture->path);
	assert_int_equal(stat(path, &before), 0);
	/* Of the last but one half the content, of the last all. */
	lose(path, before.st_size - 3 * (off_t)RECORD / 2, before.st_size);
	report = repair(fixture, &told);
	assert_true(told);
	assert_int_equal(report.bad_blobs, 1);
	assert_int_equal(report.skipped_bytes, RECORD);
	assert_true(repair_lost_something(&report));
	/* What is written now does not go there. */
	fixture_open(fixture);
	put_numbered(fixture->store, 100, SMALL);
	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size >= before.st_size + (off_t)SMALL);
	unreadable.inode = 0;
	report = repair(fixture, &told);
	assert_false(told);
	assert_false(repair_lost_something(&report));
	fixture_open(fixture);
	for (uint64_t i = 0; i < BLOBS; i++)
		assert_content(fixture->store, i, SMALL);
	assert_content(fixture->store, 100, SMALL);
}

static void
a_torn_end_of_the_log_is_no_loss(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;
	char path[320];
	bool told;
	int fd;

	fill(fixture);
	snprintf(path, sizeof(path), "%s/segments/00000001", fixture->path);
	fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "torn", 4), 4);
	close(fd);
	report = repair(fixture, &told);
	assert_false(told);
	assert_false(repair_lost_something(&report));
	fixture_open(fixture);
	assert_content(fixture->store, BLOBS - 1, SMALL);
}

/* --- memory --------------------------------------------------------------- */

static void
a_blob_without_memory_for_its_window_stays(void **state)
{
	struct fixture *fixture = *state;
	const struct blob_stream_options options = {ENCODING_IDENTITY, 0, 0};

	for (uint64_t i = 0; i < 2; i++) {
		size_t size = i == 0 ? SMALL : 200000, len;
		struct digest digest = put_zstd_blob(fixture, i, size);
		struct blob_stream *stream;
		struct blob *blob;
		struct error err;
		char piece[100];

		assert_int_equal(
		    store_open_blob(fixture->store, &digest, &blob, &err), 1);
		stream = blob_stream_open(blob, &options, &err);
		no_memory = true;
		assert_int_equal(
		    blob_stream_next(stream, piece, sizeof(piece), &len, &err),
		    -1);
		assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
		assert_true(err.retry_delay_ms > 0);
		blob_stream_free(stream);
		/* Nor is it bad for a check. */
		assert_int_equal(
		    store_open_blob(fixture->store, &digest, &blob, &err), 1);
		assert_int_equal(check_blob(blob, &digest, &err), -1);
		no_memory = false;
		assert_content(fixture->store, i, size);
	}
}

static void
a_repair_without_memory_drops_nothing(void **state)
{
	struct fixture *fixture = *state;
	const struct repair_options options = {
	    .path = fixture->path, .tell = tell};
	struct digest digest = put_zstd_blob(fixture, 1, SMALL);
	struct repair_report report;
	struct error err;

	store_close(fixture->store);
	fixture->store = NULL;
	no_memory = true;
	assert_int_equal(store_repair(&options, &report, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	no_memory = false;
	fixture_open(fixture);
	assert_false(is_missing(fixture->store, &digest));
	assert_content(fixture->store, 1, SMALL);
}

static void
an_upload_without_memory_is_to_be_tried_again(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = digest_of(1, SMALL);
	struct blob_writer *writer;
	struct error err;

	writer =
	    blob_writer_new(fixture->store, &digest, ENCODING_ZSTD, 0, &err);
	assert_non_null(writer);
	no_memory = true;
	assert_int_equal(blob_writer_append(writer, "abc", 3, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_true(err.retry_delay_ms > 0);
	blob_writer_free(writer);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_unreadable_end_of_the_log_is_no_torn_one),
	    TEST(a_torn_end_of_the_log_is_no_loss),
	    TEST(a_blob_without_memory_for_its_window_stays),
	    TEST(a_repair_without_memory_drops_nothing),
	    TEST(an_upload_without_memory_is_to_be_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
