/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair: what is sound is kept, with its results, pins, names and ages; what
 * is bad goes, with the results that name it; also without an index, or with a
 * damaged one. And whatever bit flips, nothing wrong is served.
 *
 * REPAIR_FLIPS=n sets how many flips of the index are tried, REPAIR_SEED=n
 * where.
 */
#include "collector_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cas/digest_list.h"
#include "cas/names.h"
#include "cas/pins.h"
#include "cas/repair.h"
#include "cas/store_index.h"

#define SMALL_BLOBS 60
#define LARGE_BLOBS 4
#define SMALL(i) (700 + (i)*13)
#define LARGE(i) ((size_t)(90000 + (i)*1000))

static char told[4096]; /* what the repair told */

static void
tell(void *cookie, const char *what, const char *why)
{
	size_t used = strlen(told);

	(void)cookie;
	snprintf(told + used, sizeof(told) - used, "%s: %s\n", what, why);
}

static struct repair_report
repair(struct fixture *fixture)
{
	const struct repair_options options = {
	    .path = fixture->path, .tell = tell};
	struct repair_report report;
	struct error err;

	told[0] = '\0';
	store_close(fixture->store);
	fixture->store = NULL;
	if (store_repair(&options, &report, &err) < 0)
		fail_msg("repair: %s", err.text);
	fixture_open(fixture);
	return report;
}

static void
path_of(const struct fixture *fixture, const char *name, char path[320])
{
	snprintf(path, 320, "%s/%s", fixture->path, name);
}

static void
flip(const char *path, uint64_t offset, uint8_t bit)
{
	int fd = open(path, O_RDWR);
	struct error err;
	uint8_t byte;

	if (fd == -1) {
		assert_int_equal(chmod(path, 0600), 0);
		fd = open(path, O_RDWR);
	}
	assert_true(fd >= 0);
	assert_int_equal(file_pread(fd, &byte, 1, offset, &err), 0);
	byte ^= (uint8_t)(1u << bit);
	assert_int_equal(file_pwrite(fd, &byte, 1, offset, &err), 0);
	close(fd);
}

/* Where the content of a blob begins in a file. */
static uint64_t
find_content(const char *path, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct buffer file;
	struct error err;
	const char *at;
	uint64_t offset;

	buffer_init(&file, 64 << 20);
	assert_int_equal(file_read_all(path, &file, &err), 0);
	at = memmem(file.data, file.len, data, len);
	assert_non_null(at);
	offset = (uint64_t)(at - file.data);
	buffer_clear(&file);
	free(data);
	return offset;
}

/* A compressed one, in the index already. */
static void
put_settled(struct fixture *fixture, uint64_t seed, size_t len)
{
	struct error err;

	(void)put_zstd_blob(fixture, seed, len);
	assert_int_equal(index_job_settle(fixture->store, &err), 0);
}

/* Blobs 0.. small, 1000.. large; result i names small i and i + 1, result 100
 * a large one; a pin and a name. */
static void
fill(struct fixture *fixture)
{
	struct digest digests[SMALL_BLOBS], large[LARGE_BLOBS];
	struct name_key key = {STR("main"), STR("gcc")};
	struct name_entry entry = {.details = STR("details")};
	struct pin pin = {.name = STR("a pin"), .kind = PIN_BLOB};
	struct digest_list none;
	struct error err;

	for (uint64_t i = 0; i < SMALL_BLOBS; i++)
		digests[i] = put_numbered(fixture->store, i, SMALL(i));
	for (uint64_t i = 0; i < LARGE_BLOBS; i++)
		large[i] = put_numbered(fixture->store, 1000 + i, LARGE(i));
	for (uint64_t i = 0; i + 1 < SMALL_BLOBS; i++)
		assert_int_equal(
		    put_action_naming(fixture->store, i, &digests[i], 2, &err),
		    0);
	assert_int_equal(
	    put_action_naming(fixture->store, 100, large, 1, &err), 0);
	pin.digest = digests[0];
	assert_int_equal(pin_set(fixture->store, &pin, &err), 0);
	digest_list_init(&none, 1);
	entry.root = digests[1];
	assert_int_equal(
	    names_put(fixture->store, &key, &entry, &none, &entry.root, &err),
	    0);
}

static size_t
count_present(struct fixture *fixture)
{
	size_t present = 0;

	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		struct digest digest = digest_of(i, SMALL(i));

		if (is_missing(fixture->store, &digest))
			continue;
		assert_content(fixture->store, i, SMALL(i));
		present++;
	}
	for (uint64_t i = 0; i < LARGE_BLOBS; i++) {
		struct digest digest = digest_of(1000 + i, LARGE(i));

		if (is_missing(fixture->store, &digest))
			continue;
		assert_content(fixture->store, 1000 + i, LARGE(i));
		present++;
	}
	return present;
}

static size_t
count_actions(struct fixture *fixture)
{
	size_t count = has_action(fixture->store, 100);

	for (uint64_t i = 0; i + 1 < SMALL_BLOBS; i++)
		count += has_action(fixture->store, i);
	return count;
}

static void
a_sound_store_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;
	struct store_usage before, after;
	struct name_entry entry;
	struct name_key key = {STR("main"), STR("gcc")};
	struct arena arena;
	struct error err;

	fill(fixture);
	fixture_reopen(fixture);
	store_usage(fixture->store, &before);
	report = repair(fixture);
	store_usage(fixture->store, &after);
	assert_false(repair_lost_something(&report));
	assert_int_equal(report.blobs, SMALL_BLOBS + LARGE_BLOBS);
	assert_int_equal(report.large_blobs, LARGE_BLOBS);
	assert_int_equal(report.results, SMALL_BLOBS);
	assert_int_equal(report.pins, 1);
	assert_int_equal(report.names, 1);
	assert_int_equal(report.bytes, report.bytes_total);
	assert_int_equal(after.bytes, before.bytes);
	assert_int_equal(after.blobs, before.blobs);
	assert_int_equal(after.segments, before.segments);
	assert_int_equal(count_present(fixture), SMALL_BLOBS + LARGE_BLOBS);
	assert_int_equal(count_actions(fixture), SMALL_BLOBS);
	arena_init(&arena, 4096);
	assert_int_equal(
	    names_get(fixture->store, &key, &arena, &entry, &err), 1);
	assert_true(str_equal(entry.details, STR("details")));
	arena_clear(&arena);
	/* And it goes on. */
	put_numbered(fixture->store, 5000, 3000);
	fixture_reopen(fixture);
	assert_content(fixture->store, 5000, 3000);
}

static void
a_tail_that_was_not_indexed_is_kept(void **state)
{
	struct fixture *fixture = *state;
	char command[256];
	struct repair_report report;

	/* A copy taken while it is open: the log is ahead of the index. */
	put_numbered(fixture->store, 1, 2000);
	put_numbered(fixture->store, 2, 2000);
	snprintf(command, sizeof(command), "cp -r %s %s.copy", fixture->path,
	    fixture->path);
	assert_int_equal(system(command), 0);
	store_close(fixture->store);
	snprintf(command, sizeof(command), "rm -r %s && mv %s.copy %s",
	    fixture->path, fixture->path, fixture->path);
	assert_int_equal(system(command), 0);
	fixture_open(fixture);
	report = repair(fixture);
	assert_int_equal(report.blobs, 2);
	assert_content(fixture->store, 1, 2000);
	assert_content(fixture->store, 2, 2000);
}

static void
ages_are_kept(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report report;
	struct digest digest;

	put_numbered(fixture->store, 1, 2000);
	put_numbered(fixture->store, 2, 2000);
	/* The segment's file has the time of the real clock. */
	time_passes(fixture, 24 * HOUR_MS);
	assert_content(fixture->store, 2, 2000);
	(void)repair(fixture);
	report = collect_to(fixture, 3 * HOUR_MS, 0);
	assert_int_equal(report.blobs, 1);
	digest = digest_of(1, 2000);
	assert_true(is_missing(fixture->store, &digest));
	assert_content(fixture->store, 2, 2000);
}

static void
a_lost_index_is_refused_and_made_anew(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report collected;
	struct repair_report report;
	struct error err;
	char path[320];

	fill(fixture);
	store_close(fixture->store);
	path_of(fixture, "index", path);
	assert_int_equal(file_remove_tree(path, &err), 0);
	fixture->store = store_open(&fixture->options, &err);
	assert_null(fixture->store);
	assert_int_equal(err.code, ERROR_DATA_LOSS);
	assert_non_null(strstr(err.text, "toolroot store repair"));
	/* When it was used is not known: it counts as used now. */
	atomic_fetch_add(&clock_offset_ms, 48 * HOUR_MS);
	report = repair(fixture);
	assert_true(report.index_lost && repair_lost_something(&report));
	assert_int_equal(report.blobs, SMALL_BLOBS + LARGE_BLOBS);
	assert_int_equal(report.results, 0);
	collected = collect_to(fixture, 3 * HOUR_MS, 0);
	assert_int_equal(collected.blobs, 0);
	assert_int_equal(count_present(fixture), SMALL_BLOBS + LARGE_BLOBS);
}

static void
an_index_that_is_no_index_is_made_anew(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;
	struct error err;
	char path[320];

	fill(fixture);
	store_close(fixture->store);
	path_of(fixture, "index/data.mdb", path);
	assert_int_equal(truncate(path, 5000), 0);
	for (uint64_t i = 0; i < 4096; i += 7)
		flip(path, i, 3);
	fixture->store = store_open(&fixture->options, &err);
	assert_null(fixture->store);
	report = repair(fixture);
	assert_true(report.index_damaged);
	path_of(fixture, "index/data.mdb.old", path);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(count_present(fixture), SMALL_BLOBS + LARGE_BLOBS);
}

static void
a_flipped_bit_costs_one_blob_and_its_results(void **state)
{
	struct fixture *fixture = *state;
	struct digest bad = digest_of(7, SMALL(7));
	struct repair_report report;
	char path[320], text[DIGEST_TEXT_MAX];

	fill(fixture);
	fixture_reopen(fixture);
	path_of(fixture, "segments/00000001", path);
	flip(path, find_content(path, 7, SMALL(7)) + 100, 5);
	report = repair(fixture);
	assert_int_equal(report.bad_blobs, 1);
	assert_int_equal(report.dropped_results, 2);
	assert_int_equal(report.skipped_bytes, 0);
	assert_non_null(strstr(told, digest_format(&bad, text)));
	assert_true(is_missing(fixture->store, &bad));
	assert_int_equal(count_present(fixture), SMALL_BLOBS + LARGE_BLOBS - 1);
	assert_int_equal(count_actions(fixture), SMALL_BLOBS - 2);
	/* It heals. */
	put_numbered(fixture->store, 7, SMALL(7));
	assert_content(fixture->store, 7, SMALL(7));
}

static void
a_damaged_header_costs_one_blob(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;
	char path[320];

	fill(fixture);
	fixture_reopen(fixture);
	path_of(fixture, "segments/00000001", path);
	flip(path, find_content(path, 7, SMALL(7)) - 50, 0);
	report = repair(fixture);
	assert_int_equal(report.skipped_bytes, 96 + SMALL(7));
	assert_int_equal(report.dropped_results, 2);
	assert_int_equal(count_present(fixture), SMALL_BLOBS + LARGE_BLOBS - 1);
}

static void
a_bad_file_goes_and_a_foreign_one_stays(void **state)
{
	struct fixture *fixture = *state;
	struct digest bad = digest_of(1000, LARGE(0));
	char path[320], name[200], hash[DIGEST_TEXT_MAX];
	struct repair_report report;
	int fd;

	fill(fixture);
	snprintf(name, sizeof(name), "blobs/sha256/%02x/%s", bad.hash[0],
	    digest_format_hash(&bad, hash));
	path_of(fixture, name, path);
	flip(path, 4000, 1);
	path_of(fixture, "blobs/sha256/README", path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	snprintf(name, sizeof(name), "blobs/sha256/%02x/notes", bad.hash[0]);
	path_of(fixture, name, path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	report = repair(fixture);
	assert_int_equal(report.bad_blobs, 1);
	assert_int_equal(report.dropped_results, 1);
	assert_int_equal(report.strays, 1);
	assert_int_equal(access(path, F_OK), 0);
	assert_true(is_missing(fixture->store, &bad));
	assert_false(has_action(fixture->store, 100));
	assert_int_equal(count_present(fixture), SMALL_BLOBS + LARGE_BLOBS - 1);
}

static void
compressed_blobs_are_verified_too(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;
	struct digest digest;

	put_settled(fixture, 1, 3000);
	put_settled(fixture, 2, 400000);
	report = repair(fixture);
	assert_int_equal(report.blobs, 2);
	assert_int_equal(report.large_blobs, 1);
	assert_content(fixture->store, 1, 3000);
	assert_content(fixture->store, 2, 400000);
	digest = digest_of(2, 400000);
	assert_false(is_missing(fixture->store, &digest));
}

/* Their last frame ends where the buffer that it is decoded into is full. */
static void
compressed_blobs_of_whole_buffers_are_kept(void **state)
{
	struct fixture *fixture = *state;
	struct repair_report report;

	for (uint64_t i = 1; i <= 4; i++)
		put_settled(fixture, i, i << 18);
	report = repair(fixture);
	assert_int_equal(report.bad_blobs, 0);
	assert_int_equal(report.large_blobs, 4);
	for (uint64_t i = 1; i <= 4; i++)
		assert_content(fixture->store, i, i << 18);
}

static void
a_store_in_use_is_refused(void **state)
{
	struct fixture *fixture = *state;
	const struct repair_options options = {
	    .path = fixture->path, .tell = tell};
	struct repair_report report;
	struct error err;

	assert_int_equal(store_repair(&options, &report, &err), -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

/* --- flips of the index ----------------------------------------------------
 */

/* The messages as they were stored. */
static struct {
	char bytes[512];
	size_t len;
} stored[SMALL_BLOBS];

static int
get_result(struct fixture *fixture, uint64_t i, struct arena *arena,
    struct str *result)
{
	struct action_key key = action_numbered(i);
	struct error err;

	arena_init(arena, 1 << 20);
	return store_get_action(fixture->store, &key, arena, result, &err);
}

static void
remember_results(struct fixture *fixture)
{
	for (uint64_t i = 0; i + 1 < SMALL_BLOBS; i++) {
		struct arena arena;
		struct str result;

		assert_int_equal(get_result(fixture, i, &arena, &result), 1);
		assert_true(result.len <= sizeof(stored[i].bytes));
		memcpy(stored[i].bytes, result.data, result.len);
		stored[i].len = result.len;
		arena_clear(&arena);
	}
}

/* Reads all there is; the process ends with 3 when something wrong was
 * served. A crash is no answer either, but LMDB's own. */
static void __attribute__((noreturn)) read_all(struct fixture *fixture)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT};
	struct error err;

	for (size_t i = 0; i < 3; i++)
		(void)signal(fatal[i], SIG_DFL);
	if (freopen("/dev/null", "w", stderr) == NULL)
		_exit(1);
	fixture->store = store_open(&fixture->options, &err);
	if (fixture->store == NULL)
		_exit(0);
	for (uint64_t i = 0; i < SMALL_BLOBS + LARGE_BLOBS; i++) {
		bool large = i >= SMALL_BLOBS;
		uint64_t seed = large ? 1000 + i - SMALL_BLOBS : i;
		size_t len = large ? LARGE(i - SMALL_BLOBS) : SMALL(i);
		struct digest digest = digest_of(seed, len);
		char *data = make_content(seed, len);
		struct buffer content;

		buffer_init(&content, len);
		if (store_read(fixture->store, &digest, &content, &err) == 1 &&
		    (content.len != len ||
			memcmp(content.data, data, len) != 0))
			_exit(3);
		buffer_clear(&content);
		free(data);
	}
	for (uint64_t i = 0; i + 1 < SMALL_BLOBS; i++) {
		struct arena arena;
		struct str result;

		if (get_result(fixture, i, &arena, &result) == 1 &&
		    (result.len != stored[i].len ||
			memcmp(result.data, stored[i].bytes, result.len) != 0))
			_exit(3);
		arena_clear(&arena);
	}
	store_close(fixture->store);
	_exit(0);
}

static void
whatever_bit_of_the_index_flips_nothing_wrong_is_served(void **state)
{
	struct fixture *fixture = *state;
	const char *text = getenv("REPAIR_FLIPS"),
		   *seeded = getenv("REPAIR_SEED");
	unsigned flips = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 40;
	uint64_t random =
	    seeded != NULL ? strtoull(seeded, NULL, 10) : 88172645;
	char path[320], good[256], command[600];
	struct stat status;

	fill(fixture);
	remember_results(fixture);
	store_close(fixture->store);
	fixture->store = NULL;
	path_of(fixture, "index/data.mdb", path);
	snprintf(good, sizeof(good), "%s.good", fixture->path);
	snprintf(command, sizeof(command), "cp -a %s %s", fixture->path, good);
	assert_int_equal(system(command), 0);
	assert_int_equal(stat(path, &status), 0);
	for (unsigned i = 0; i < flips; i++) {
		struct repair_report report;
		int child_status;
		uint64_t at;
		pid_t pid;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		at = random % (uint64_t)status.st_size;
		flip(path, at, (uint8_t)(random >> 40 & 7));
		fflush(stdout);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			read_all(fixture);
		assert_int_equal(waitpid(pid, &child_status, 0), pid);
		if (WIFEXITED(child_status) && WEXITSTATUS(child_status) == 3)
			fail_msg("flip %u at %llu: something wrong was served",
			    i, (unsigned long long)at);
		report = repair(fixture);
		if (count_present(fixture) != SMALL_BLOBS + LARGE_BLOBS)
			fail_msg("flip %u at %llu: repair found %llu blobs", i,
			    (unsigned long long)at,
			    (unsigned long long)report.blobs);
		store_close(fixture->store);
		fixture->store = NULL;
		snprintf(command, sizeof(command), "rm -rf %s && cp -a %s %s",
		    fixture->path, good, fixture->path);
		assert_int_equal(system(command), 0);
	}
	snprintf(command, sizeof(command), "rm -rf %s", good);
	assert_int_equal(system(command), 0);
	fixture_open(fixture);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(a_sound_store_loses_nothing),
	    with_store(a_tail_that_was_not_indexed_is_kept),
	    with_store(ages_are_kept),
	    with_store(a_lost_index_is_refused_and_made_anew),
	    with_store(an_index_that_is_no_index_is_made_anew),
	    with_store(a_flipped_bit_costs_one_blob_and_its_results),
	    with_store(a_damaged_header_costs_one_blob),
	    with_store(a_bad_file_goes_and_a_foreign_one_stays),
	    with_store(compressed_blobs_are_verified_too),
	    with_store(compressed_blobs_of_whole_buffers_are_kept),
	    with_store(a_store_in_use_is_refused),
	    with_store(whatever_bit_of_the_index_flips_nothing_wrong_is_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
