/* SPDX-License-Identifier: Apache-2.0 */
/* The store: put, find, read, refuse, persist. One thread beside the
 * committer's. */
#include "store_fixture.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LARGE ((size_t)300 << 10)

/* Before the C library's: how often the disk was asked for its room, and what
 * it answers; 0: the truth. */
static atomic_uint disk_questions;
static atomic_uint_least64_t disk_room;

int
fstatvfs(int fd, struct statvfs *disk)
{
	struct statfs answer;
	uint64_t room = atomic_load(&disk_room);

	atomic_fetch_add(&disk_questions, 1);
	if (syscall(SYS_fstatfs, fd, &answer) != 0)
		return -1;
	*disk = (struct statvfs){.f_bsize = (unsigned long)answer.f_bsize,
	    .f_frsize = (unsigned long)answer.f_bsize,
	    .f_blocks = answer.f_blocks,
	    .f_bavail = answer.f_bavail};
	if (room > 0) {
		disk->f_frsize = 1;
		disk->f_bavail = room;
	}
	return 0;
}

static void
a_blob_put_is_found_and_read_back(void **state)
{
	struct fixture *fixture = *state;
	static const size_t sizes[] = {1, 100, 1024, 65536, 65537, LARGE};

	for (size_t i = 0; i < 6; i++) {
		struct digest digest = digest_of(i, sizes[i]);

		assert_true(is_missing(fixture->store, &digest));
		put_numbered(fixture->store, i, sizes[i]);
		assert_false(is_missing(fixture->store, &digest));
		assert_content(fixture->store, i, sizes[i]);
	}
}

static void
every_digest_function_is_stored_apart(void **state)
{
	static const enum digest_function functions[] = {
	    DIGEST_SHA256, DIGEST_SHA1, DIGEST_SHA384, DIGEST_SHA512};
	struct fixture *fixture = *state;
	struct store_usage usage;
	struct error err;

	for (size_t i = 0; i < 4; i++) {
		for (size_t large = 0; large < 2; large++) {
			size_t len = large ? LARGE : 10;
			char *data = make_content(3, len);
			struct digest digest;

			digest_compute(functions[i], data, len, &digest);
			assert_true(is_missing(fixture->store, &digest));
			assert_int_equal(put_content(fixture->store, &digest,
					     data, len, &err),
			    ERROR_OK);
			assert_false(is_missing(fixture->store, &digest));
			free(data);
		}
	}
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 8);
}

static void
blobs_are_there_after_reopening(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage before, after;

	for (uint64_t i = 0; i < 200; i++)
		put_numbered(fixture->store, i, 10000 + i);
	put_numbered(fixture->store, 1000, LARGE);
	store_usage(fixture->store, &before);
	assert_true(before.segments >= 2);
	fixture_reopen(fixture);
	store_usage(fixture->store, &after);
	assert_int_equal(before.bytes, after.bytes);
	assert_int_equal(after.blobs, 201);
	for (uint64_t i = 0; i < 200; i++)
		assert_content(fixture->store, i, 10000 + i);
	assert_content(fixture->store, 1000, LARGE);
}

static void
a_known_hash_with_another_size_is_missing(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100);
	struct blob *blob;
	struct error err;

	digest.size = 101;
	assert_true(is_missing(fixture->store, &digest));
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 0);
}

static void
content_that_does_not_match_is_refused_and_not_stored(void **state)
{
	struct fixture *fixture = *state;
	static const size_t sizes[] = {100, LARGE};

	for (size_t i = 0; i < 2; i++) {
		size_t len = sizes[i];
		struct digest digest = digest_of(1, len);
		char *other = make_content(2, len);
		struct error err;

		assert_int_equal(
		    put_content(fixture->store, &digest, other, len, &err),
		    ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(err.text, "declared"));
		assert_int_equal(
		    put_content(fixture->store, &digest, other, len - 1, &err),
		    ERROR_INVALID_ARGUMENT);
		assert_true(is_missing(fixture->store, &digest));
		free(other);
	}
}

static void
the_empty_blob_is_always_there(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	struct digest empty;
	struct blob *blob;
	struct error err;

	digest_empty(DIGEST_SHA1, &empty);
	assert_false(is_missing(fixture->store, &empty));
	assert_int_equal(
	    store_open_blob(fixture->store, &empty, &blob, &err), 1);
	assert_int_equal(blob_stored_size(blob), 0);
	blob_free(blob);
	assert_int_equal(
	    put_content(fixture->store, &empty, "", 0, &err), ERROR_OK);
	assert_int_equal(put_content(fixture->store, &empty, "x", 1, &err),
	    ERROR_INVALID_ARGUMENT);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 0);
}

static void
the_same_blob_is_stored_once(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage before, after;

	put_numbered(fixture->store, 1, 100);
	put_numbered(fixture->store, 2, LARGE);
	store_usage(fixture->store, &before);
	put_numbered(fixture->store, 1, 100);
	put_numbered(fixture->store, 2, LARGE);
	store_usage(fixture->store, &after);
	assert_int_equal(after.blobs, 2);
	assert_int_equal(before.bytes, after.bytes);
}

static void
batch_done(struct store_batch *batch)
{
	/* The test waits for it by closing the store. */
	batch->waiting = 4711;
}

static void
a_batch_reports_each_put_alone(void **state)
{
	struct fixture *fixture = *state;
	char *good = make_content(1, 500);
	char *bad = make_content(2, 500);
	struct iovec whole = {good, 500}, wrong = {bad, 500};
	struct iovec halves[2] = {{good, 200}, {good + 200, 300}};
	struct store_put puts[3] = {
	    {.digest = digest_of(1, 500), .parts = halves, .part_count = 2},
	    {.digest = digest_of(1, 500), .parts = &whole, .part_count = 1},
	    {.digest = digest_of(3, 500), .parts = &wrong, .part_count = 1}};
	struct store_batch batch = {
	    .puts = puts, .count = 3, .done = batch_done};
	struct store_usage usage;

	store_put_batch(fixture->store, &batch);
	fixture_reopen(fixture);
	assert_int_equal(batch.waiting, 4711);
	assert_null(puts[0].error);
	assert_null(puts[1].error);
	assert_non_null(puts[2].error);
	assert_int_equal(puts[2].error->code, ERROR_INVALID_ARGUMENT);
	free(puts[2].error);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 1);
	assert_content(fixture->store, 1, 500);
	free(good);
	free(bad);
}

static void
large_blobs_are_read_only_files_of_their_own(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 7, LARGE);
	char path[256], hash[DIGEST_TEXT_MAX];
	struct stat status;
	struct blob *blob;
	struct error err;

	snprintf(path, sizeof(path), "%s/blobs/sha256/%02x/%s", fixture->path,
	    digest.hash[0], digest_format_hash(&digest, hash));
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0444);
	assert_int_equal(status.st_size, LARGE);
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_true(blob_descriptor(blob) >= 0);
	blob_free(blob);
	digest = put_numbered(fixture->store, 8, 10);
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_int_equal(blob_descriptor(blob), -1);
	blob_free(blob);
}

static void
a_deleted_file_is_missing_and_can_be_put_again(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 7, LARGE);
	char path[256], hash[DIGEST_TEXT_MAX];
	struct store_usage usage;
	struct blob *blob;
	struct error err;

	snprintf(path, sizeof(path), "%s/blobs/sha256/%02x/%s", fixture->path,
	    digest.hash[0], digest_format_hash(&digest, hash));
	assert_int_equal(unlink(path), 0);
	/* Put before anybody noticed. */
	put_numbered(fixture->store, 7, LARGE);
	assert_content(fixture->store, 7, LARGE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 0);
	fixture_reopen(fixture);
	assert_true(is_missing(fixture->store, &digest));
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 0);
	assert_int_equal(usage.bytes, 0);
	put_numbered(fixture->store, 7, LARGE);
	assert_content(fixture->store, 7, LARGE);
}

static void
flip_byte(const struct fixture *fixture, off_t offset)
{
	char path[128], byte;
	int fd;

	snprintf(path, sizeof(path), "%s/segments/00000001", fixture->path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	close(fd);
}

static void
a_rotten_byte_is_data_loss_once_then_missing(void **state)
{
	/* In the header, in the content. */
	static const off_t offsets[] = {40, 96 + 50};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2; i++) {
		struct store_usage usage;
		struct digest digest;
		struct buffer content;
		struct error err;

		digest = put_numbered(fixture->store, 1, 1000);
		put_numbered(fixture->store, 2, 1000);
		flip_byte(fixture, offsets[i]);
		buffer_init(&content, 2000);
		assert_int_equal(
		    store_read(fixture->store, &digest, &content, &err), -1);
		assert_int_equal(err.code, ERROR_DATA_LOSS);
		buffer_clear(&content);
		store_usage(fixture->store, &usage);
		assert_int_equal(usage.dropped, 1);
		assert_content(fixture->store, 2, 1000);
		fixture_reopen(fixture);
		assert_true(is_missing(fixture->store, &digest));
		put_numbered(fixture->store, 1, 1000);
		assert_content(fixture->store, 1, 1000);
		fixture_teardown(state);
		fixture_setup(state);
		fixture = *state;
	}
}

static void
partial_reads_are_checked_too(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 1000);
	char *data = make_content(1, 1000);
	struct blob *blob;
	struct error err;
	char byte;

	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_int_equal(blob_read(blob, 999, &byte, 1, false, &err), 1);
	assert_int_equal(byte, data[999]);
	assert_int_equal(blob_read(blob, 5, &byte, 1, true, &err), 1);
	assert_int_equal(byte, data[5]);
	assert_int_equal(blob_read(blob, 1000, &byte, 1, false, &err), -1);
	assert_int_equal(err.code, ERROR_OUT_OF_RANGE);
	blob_free(blob);
	flip_byte(fixture, 96 + 50);
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_int_equal(blob_read(blob, 999, &byte, 1, false, &err), -1);
	assert_int_equal(err.code, ERROR_DATA_LOSS);
	blob_free(blob);
	free(data);
}

static void
a_full_store_refuses_with_the_figures(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	struct blob_writer *writer;
	struct digest digest;
	struct error err;
	char *data = make_content(1, LARGE);

	fixture->options.max_size = 200000;
	fixture_reopen(fixture);
	put_numbered(fixture->store, 2, 1000);
	digest = digest_of(1, LARGE);
	assert_int_equal(
	    put_content(fixture->store, &digest, data, LARGE, &err),
	    ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.text, "limit 200000"));
	assert_non_null(strstr(err.text, "--max-size"));
	writer = blob_writer_new(
	    fixture->store, &digest, ENCODING_IDENTITY, 0, &err);
	assert_null(writer);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	/* A promise counts until it is given back. */
	digest = digest_of(3, 150000);
	writer = blob_writer_new(
	    fixture->store, &digest, ENCODING_IDENTITY, 0, &err);
	assert_non_null(writer);
	assert_null(blob_writer_new(
	    fixture->store, &digest, ENCODING_IDENTITY, 0, &err));
	blob_writer_free(writer);
	put_numbered(fixture->store, 3, 150000);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 2);
	assert_true(usage.bytes <= 200000);
	/* What is there already needs no room. */
	put_numbered(fixture->store, 3, 150000);
	free(data);
}

static void
dropped_blobs_are_missing_and_open_handles_read_on(void **state)
{
	static const size_t sizes[] = {100, LARGE};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2; i++) {
		struct digest digest =
		    put_numbered(fixture->store, i, sizes[i]);
		char *data = xmalloc(sizes[i]);
		struct blob *blob;
		struct error err;

		assert_int_equal(
		    store_open_blob(fixture->store, &digest, &blob, &err), 1);
		assert_int_equal(
		    store_drop_blob(fixture->store, &digest, &err), 0);
		assert_true(is_missing(fixture->store, &digest));
		assert_int_equal(
		    blob_read(blob, 0, data, sizes[i], false, &err), 1);
		blob_free(blob);
		free(data);
		put_numbered(fixture->store, i, sizes[i]);
		assert_content(fixture->store, i, sizes[i]);
	}
}

static void
a_second_writer_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	struct error err;
	char pid[32];

	assert_null(store_open(&fixture->options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	snprintf(pid, sizeof(pid), "process %d", (int)getpid());
	assert_non_null(strstr(err.text, pid));
}

static void
an_unknown_format_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct error err;
	char path[128];
	FILE *file;

	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(path, sizeof(path), "%s/format", fixture->path);
	file = fopen(path, "w");
	fputs("toolroot-store 99\n", file);
	fclose(file);
	assert_null(store_open(&fixture->options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, "toolroot-store 99"));
	assert_non_null(strstr(err.text, "toolroot-store 1"));
	unlink(path);
	assert_null(store_open(&fixture->options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

static void
a_directory_with_other_files_does_not_become_a_store(void **state)
{
	struct fixture *fixture = *state;
	struct store_options options = fixture->options;
	char path[128], file[160];
	struct store *store;
	struct error err;

	snprintf(path, sizeof(path), "%s/elsewhere", fixture->path);
	snprintf(file, sizeof(file), "%s/thesis.tex", path);
	assert_int_equal(mkdir(path, 0755), 0);
	close(open(file, O_WRONLY | O_CREAT, 0644));
	options.path = path;
	assert_null(store_open(&options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, "thesis.tex"));
	snprintf(file, sizeof(file), "%s/lock", path);
	assert_int_equal(access(file, F_OK), -1);
	snprintf(file, sizeof(file), "%s/thesis.tex", path);
	assert_int_equal(unlink(file), 0);
	/* As in a new file system. */
	snprintf(file, sizeof(file), "%s/lost+found", path);
	assert_int_equal(mkdir(file, 0700), 0);
	store = store_open(&options, &err);
	assert_non_null(store);
	store_close(store);
}

static void
garbage_after_the_committed_part_is_cut_off(void **state)
{
	struct fixture *fixture = *state;
	char path[128];
	FILE *file;

	put_numbered(fixture->store, 1, 1000);
	store_close(fixture->store);
	snprintf(path, sizeof(path), "%s/segments/00000001", fixture->path);
	file = fopen(path, "a");
	fputs("torn", file);
	fclose(file);
	snprintf(path, sizeof(path), "%s/incoming/left", fixture->path);
	file = fopen(path, "w");
	fputs("half an upload", file);
	fclose(file);
	fixture_open(fixture);
	assert_int_equal(access(path, F_OK), -1);
	put_numbered(fixture->store, 2, 1000);
	fixture_reopen(fixture);
	assert_content(fixture->store, 1, 1000);
	assert_content(fixture->store, 2, 1000);
}

static void
another_process_reads_while_we_write(void **state)
{
	struct fixture *fixture = *state;
	struct store_options options = fixture->options;
	int go[2], status;
	pid_t child;

	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(pipe(go), 0);
	child = fork();
	if (child == 0) {
		struct digest digest = digest_of(1, 10);
		struct store *reader;
		struct error err;
		char byte;

		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		options.read_only = true;
		reader = store_open(&options, &err);
		if (reader == NULL)
			_exit(2);
		if (store_put_bytes(reader, &digest, STR("x"), &err) == 0 ||
		    err.code != ERROR_FAILED_PRECONDITION)
			_exit(3);
		for (uint64_t i = 0; i < 50; i++) {
			struct digest wanted;

			if (read(go[0], &byte, 1) != 1)
				_exit(4);
			wanted = digest_of(i, 60000 + 10000 * (i % 2));
			struct buffer content;
			buffer_init(&content, 100000);
			if (store_read(reader, &wanted, &content, &err) != 1)
				_exit(5);
			buffer_clear(&content);
		}
		store_close(reader);
		_exit(0);
	}
	fixture_open(fixture);
	assert_int_equal(write(go[1], "g", 1), 1);
	for (uint64_t i = 0; i < 50; i++) {
		put_numbered(fixture->store, i, 60000 + 10000 * (i % 2));
		assert_int_equal(write(go[1], "g", 1), 1);
	}
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(go[0]);
	close(go[1]);
}

static void
usage_is_told_by_a_store_whose_disk_hangs(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	struct error err;
	unsigned before;

	put_numbered(fixture->store, 1, 1000);
	atomic_store(&disk_room, 12345);
	assert_int_equal(store_probe(fixture->store, &err), 0);
	before = atomic_load(&disk_questions);
	store_usage(fixture->store, &usage);
	/* A disk that hangs does not answer. */
	assert_int_equal(atomic_load(&disk_questions), before);
	assert_int_equal(usage.blobs, 1);
	assert_int_equal(usage.available, 12345);
	atomic_store(&disk_room, 0);
	assert_int_equal(store_probe(fixture->store, &err), 0);
	store_usage(fixture->store, &usage);
	assert_true(usage.available > 12345);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_blob_put_is_found_and_read_back),
	    TEST(every_digest_function_is_stored_apart),
	    TEST(blobs_are_there_after_reopening),
	    TEST(a_known_hash_with_another_size_is_missing),
	    TEST(content_that_does_not_match_is_refused_and_not_stored),
	    TEST(the_empty_blob_is_always_there),
	    TEST(the_same_blob_is_stored_once),
	    TEST(a_batch_reports_each_put_alone),
	    TEST(large_blobs_are_read_only_files_of_their_own),
	    TEST(a_deleted_file_is_missing_and_can_be_put_again),
	    TEST(a_rotten_byte_is_data_loss_once_then_missing),
	    TEST(partial_reads_are_checked_too),
	    TEST(a_full_store_refuses_with_the_figures),
	    TEST(dropped_blobs_are_missing_and_open_handles_read_on),
	    TEST(a_second_writer_is_refused_by_name),
	    TEST(an_unknown_format_is_refused),
	    TEST(a_directory_with_other_files_does_not_become_a_store),
	    TEST(garbage_after_the_committed_part_is_cut_off),
	    TEST(another_process_reads_while_we_write),
	    TEST(usage_is_told_by_a_store_whose_disk_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
