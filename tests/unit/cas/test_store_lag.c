/* SPDX-License-Identifier: Apache-2.0 */
/* How far the index may lag behind the log, and what becomes of that when it
 * cannot be written. The test's thread and one that writes. */
#include "small_disk.h"
#include "store_fixture.h"
#include "store_stall.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "cas/index_job.h"
#include "cas/store_index.h"

/* --- the lag -------------------------------------------------------------- */

#define BULK_PUTS 64
#define BULK_SIZE 60000
#define BULK_BATCHES 30

struct bulk {
	struct store *store;
	size_t size; /* of a blob */
	sem_t done;
	atomic_uint_least64_t stored; /* bytes */
	atomic_int failures;
};

struct bulk_batch {
	struct store_batch batch;
	struct bulk *bulk;
};

static void
bulk_done(struct store_batch *batch)
{
	sem_post(&((struct bulk_batch *)batch)->bulk->done);
}

static void
bulk_put(struct bulk *bulk, uint64_t first)
{
	struct store_put puts[BULK_PUTS] = {0};
	struct iovec parts[BULK_PUTS];
	struct bulk_batch batch = {
	    .batch = {.puts = puts, .count = BULK_PUTS, .done = bulk_done},
	    .bulk = bulk};

	for (size_t i = 0; i < BULK_PUTS; i++) {
		parts[i] = (struct iovec){
		    make_content(first + i, bulk->size), bulk->size};
		puts[i].digest = digest_of(first + i, bulk->size);
		puts[i].parts = &parts[i];
		puts[i].part_count = 1;
	}
	store_put_batch(bulk->store, &batch.batch);
	sem_wait(&bulk->done);
	for (size_t i = 0; i < BULK_PUTS; i++) {
		if (puts[i].error != NULL)
			atomic_fetch_add(&bulk->failures, 1);
		free(puts[i].error);
		free(parts[i].iov_base);
	}
	atomic_fetch_add(&bulk->stored, BULK_PUTS * bulk->size);
}

static void *
bulk_run(void *cookie)
{
	struct bulk *bulk = cookie;

	for (uint64_t i = 0; i < BULK_BATCHES; i++)
		bulk_put(bulk, i * BULK_PUTS);
	return NULL;
}

static int64_t
processor_ms(void)
{
	struct timespec used;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
	return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* With the longest tail; far below a second, which others may make long. */
static void
check_opening(const struct fixture *fixture)
{
	struct store_options options = fixture->options;
	char path[80];
	struct store *copy;
	struct error err;
	int64_t start;

	snprintf(path, sizeof(path), "%s-copy", fixture->path);
	run("rm -rf %2$s; cp -a %1$s %2$s", fixture->path, path);
	options.path = path;
	start = processor_ms();
	copy = store_open(&options, &err);
	assert_non_null(copy);
	start = processor_ms() - start;
	fprintf(stderr, "# opened with %d ms of a processor\n", (int)start);
	assert_true(start < 5000);
	assert_content(copy, 0, BULK_SIZE);
	close_copy(copy, path);
}

static int
job_apply(struct commit_job *job, struct commit_group *group, struct error *err)
{
	(void)job;
	(void)group;
	(void)err;
	return 0;
}

/* One that has to find all that was stored in the index. */
static void
job_submit(struct stall *job, struct store *store)
{
	memset(job, 0, sizeof(*job));
	job->job.apply = job_apply;
	job->job.finish = stall_finish;
	job->job.ends_group = true;
	sem_init(&job->left, 0, 0);
	committer_submit(store->committer, &job->job);
}

/* A store whose writers wait for good cannot be closed either. */
static void
join_writer(pthread_t thread)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 120;
	if (pthread_timedjoin_np(thread, NULL, &until) == 0)
		return;
	fprintf(stderr, "# nobody told the writer that there is room\n");
	abort();
}

/* And go on when it has caught up, for a job too. */
static void
writers_wait_for_an_index_that_lags_too_far(void **state)
{
	struct fixture *fixture = *state;
	struct bulk bulk = {.store = fixture->store, .size = BULK_SIZE};
	int64_t end_ms = clock_monotonic_ms() + 120000;
	uint64_t before, now = 0;
	struct stall stall, job;
	pthread_t thread;

	sem_init(&bulk.done, 0, 0);
	stall_begin(&stall, fixture->store);
	assert_int_equal(pthread_create(&thread, NULL, bulk_run, &bulk), 0);
	/* A slow disk may make them pause before. */
	do {
		before = now;
		usleep(1500000);
		now = atomic_load(&bulk.stored);
	} while (
	    (now < 64 << 20 || now != before) && clock_monotonic_ms() < end_ms);
	assert_in_range(now, 64 << 20, 100 << 20);
	assert_in_range(
	    pending_bytes(fixture->store->pending), 64 << 20, 100 << 20);
	check_opening(fixture);
	job_submit(&job, fixture->store);
	stall_end(&stall);
	join_writer(thread);
	sem_wait(&job.left);
	assert_int_equal(atomic_load(&bulk.failures), 0);
	fixture_reopen(fixture);
	for (uint64_t i = 0; i < BULK_BATCHES * BULK_PUTS; i += 97)
		assert_content(fixture->store, i, BULK_SIZE);
}

/* One that fails, and comes again at once until it is to stop. */
struct failing {
	struct commit_job job; /* first */
	struct store *store;
	atomic_bool stop;
	atomic_int failures;
	sem_t left;
};

static int
failing_apply(
    struct commit_job *job, struct commit_group *group, struct error *err)
{
	(void)job;
	(void)group;
	return error_set(err, ERROR_INTERNAL, "a job that fails");
}

static void
failing_finish(struct commit_job *job, const struct error *err)
{
	struct failing *failing = (struct failing *)job;

	if (err != NULL)
		atomic_fetch_add(&failing->failures, 1);
	if (atomic_load(&failing->stop))
		sem_post(&failing->left);
	else
		committer_submit(failing->store->committer, job);
}

static void
writers_at_the_bound_go_on_beside_jobs_that_fail(void **state)
{
	struct fixture *fixture = *state;
	struct bulk bulk = {.store = fixture->store, .size = BULK_SIZE};
	struct failing failing = {
	    .job = {.apply = failing_apply, .finish = failing_finish},
	    .store = fixture->store};
	pthread_t thread;

	sem_init(&bulk.done, 0, 0);
	sem_init(&failing.left, 0, 0);
	committer_submit(fixture->store->committer, &failing.job);
	assert_int_equal(pthread_create(&thread, NULL, bulk_run, &bulk), 0);
	join_writer(thread);
	atomic_store(&failing.stop, true);
	sem_wait(&failing.left);
	assert_int_equal(atomic_load(&bulk.failures), 0);
	assert_true(atomic_load(&failing.failures) > 0);
}

/* So many that they do not fit into one transaction. */
static void
a_job_finds_all_that_was_stored_before_in_the_index(void **state)
{
	struct fixture *fixture = *state;
	struct bulk bulk = {.store = fixture->store, .size = 100};
	struct store_usage usage;
	struct stall stall;
	struct error err;

	sem_init(&bulk.done, 0, 0);
	stall_begin(&stall, fixture->store);
	for (uint64_t i = 0; i < 300; i++)
		bulk_put(&bulk, i * BULK_PUTS);
	assert_int_equal(atomic_load(&bulk.failures), 0);
	assert_int_equal(
	    pending_count(fixture->store->pending), 300 * BULK_PUTS);
	stall_end(&stall);
	assert_int_equal(index_job_settle(fixture->store, &err), 0);
	assert_int_equal(pending_count(fixture->store->pending), 0);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 300 * BULK_PUTS);
	for (uint64_t i = 0; i < 300 * BULK_PUTS; i += 997)
		assert_content(fixture->store, i, 100);
}

/* --- touches ---------------------------------------------------------------
 */

/* So many that each random key has a page of the index of its own. */
#define INDEXED 260000
/* More than can wait until the indexer looks by itself. */
#define TOUCHED 33000
#define MANY_BATCHES 520

/* Notes how far the group got that it was in. */
struct witness {
	struct stall job; /* first */
	struct store *store;
	size_t pending;
	size_t touches;
};

static struct digest
indexed_digest(uint64_t number)
{
	struct digest digest = {.function = DIGEST_SHA256, .size = 1};

	for (size_t i = 0; i < 4; i++) {
		uint64_t mixed = number * 0x9e3779b97f4a7c15u + i;

		mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
		mixed ^= mixed >> 27;
		memcpy(digest.hash + 8 * i, &mixed, sizeof(mixed));
	}
	return digest;
}

static int
index_many(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	const struct place place = {
	    .size = 1, .stored_size = 1, .epoch = 10, .kind = PLACE_SEGMENT};
	struct place present;

	(void)cookie;
	(void)store;
	for (uint64_t i = 0; i < INDEXED; i++) {
		struct digest digest = indexed_digest(i);

		if (index_add(write, &digest, &place, &present, err) != 1)
			return -1;
	}
	return 0;
}

static void
witness_finish(struct commit_job *job, const struct error *err)
{
	struct witness *witness = (struct witness *)job;

	witness->pending = pending_count(witness->store->pending);
	witness->touches = touches_waiting(witness->store->touches);
	stall_finish(job, err);
}

static void
touches_are_written_however_much_is_stored(void **state)
{
	struct fixture *fixture = *state;
	const struct index_job job = {.apply = index_many};
	const struct place old = {.epoch = 10};
	struct bulk bulk = {.store = fixture->store, .size = 10};
	struct witness witness = {.store = fixture->store};
	struct stall stall;
	struct error err;

	sem_init(&bulk.done, 0, 0);
	assert_int_equal(index_job_run(fixture->store, &job, &err), 0);
	stall_begin(&stall, fixture->store);
	for (uint64_t i = 0; i < MANY_BATCHES; i++)
		bulk_put(&bulk, i * BULK_PUTS);
	assert_int_equal(atomic_load(&bulk.failures), 0);
	for (uint64_t i = 0; i < TOUCHED; i++) {
		struct digest digest = indexed_digest(i);

		assert_true(store_touch(fixture->store, &digest, &old));
	}
	witness.job.job.apply = job_apply;
	witness.job.job.finish = witness_finish;
	sem_init(&witness.job.left, 0, 0);
	committer_submit(fixture->store->committer, &witness.job.job);
	stall_end(&stall);
	sem_wait(&witness.job.left);
	assert_in_range(witness.pending, 1, (MANY_BATCHES * BULK_PUTS) - 1);
	assert_in_range(witness.touches, 1, TOUCHED - 1);
}

/* --- a full disk ---------------------------------------------------------- */

static void
fill_disk(const char *path)
{
	static char block[4096];
	char name[128];
	int fd;

	snprintf(name, sizeof(name), "%s/ballast", path);
	fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
}

static bool
has_content(struct store *store, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct digest digest = digest_of(i, 20000);

		if (is_missing(store, &digest))
			return false;
		assert_content(store, i, 20000);
	}
	return true;
}

static enum error_code
put_new(struct store *store, uint64_t seed, struct error *err)
{
	struct digest digest = digest_of(seed, 20000);
	char *data = make_content(seed, 20000);
	enum error_code code = put_content(store, &digest, data, 20000, err);

	free(data);
	return code;
}

/* In a child of small_disk.h. */
static int
with_full_disk(struct fixture *fixture)
{
	uint64_t stored = 100;
	struct error err = {0};
	struct stall stall;
	char name[128];

	fixture_open(fixture);
	stall_begin(&stall, fixture->store);
	for (uint64_t i = 0; i < 100; i++)
		put_numbered(fixture->store, i, 20000);
	fill_disk(fixture->path);
	stall_end(&stall);
	/* The index cannot be written now; the log has it all. */
	usleep(600000);
	if (pending_count(fixture->store->pending) != 100)
		return 1;
	/* What the log asked for ahead is still there. */
	while (put_new(fixture->store, stored, &err) == ERROR_OK)
		stored++;
	if (!has_content(fixture->store, stored) || stored > 200)
		return 2;
	for (int i = 0; i < 10; i++) {
		if (put_new(fixture->store, stored, &err) !=
		    ERROR_RESOURCE_EXHAUSTED)
			return 3;
	}
	fprintf(stderr, "# %s\n", err.text);
	fixture_reopen(fixture);
	if (!has_content(fixture->store, stored))
		return 4;
	snprintf(name, sizeof(name), "%s/ballast", fixture->path);
	unlink(name);
	if (put_new(fixture->store, stored++, &err) != ERROR_OK)
		return 5;
	fixture_reopen(fixture);
	if (pending_count(fixture->store->pending) != 0)
		return 6;
	if (!has_content(fixture->store, stored))
		return 7;
	store_close(fixture->store);
	return 0;
}

static void
a_disk_that_is_full_for_the_index_loses_nothing(void **state)
{
	small_disk_run(*state, "size=24m", with_full_disk);
}

/* --- the memory of a transaction ------------------------------------------ */

/* How many pages of such a tree so many keys change that fall anywhere. */
static size_t
pages_changed(size_t leaf_pages, size_t branch_pages, size_t keys)
{
	bool *leaves = xcalloc(leaf_pages, sizeof(*leaves));
	bool *branches = xcalloc(branch_pages, sizeof(*branches));
	uint64_t random = 1;
	size_t changed = 0;

	for (size_t i = 0; i < keys; i++) {
		size_t leaf, branch;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		leaf = (size_t)(random % leaf_pages);
		branch = leaf * branch_pages / leaf_pages;
		changed += leaves[leaf] ? 0 : 1;
		changed += branches[branch] ? 0 : 1;
		leaves[leaf] = branches[branch] = true;
	}
	free(leaves);
	free(branches);
	return changed;
}

static void
a_transaction_changes_as_many_pages_as_it_may(void **state)
{
	(void)state;
	assert_true(index_keys_for_pages(0, 0) == SIZE_MAX);
	assert_true(
	    index_keys_for_pages(INDEX_COMMIT_PAGES - 80, 80) == SIZE_MAX);
	/* However the pages are divided, it ends. */
	for (size_t branches = 0; branches <= INDEX_COMMIT_PAGES + 1;
	     branches += 13)
		assert_true(
		    index_keys_for_pages(INDEX_COMMIT_PAGES + 1 - branches,
			branches) > INDEX_COMMIT_PAGES / 2);
	for (size_t leaves = 10000; leaves < 4000000; leaves *= 3) {
		size_t branches = leaves / 89;
		size_t keys = index_keys_for_pages(leaves, branches);
		size_t changed = pages_changed(leaves, branches, keys);

		assert_true(changed <= INDEX_COMMIT_PAGES * 102 / 100);
		assert_true(changed >= INDEX_COMMIT_PAGES * 95 / 100);
	}
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_transaction_changes_as_many_pages_as_it_may),
	    TEST(writers_wait_for_an_index_that_lags_too_far),
	    TEST(writers_at_the_bound_go_on_beside_jobs_that_fail),
	    TEST(a_job_finds_all_that_was_stored_before_in_the_index),
	    TEST(touches_are_written_however_much_is_stored),
	    TEST(a_disk_that_is_full_for_the_index_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
