/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that idle threads of a pool share: every part counts once, and what is
 * wrong with one blob is that blob's. */
#include "store_fixture.h"

#include "base/thread_pool.h"
#include "cas/waiter.h"

#define PUTS 600
#define SIZE ((size_t)1500)

static int
pool_setup(void **state)
{
	struct fixture *fixture;

	if (fixture_setup(state) < 0)
		return -1;
	fixture = *state;
	fixture->options.pool = thread_pool_new(3);
	fixture_reopen(fixture);
	return 0;
}

static int
pool_teardown(void **state)
{
	struct fixture *fixture = *state;
	struct thread_pool *pool = fixture->options.pool;

	thread_pool_free(pool);
	return fixture_teardown(state);
}

struct waiting {
	struct store_batch batch; /* first: done gets its address */
	struct waiter waiter;
};

static void
waiting_done(struct store_batch *batch)
{
	waiter_finish(&((struct waiting *)batch)->waiter);
}

static struct store_put blobs[PUTS];
static struct iovec parts[PUTS];

/* Those of which wrong_every is a divisor do not match their digests; 0: all
 * do. */
static void
put_all(struct store *store, uint64_t seed, size_t wrong_every)
{
	struct waiting waiting = {
	    .batch = {.puts = blobs, .count = PUTS, .done = waiting_done}};

	for (size_t i = 0; i < PUTS; i++) {
		bool wrong = wrong_every > 0 && i % wrong_every == 0;

		parts[i] = (struct iovec){make_content(seed + i, SIZE), SIZE};
		blobs[i] = (struct store_put){
		    .digest = digest_of(seed + i + (wrong ? PUTS : 0), SIZE),
		    .parts = &parts[i],
		    .part_count = 1};
	}
	waiter_init(&waiting.waiter);
	store_put_batch(store, &waiting.batch);
	waiter_wait(&waiting.waiter);
	for (size_t i = 0; i < PUTS; i++)
		free(parts[i].iov_base);
}

static void
put_many(struct store *store, uint64_t seed, size_t wrong_every)
{
	put_all(store, seed, wrong_every);
	for (size_t i = 0; i < PUTS; i++) {
		if (i % wrong_every == 0) {
			assert_non_null(blobs[i].error);
			assert_int_equal(
			    blobs[i].error->code, ERROR_INVALID_ARGUMENT);
		} else {
			assert_null(blobs[i].error);
		}
		free(blobs[i].error);
	}
}

static void
each_blob_of_a_shared_batch_has_its_own_answer(void **state)
{
	struct fixture *fixture = *state;

	put_many(fixture->store, 0, 7);
	for (size_t i = 0; i < PUTS; i++) {
		struct digest digest = digest_of(i, SIZE);

		if (i % 7 == 0)
			assert_true(is_missing(fixture->store, &digest));
		else
			assert_content(fixture->store, i, SIZE);
	}
}

static void
a_shared_look_up_tells_present_from_absent(void **state)
{
	struct fixture *fixture = *state;
	static struct digest digests[3 * PUTS];
	static bool missing[3 * PUTS];
	struct error err;

	put_many(fixture->store, 0, PUTS);
	for (size_t i = 0; i < 3 * PUTS; i++)
		digests[i] = digest_of(i, SIZE);
	for (size_t round = 0; round < 20; round++) {
		memset(missing, round % 2, sizeof(missing));
		assert_int_equal(store_find_missing(fixture->store, digests,
				     3 * PUTS, missing, &err),
		    0);
		for (size_t i = 0; i < 3 * PUTS; i++)
			assert_int_equal(missing[i], i == 0 || i >= PUTS);
	}
}

/* What the store takes when all of it is in the index, unused records included.
 */
static uint64_t
bytes_of(struct fixture *fixture)
{
	struct store_usage usage;

	fixture_reopen(fixture);
	store_usage(fixture->store, &usage);
	return usage.bytes;
}

static void
assert_all_stored(struct fixture *fixture)
{
	for (size_t i = 0; i < PUTS; i++) {
		assert_null(blobs[i].error);
		assert_content(fixture->store, i, SIZE);
	}
}

static void
a_batch_that_is_here_is_not_stored_again(void **state)
{
	struct fixture *fixture = *state;
	uint64_t bytes;

	put_all(fixture->store, 0, 0);
	/* While it is pending, and when it is in the index. */
	put_all(fixture->store, 0, 0);
	assert_all_stored(fixture);
	bytes = bytes_of(fixture);
	assert_true(bytes < 3 * PUTS * SIZE / 2);
	put_all(fixture->store, 0, 0);
	assert_all_stored(fixture);
	assert_int_equal(bytes_of(fixture), bytes);
}

/* Numbers 3 and 500 are not among those that are looked for. */
static void
few_of_a_new_batch_that_are_here_stay_sound(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	uint64_t one, all;

	put_numbered(fixture->store, 3, SIZE);
	one = bytes_of(fixture);
	put_numbered(fixture->store, 500, SIZE);
	put_all(fixture->store, 0, 0);
	assert_all_stored(fixture);
	/* The one that was pending is not stored again. */
	all = bytes_of(fixture);
	assert_int_equal(all, PUTS * one + SIZE + 96);
	assert_all_stored(fixture);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, PUTS);
}

static void
what_is_here_needs_no_room_in_a_batch(void **state)
{
	struct fixture *fixture = *state;
	size_t refused = 0;

	put_numbered(fixture->store, 3, SIZE);
	fixture->options.max_size = (uint64_t)100 * (SIZE + 200);
	fixture_reopen(fixture);
	put_all(fixture->store, 0, 0);
	assert_null(blobs[3].error);
	for (size_t i = 0; i < PUTS; i++) {
		if (blobs[i].error == NULL)
			continue;
		assert_int_equal(
		    blobs[i].error->code, ERROR_RESOURCE_EXHAUSTED);
		free(blobs[i].error);
		refused++;
	}
	assert_true(refused >= PUTS - 100 && refused < PUTS);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_blob_of_a_shared_batch_has_its_own_answer),
	    TEST(a_shared_look_up_tells_present_from_absent),
	    TEST(a_batch_that_is_here_is_not_stored_again),
	    TEST(few_of_a_new_batch_that_are_here_stay_sound),
	    TEST(what_is_here_needs_no_room_in_a_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
