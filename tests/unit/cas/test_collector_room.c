/* SPDX-License-Identifier: Apache-2.0 */
/* The collector on a thread of its own: a store that is written to has room, or
 * says why not. */
#include "collector_fixture.h"

#include "cas/store_internal.h"

#define SMALL ((size_t)10 << 10)
#define MIN_AGE (3 * HOUR_MS)

static void
the_thread_keeps_the_store_below_its_limit(void **state)
{
	struct fixture *fixture = *state;
	struct collector_options options = {
	    .min_age_ms = HOUR_MS, .watch = true};
	struct collector_statistics statistics;
	struct collector *collector;
	struct error err;

	fixture->options.max_size = (uint64_t)4 << 20;
	fixture_reopen(fixture);
	options.store = fixture->store;
	collector = collector_new(&options, &err);
	assert_non_null(collector);
	for (uint64_t i = 0; i < 1000; i++) {
		char *data = make_content(i, SMALL);
		struct digest digest;
		int tries = 0;

		digest_compute(DIGEST_SHA256, data, SMALL, &digest);
		while (put_content(fixture->store, &digest, data, SMALL,
			   &err) != ERROR_OK) {
			assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
			assert_true(tries++ < 1000);
			usleep(10000);
		}
		free(data);
		time_passes(fixture, MINUTE_MS);
	}
	collector_statistics(collector, &statistics);
	assert_true(statistics.collections > 0);
	assert_int_equal(statistics.failures, 0);
	assert_true(statistics.youngest_age_s >= 3600);
	assert_content(fixture->store, 999, SMALL);
	collector_free(collector);
}

static void
a_full_store_of_young_blobs_says_what_it_would_break(void **state)
{
	struct fixture *fixture = *state;
	struct collector_options options = {
	    .min_age_ms = MIN_AGE, .watch = true};
	struct collector *collector;
	struct error err = {0};
	bool told = false;

	fixture->options.max_size = (uint64_t)2 << 20;
	fixture_reopen(fixture);
	options.store = fixture->store;
	collector = collector_new(&options, &err);
	assert_non_null(collector);
	for (uint64_t i = 0; i < 2000 && !told; i++) {
		char *data = make_content(i, SMALL);
		struct digest digest;

		digest_compute(DIGEST_SHA256, data, SMALL, &digest);
		if (put_content(fixture->store, &digest, data, SMALL, &err) !=
		    ERROR_OK) {
			assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
			told = strstr(err.text, "min-age promises 10800 s") !=
			       NULL;
			usleep(10000);
		}
		free(data);
	}
	assert_true(told);
	assert_non_null(strstr(err.text, "limit 2097152 bytes"));
	assert_content(fixture->store, 0, SMALL);
	collector_free(collector);
}

/* Refused, then stored when the collector has made room. */
static bool
put_with_patience(struct fixture *fixture, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct digest digest;
	enum error_code code = ERROR_UNKNOWN;
	struct error err;

	digest_compute(DIGEST_SHA256, data, len, &digest);
	for (int tries = 0; tries < 1000 && code != ERROR_OK; tries++) {
		code = put_content(fixture->store, &digest, data, len, &err);
		if (code != ERROR_OK)
			usleep(10000);
	}
	free(data);
	return code == ERROR_OK;
}

static void
room_is_made_below_the_high_mark_for_a_write_that_needs_it(void **state)
{
	struct fixture *fixture = *state;
	struct collector_options options = {
	    .min_age_ms = 3 * HOUR_MS, .watch = true};
	struct collector_statistics statistics;
	struct collector *collector;
	struct error err;

	fixture->options.max_size = (uint64_t)16 << 20;
	fixture_reopen(fixture);
	/* Three quarters are full of old things. */
	for (uint64_t i = 0; i < 200; i++)
		put_numbered(fixture->store, i, (size_t)60 << 10);
	time_passes(fixture, 24 * HOUR_MS);
	options.store = fixture->store;
	collector = collector_new(&options, &err);
	assert_non_null(collector);
	assert_true(put_with_patience(fixture, 5000, (size_t)5 << 20));
	/* The room is there before the collection has ended. */
	for (int tries = 0; tries < 1000; tries++) {
		collector_statistics(collector, &statistics);
		if (statistics.blobs > 0)
			break;
		usleep(10000);
	}
	assert_true(statistics.blobs > 0);
	collector_free(collector);
}

static void
a_write_may_ask_for_a_third_of_the_store(void **state)
{
	struct fixture *fixture = *state;
	struct digest large = digest_of(1, 0);
	struct blob_writer *writer;
	struct error err;
	uint64_t room;

	fixture->options.max_size = (uint64_t)16 << 20;
	fixture_reopen(fixture);
	for (uint64_t i = 0; i < 200; i++)
		put_numbered(fixture->store, i, (size_t)60 << 10);
	/* A declared size is enough to be refused, and to ask for room. */
	large.size = (uint64_t)15 << 20;
	writer =
	    blob_writer_new(fixture->store, &large, ENCODING_IDENTITY, 0, &err);
	assert_null(writer);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_int_equal(err.retry_delay_ms, 0);
	assert_non_null(strstr(err.text, "more than a third"));
	assert_false(store_take_refused(fixture->store, 0, &room));
	large.size = (uint64_t)17 << 20;
	writer =
	    blob_writer_new(fixture->store, &large, ENCODING_IDENTITY, 0, &err);
	assert_null(writer);
	assert_non_null(strstr(err.text, "cannot hold"));
	assert_false(store_take_refused(fixture->store, 0, &room));
	large.size = (uint64_t)5 << 20;
	writer =
	    blob_writer_new(fixture->store, &large, ENCODING_IDENTITY, 0, &err);
	assert_null(writer);
	assert_true(err.retry_delay_ms > 0);
	assert_true(store_take_refused(fixture->store, 0, &room));
	assert_true(room >= large.size);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_thread_keeps_the_store_below_its_limit),
	    TEST(a_full_store_of_young_blobs_says_what_it_would_break),
	    TEST(room_is_made_below_the_high_mark_for_a_write_that_needs_it),
	    TEST(a_write_may_ask_for_a_third_of_the_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
