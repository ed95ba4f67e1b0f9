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

/* Those of which wrong_every is a divisor do not match their digests. */
static void
put_many(struct store *store, uint64_t seed, size_t wrong_every)
{
	static struct store_put puts[PUTS];
	static struct iovec parts[PUTS];
	struct waiting waiting = {
	    .batch = {.puts = puts, .count = PUTS, .done = waiting_done}};

	for (size_t i = 0; i < PUTS; i++) {
		bool wrong = i % wrong_every == 0;

		parts[i] = (struct iovec){make_content(seed + i, SIZE), SIZE};
		puts[i] = (struct store_put){
		    .digest = digest_of(seed + i + (wrong ? PUTS : 0), SIZE),
		    .parts = &parts[i],
		    .part_count = 1};
	}
	waiter_init(&waiting.waiter);
	store_put_batch(store, &waiting.batch);
	waiter_wait(&waiting.waiter);
	for (size_t i = 0; i < PUTS; i++) {
		if (i % wrong_every == 0) {
			assert_non_null(puts[i].error);
			assert_int_equal(
			    puts[i].error->code, ERROR_INVALID_ARGUMENT);
		} else {
			assert_null(puts[i].error);
		}
		free(puts[i].error);
		free(parts[i].iov_base);
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

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_blob_of_a_shared_batch_has_its_own_answer),
	    TEST(a_shared_look_up_tells_present_from_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
