/* SPDX-License-Identifier: Apache-2.0 */
/* The store after the worst: killed at any moment, on a full disk. A child
 * process writes and tells what was acknowledged; we judge. */
#include "small_disk.h"
#include "store_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/arena.h"

#define ROUNDS 12

/* Sizes of blobs by number: most are records, some are files. */
static size_t
size_of(uint64_t seed)
{
	return seed % 7 == 3 ? 70000 + seed : 100 + seed % 5000;
}

/* Writes numbered blobs until killed; a number goes to the pipe when its blob
 * was acknowledged. */
static void
child_writes(const struct fixture *fixture, uint64_t first, int pipe_end)
{
	struct error err;
	struct store *store = store_open(&fixture->options, &err);

	if (store == NULL)
		_exit(1);
	for (uint64_t i = first;; i++) {
		struct digest digest = digest_of(i, size_of(i));
		char *data = make_content(i, size_of(i));

		if (put_content(store, &digest, data, size_of(i), &err) !=
		    ERROR_OK)
			_exit(2);
		free(data);
		if (write(pipe_end, &i, sizeof(i)) != sizeof(i))
			_exit(3);
	}
}

/* One life of the writer; returns the number after the last acknowledged. */
static uint64_t
run_and_kill(const struct fixture *fixture, uint64_t first, unsigned int delay)
{
	uint64_t number, next = first;
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(ends[0]);
		child_writes(fixture, first, ends[1]);
	}
	close(ends[1]);
	/* Let it come to writing first. */
	if (read(ends[0], &number, sizeof(number)) == sizeof(number))
		next = number + 1;
	usleep(delay);
	assert_int_equal(kill(child, SIGKILL), 0);
	waitpid(child, &status, 0);
	assert_true(WIFSIGNALED(status));
	while (read(ends[0], &number, sizeof(number)) == sizeof(number))
		next = number + 1;
	close(ends[0]);
	return next;
}

static void
all_that_was_acknowledged_survives_a_kill(void **state)
{
	struct fixture *fixture = *state;
	uint64_t next = 0;

	store_close(fixture->store);
	fixture->store = NULL;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct store_usage usage;

		next = run_and_kill(fixture, next, 3000 + 7919 * round);
		fixture_open(fixture);
		for (uint64_t i = 0; i < next; i++)
			assert_content(fixture->store, i, size_of(i));
		store_usage(fixture->store, &usage);
		/* At most the one that was under way came on top. */
		assert_true(usage.blobs >= next && usage.blobs <= next + 1);
		assert_int_equal(usage.dropped, 0);
		store_close(fixture->store);
		fixture->store = NULL;
	}
	assert_true(next > ROUNDS);
}

static enum error_code
put_new(struct store *store, uint64_t seed, size_t len, struct error *err)
{
	struct digest digest = digest_of(seed, len);
	char *data = make_content(seed, len);
	enum error_code code = put_content(store, &digest, data, len, err);

	free(data);
	return code;
}

/* In a child of small_disk.h. */
static int
with_full_disk(struct fixture *fixture)
{
	static const size_t sizes[] = {20000, 100000};
	struct error err = {0};
	uint64_t stored = 0;
	enum error_code code;

	fixture->store = store_open(&fixture->options, &err);
	if (fixture->store == NULL)
		return 1;
	while ((code = put_new(fixture->store, stored, sizes[stored % 2],
		    &err)) == ERROR_OK)
		stored++;
	fprintf(stderr, "# full after %llu blobs: %s\n",
	    (unsigned long long)stored, err.text);
	if (code != ERROR_RESOURCE_EXHAUSTED || stored < 10)
		return 2;
	/* Again and again: it stays an error, and nothing breaks. */
	for (uint64_t i = 0; i < 20; i++) {
		if (put_new(fixture->store, 1000 + i, 100000, &err) !=
		    ERROR_RESOURCE_EXHAUSTED)
			return 3;
	}
	for (uint64_t i = 0; i < stored; i++)
		assert_content(fixture->store, i, sizes[i % 2]);
	/* Room again: it goes on without being opened anew. */
	if (mount("none", fixture->path, NULL, MS_REMOUNT, "size=64m") != 0)
		return 4;
	for (uint64_t i = 2000; i < 2050; i++) {
		if (put_new(fixture->store, i, sizes[i % 2], &err) != ERROR_OK)
			return 5;
	}
	store_close(fixture->store);
	fixture->store = store_open(&fixture->options, &err);
	if (fixture->store == NULL)
		return 6;
	for (uint64_t i = 0; i < stored; i++)
		assert_content(fixture->store, i, sizes[i % 2]);
	for (uint64_t i = 2000; i < 2050; i++)
		assert_content(fixture->store, i, sizes[i % 2]);
	store_close(fixture->store);
	return 0;
}

static void
a_full_disk_is_an_error_and_the_store_goes_on(void **state)
{
	small_disk_run(*state, "size=6m", with_full_disk);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(all_that_was_acknowledged_survives_a_kill),
	    TEST(a_full_disk_is_an_error_and_the_store_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
