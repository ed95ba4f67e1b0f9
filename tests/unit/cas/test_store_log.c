/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log before the index: what is acknowledged while the index lags is found,
 * read, and there after a crash at that moment. A job that waits holds the
 * indexer still; a copy of the directory is what a crash would leave.
 */
#include "store_fixture.h"
#include "store_stall.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/arena.h"

#define RECORD(len) (RECORD_HEADER_SIZE + (len))

/* --- crashes -------------------------------------------------------------- */

static void
acknowledged_blobs_are_there_before_the_index_knows(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	struct digest digest;
	struct stall stall;

	stall_begin(&stall, fixture->store);
	digest = put_numbered(fixture->store, 1, 1000);
	assert_false(is_missing(fixture->store, &digest));
	assert_content(fixture->store, 1, 1000);
	/* Again: nothing is written. */
	put_numbered(fixture->store, 1, 1000);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 1);
	assert_int_equal(usage.segments, 1);
	assert_int_equal(pending_bytes(fixture->store->pending), RECORD(1000));
	stall_end(&stall);
	assert_content(fixture->store, 1, 1000);
}

static void
a_crash_before_the_index_knows_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	char path[80];
	struct stall stall;
	struct store *copy;
	struct store_usage usage;

	put_numbered(fixture->store, 1000, 5000);
	stall_begin(&stall, fixture->store);
	/* Three segments and more. */
	for (uint64_t i = 0; i < 60; i++)
		put_numbered(fixture->store, i, 60000 + i);
	copy = open_copy(fixture, path);
	store_usage(copy, &usage);
	assert_int_equal(usage.blobs, 61);
	assert_true(pending_count(copy->pending) >= 60);
	for (uint64_t i = 0; i < 60; i++)
		assert_content(copy, i, 60000 + i);
	put_numbered(copy, 2000, 5000);
	close_copy(copy, path);
	stall_end(&stall);
}

static void
what_was_recovered_is_indexed_and_stays(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage before, after;
	struct store_options options = fixture->options;
	struct stall stall;
	struct store *copy;
	struct error err;
	char path[80];

	stall_begin(&stall, fixture->store);
	for (uint64_t i = 0; i < 40; i++)
		put_numbered(fixture->store, i, 60000 + i);
	copy = open_copy(fixture, path);
	store_usage(copy, &before);
	store_close(copy);
	options.path = path;
	copy = store_open(&options, &err);
	assert_non_null(copy);
	assert_int_equal(pending_count(copy->pending), 0);
	store_usage(copy, &after);
	assert_int_equal(before.bytes, after.bytes);
	assert_int_equal(before.segments, after.segments);
	assert_int_equal(after.blobs, 40);
	for (uint64_t i = 0; i < 40; i++)
		assert_content(copy, i, 60000 + i);
	close_copy(copy, path);
	stall_end(&stall);
}

static void
child_writes_behind_the_index(const struct fixture *fixture, int pipe_end)
{
	struct stall stall;
	struct error err;
	struct store *store = store_open(&fixture->options, &err);

	if (store == NULL)
		_exit(1);
	stall_begin(&stall, store);
	for (uint64_t i = 0; i < 50; i++)
		put_numbered(store, i, 1000 + i);
	if (write(pipe_end, "x", 1) != 1)
		_exit(2);
	pause();
	_exit(3);
}

static void
a_missing_number_does_not_end_the_log(void **state)
{
	struct fixture *fixture = *state;
	struct store_options options = fixture->options;
	char path[80], name[128];
	struct stall stall;
	struct store *copy;
	struct error err;

	stall_begin(&stall, fixture->store);
	for (uint64_t i = 0; i < 60; i++)
		put_numbered(fixture->store, i, 60000);
	snprintf(path, sizeof(path), "%s-copy", fixture->path);
	run("rm -rf %2$s; cp -a %1$s %2$s", fixture->path, path);
	snprintf(name, sizeof(name), "%s/segments/00000002", path);
	assert_int_equal(unlink(name), 0);
	options.path = path;
	copy = store_open(&options, &err);
	assert_non_null(copy);
	assert_content(copy, 0, 60000);
	assert_content(copy, 59, 60000);
	/* Nor is what follows written over. */
	for (uint64_t i = 100; i < 160; i++)
		put_numbered(copy, i, 60000);
	assert_content(copy, 59, 60000);
	close_copy(copy, path);
	stall_end(&stall);
}

static void
a_kill_before_the_index_knows_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	int ends[2], status;
	pid_t child;
	char byte;

	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0)
		child_writes_behind_the_index(fixture, ends[1]);
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	assert_int_equal(kill(child, SIGKILL), 0);
	waitpid(child, &status, 0);
	assert_true(WIFSIGNALED(status));
	fixture_open(fixture);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 50);
	for (uint64_t i = 0; i < 50; i++)
		assert_content(fixture->store, i, 1000 + i);
}

/* --- damage --------------------------------------------------------------- */

static void
change_byte(const char *path, off_t offset)
{
	char name[128], byte;
	int fd;

	snprintf(name, sizeof(name), "%s/segments/00000001", path);
	fd = open(name, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	close(fd);
}

static void
cut(const char *path, off_t length)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/segments/00000001", path);
	assert_int_equal(truncate(name, length), 0);
}

/* Three blobs in the tail of a copy, damaged at an offset (or cut there):
 * which of them are there afterwards. */
static void
check_damage(const struct fixture *fixture, off_t offset, bool cutting,
    const bool there[3])
{
	struct store_options options = fixture->options;
	struct store *copy;
	struct error err;
	char path[80];

	snprintf(path, sizeof(path), "%s-copy", fixture->path);
	run("rm -rf %2$s; cp -a %1$s %2$s", fixture->path, path);
	if (cutting)
		cut(path, offset);
	else
		change_byte(path, offset);
	options.path = path;
	copy = store_open(&options, &err);
	assert_non_null(copy);
	for (uint64_t i = 0; i < 3; i++) {
		struct digest digest = digest_of(i, 1000);

		assert_int_equal(is_missing(copy, &digest), !there[i]);
		if (there[i])
			assert_content(copy, i, 1000);
	}
	/* It goes on, and nothing comes back. */
	for (uint64_t i = 0; i < 3; i++)
		put_numbered(copy, i, 1000);
	put_numbered(copy, 3, 1000);
	store_close(copy);
	copy = store_open(&options, &err);
	assert_non_null(copy);
	for (uint64_t i = 0; i < 4; i++)
		assert_content(copy, i, 1000);
	close_copy(copy, path);
}

static void
a_torn_or_garbled_record_is_not_believed(void **state)
{
	struct fixture *fixture = *state;
	struct stall stall;

	stall_begin(&stall, fixture->store);
	for (uint64_t i = 0; i < 3; i++)
		put_numbered(fixture->store, i, 1000);
	/* Torn in the content, in the header, before it. */
	check_damage(
	    fixture, 3 * RECORD(1000) - 1, true, (bool[]){true, true, false});
	check_damage(
	    fixture, 2 * RECORD(1000) + 50, true, (bool[]){true, true, false});
	check_damage(
	    fixture, 2 * RECORD(1000), true, (bool[]){true, true, false});
	check_damage(fixture, 0, true, (bool[]){false, false, false});
	/* A rotten byte in a content takes that blob; in a header, where the
	 * next record begins is not known. */
	check_damage(fixture, RECORD(1000) + RECORD(500), false,
	    (bool[]){true, false, true});
	check_damage(
	    fixture, RECORD(1000) + 40, false, (bool[]){true, false, false});
	stall_end(&stall);
}

static void
a_dropped_blob_does_not_come_back_from_the_log(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 1000);
	char path[80];
	struct store *copy;
	struct error err;

	/* It may be pending still: the drop waits for the index. */
	assert_int_equal(store_drop_blob(fixture->store, &digest, &err), 0);
	assert_true(is_missing(fixture->store, &digest));
	copy = open_copy(fixture, path);
	assert_true(is_missing(copy, &digest));
	close_copy(copy, path);
}

/* --- what is written while it is being dropped ---------------------------- */

static void
a_blob_written_during_its_drop_stays(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 1000);
	struct store_usage usage;
	struct place place;
	struct error err;

	fixture_reopen(fixture);
	assert_int_equal(store_find(fixture->store, &digest, &place, &err), 1);
	/* As a drop under way: found, but not to be relied on. */
	atomic_fetch_add(&fixture->store->drops, 1);
	put_numbered(fixture->store, 1, 1000);
	atomic_fetch_sub(&fixture->store->drops, 1);
	store_drop_bad(fixture->store, &digest, &place, "a test");
	fixture_reopen(fixture);
	assert_content(fixture->store, 1, 1000);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 1);
}

/* --- moves ---------------------------------------------------------------- */

struct move {
	struct commit_job job;
	struct commit_blob blob;
	struct store *store;
	sem_t done;
};

static int
move_append(struct commit_job *job, struct log_group *group, struct error *err)
{
	return log_group_add(group, &((struct move *)job)->blob, err);
}

static void
move_finish(struct commit_job *job, const struct error *err)
{
	struct move *move = (struct move *)job;

	assert_null(err);
	commit_blob_clear(move->store, &move->blob, false);
	sem_post(&move->done);
}

/* Copies the record of blob number 1, as a collector does. */
static void
copy_record(struct store *store, const struct place *from)
{
	char *data = make_content(1, 1000);
	struct iovec part = {data, 1000};
	struct move move = {
	    .job = {.append = move_append, .finish = move_finish},
	    .store = store,
	    .blob = {.digest = digest_of(1, 1000),
		.stored_size = 1000,
		.parts = &part,
		.part_count = 1,
		.moves = true,
		.from = *from}};

	sem_init(&move.done, 0, 0);
	commit_blob_seal(&move.blob);
	move.job.weight = commit_blob_weight(&move.blob);
	committer_submit(store->committer, &move.job);
	sem_wait(&move.done);
	free(data);
}

static struct segment_usage
usage_of_segment(struct store *store)
{
	struct segment_usage usage;
	struct error err;
	MDB_txn *txn;

	assert_int_equal(index_read_begin(store->index, &txn, &err), 0);
	assert_int_equal(index_segment(store->index, txn, 1, &usage, &err), 1);
	index_read_end(store->index, txn);
	return usage;
}

static void
a_copied_record_takes_the_place_of_the_first(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 1000);
	struct place before, after;
	struct store_usage usage;
	struct error err;

	fixture_reopen(fixture);
	assert_int_equal(store_find(fixture->store, &digest, &before, &err), 1);
	copy_record(fixture->store, &before);
	assert_content(fixture->store, 1, 1000);
	fixture_reopen(fixture);
	assert_int_equal(store_find(fixture->store, &digest, &after, &err), 1);
	assert_int_equal(before.offset, 0);
	assert_int_equal(after.offset, RECORD(1000));
	assert_content(fixture->store, 1, 1000);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 1);
	assert_int_equal(
	    usage_of_segment(fixture->store).length, 2 * RECORD(1000));
	assert_int_equal(usage_of_segment(fixture->store).used, RECORD(1000));
}

static void
a_copy_does_not_bring_back_what_was_dropped(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 1000);
	struct store_usage usage;
	struct place before;
	struct error err;

	assert_int_equal(store_find(fixture->store, &digest, &before, &err), 1);
	assert_int_equal(store_drop_blob(fixture->store, &digest, &err), 0);
	copy_record(fixture->store, &before);
	assert_true(is_missing(fixture->store, &digest));
	fixture_reopen(fixture);
	assert_true(is_missing(fixture->store, &digest));
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 0);
	assert_int_equal(usage_of_segment(fixture->store).used, 0);
}

/* --- results -------------------------------------------------------------- */

static void
a_result_may_name_blobs_that_the_index_lacks(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest;
	/* ActionResult: stdout_digest (6) = { hash (1), size_bytes (2) }. */
	char message[2 + 2 + 64 + 2 + 1], hash[DIGEST_TEXT_MAX], path[80];
	struct action_key key;
	struct store *copy;
	struct arena arena;
	struct error err;
	struct str got;

	digest = put_numbered(fixture->store, 1, 100);
	key = (struct action_key){STR("i"), digest};
	memcpy(message, "\x32\x44\x0a\x40", 4);
	memcpy(message + 4, digest_format_hash(&digest, hash), 64);
	memcpy(message + 68, "\x10\x64", 2);
	assert_int_equal(store_put_action(fixture->store, &key,
			     (struct str){message, 70}, NULL, &err),
	    0);
	copy = open_copy(fixture, path);
	arena_init(&arena, 1 << 16);
	assert_int_equal(
	    store_get_action(fixture->store, &key, &arena, &got, &err), 1);
	assert_int_equal(store_get_action(copy, &key, &arena, &got, &err), 1);
	arena_clear(&arena);
	close_copy(copy, path);
}

/* --- readers -------------------------------------------------------------- */

/* Reads numbered blobs as they are announced; then says so. */
static int
read_along(const struct fixture *fixture, int announced, int answers)
{
	struct store_options options = fixture->options;
	struct store *reader;
	struct error err;
	uint64_t number;

	if (read(announced, &number, sizeof(number)) != sizeof(number))
		return 1;
	options.read_only = true;
	reader = store_open(&options, &err);
	if (reader == NULL)
		return 2;
	while (read(announced, &number, sizeof(number)) == sizeof(number)) {
		struct digest wanted = digest_of(number, 2000 + number);
		struct digest absent = digest_of(number, 1999);

		if (is_missing(reader, &wanted))
			return 3;
		assert_content(reader, number, 2000 + number);
		if (!is_missing(reader, &absent))
			return 4;
		if (write(answers, "y", 1) != 1)
			return 5;
	}
	store_close(reader);
	return 0;
}

static void
announce(int announced, int answers, uint64_t number)
{
	char byte;

	assert_int_equal(
	    write(announced, &number, sizeof(number)), sizeof(number));
	assert_int_equal(read(answers, &byte, 1), 1);
}

static void
another_process_sees_what_the_index_lacks(void **state)
{
	struct fixture *fixture = *state;
	int announced[2], answers[2], status;
	uint64_t start = 0;
	struct stall stall;
	pid_t child;

	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(pipe(announced), 0);
	assert_int_equal(pipe(answers), 0);
	child = fork();
	if (child == 0) {
		close(announced[1]);
		_exit(read_along(fixture, announced[0], answers[1]));
	}
	close(answers[1]);
	fixture_open(fixture);
	assert_int_equal(
	    write(announced[1], &start, sizeof(start)), sizeof(start));
	stall_begin(&stall, fixture->store);
	/* Over the end of a segment. */
	for (uint64_t i = 0; i < 700; i++) {
		put_numbered(fixture->store, i, 2000 + i);
		if (i % 7 == 0 || i > 690)
			announce(announced[1], answers[0], i);
	}
	stall_end(&stall);
	/* And what it takes in meanwhile. */
	for (uint64_t i = 0; i < 700; i += 3)
		announce(announced[1], answers[0], i);
	close(announced[1]);
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(announced[0]);
	close(answers[0]);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(acknowledged_blobs_are_there_before_the_index_knows),
	    TEST(a_crash_before_the_index_knows_loses_nothing),
	    TEST(what_was_recovered_is_indexed_and_stays),
	    TEST(a_missing_number_does_not_end_the_log),
	    TEST(a_kill_before_the_index_knows_loses_nothing),
	    TEST(a_torn_or_garbled_record_is_not_believed),
	    TEST(a_dropped_blob_does_not_come_back_from_the_log),
	    TEST(a_blob_written_during_its_drop_stays),
	    TEST(a_copied_record_takes_the_place_of_the_first),
	    TEST(a_copy_does_not_bring_back_what_was_dropped),
	    TEST(a_result_may_name_blobs_that_the_index_lacks),
	    TEST(another_process_sees_what_the_index_lacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
