/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the collector's thread does, step by step: for whom it makes room, who
 * comes first, and how often it tries what stays short.
 */
#include "collector_fixture.h"
#include "owner_fixture.h"

#include "cas/collector_internal.h"
#include "cas/pins.h"

#define SMALL ((size_t)10 << 10)
#define MIN_AGE (3 * HOUR_MS)
#define MIB ((uint64_t)1 << 20)
#define IDLE 3

/* Without a thread: tests run the watch themselves. */
struct watching {
	struct collector_options options;
	struct collector *collector;
	struct collector_watch *watch;
};

static void
watching_init(struct watching *watching, struct store *store)
{
	struct error err;

	watching->options = (struct collector_options){.store = store,
	    .min_age_ms = MIN_AGE,
	    .high_percent = COLLECTOR_HIGH_PERCENT,
	    .low_percent = COLLECTOR_LOW_PERCENT};
	watching->collector = collector_new(&watching->options, &err);
	assert_non_null(watching->collector);
	watching->watch =
	    collector_watch_new(watching->collector, &watching->options);
}

static void
watching_clear(struct watching *watching)
{
	collector_watch_free(watching->watch);
	collector_free(watching->collector);
}

static void
put_many(struct fixture *fixture, uint16_t owner, uint64_t first,
    uint64_t count, size_t len)
{
	for (uint64_t i = first; i < first + count; i++)
		put_numbered_by(fixture->store, owner, i, len);
}

/* As a client that tries again when it is told to; NULL: it was refused. */
static struct blob_writer *
open_upload(struct store *store, struct watching *watching, uint16_t owner,
    uint64_t size, struct error *err)
{
	struct digest digest = digest_of(1, 0);

	digest.size = size;
	for (int tries = 0; tries < 20; tries++) {
		struct blob_writer *writer = blob_writer_new(
		    store, &digest, ENCODING_IDENTITY, owner, err);

		collector_watch_run(watching->watch);
		if (writer != NULL)
			return writer;
		assert_int_equal(err->code, ERROR_RESOURCE_EXHAUSTED);
	}
	return NULL;
}

/* --- idle uploads --------------------------------------------------------- */

static void
idle_uploads_do_not_empty_the_store(void **state)
{
	struct fixture *fixture = *state;
	struct blob_writer *writers[IDLE];
	const uint64_t limit = 30 * MIB;
	struct watching watching;
	struct store_usage usage;
	struct error err;

	fixture->options.max_size = limit;
	fixture_reopen(fixture);
	put_many(fixture, 0, 0, 2300, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	watching_init(&watching, fixture->store);
	for (int i = 0; i < IDLE; i++)
		writers[i] = open_upload(
		    fixture->store, &watching, 0, limit / 3 - 2 * SMALL, &err);
	assert_non_null(writers[0]);
	assert_null(writers[1]);
	assert_null(writers[2]);
	assert_true(err.retry_delay_ms > 0);
	assert_non_null(strstr(err.text, "promised to open uploads)"));
	assert_non_null(strstr(err.text, "a third of the limit in sum"));
	/* What still fits without room gets it, and takes nothing. */
	writers[1] = open_upload(fixture->store, &watching, 0, 4 * MIB, &err);
	assert_non_null(writers[1]);
	store_usage(fixture->store, &usage);
	assert_true(usage.bytes <= limit);
	assert_true(usage.uploading > limit / 3);
	assert_true(usage.bytes - usage.uploading > limit / 100 * 45);
	/* Bytes that come find room beside them. */
	for (uint64_t i = 0; i < 300; i++) {
		for (int tries = 0; tries < 20; tries++) {
			err = try_put_by(fixture->store, 0, 5000 + i, SMALL);
			if (err.code == ERROR_OK)
				break;
			collector_watch_run(watching.watch);
		}
		assert_int_equal(err.code, ERROR_OK);
	}
	blob_writer_free(writers[0]);
	blob_writer_free(writers[1]);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.uploading, 0);
	/* And when they have ended, others may. */
	writers[2] = open_upload(
	    fixture->store, &watching, 0, limit / 3 - 2 * SMALL, &err);
	assert_non_null(writers[2]);
	blob_writer_free(writers[2]);
	watching_clear(&watching);
}

static void
idle_uploads_do_not_empty_an_instance(void **state)
{
	struct fixture *fixture = *state;
	const uint64_t quota = 3 * MIB;
	struct blob_writer *writers[IDLE];
	struct watching watching;
	struct owner_report use;
	struct error err;
	uint16_t a;

	set_limits(fixture->store, "a", quota, 0);
	a = owner_named(fixture->store, "a");
	put_many(fixture, a, 0, 270, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	watching_init(&watching, fixture->store);
	for (int i = 0; i < IDLE; i++)
		writers[i] = open_upload(
		    fixture->store, &watching, a, quota / 3 - 2 * SMALL, &err);
	assert_non_null(writers[0]);
	assert_null(writers[1]);
	assert_null(writers[2]);
	assert_non_null(
	    strstr(err.text, "the quota of instance \"a\" is full"));
	assert_non_null(strstr(err.text, "a third of the limit in sum"));
	use = use_of(fixture->store, "a");
	assert_true(use.bytes - use.uploading > quota / 100 * 45);
	blob_writer_free(writers[0]);
	assert_int_equal(use_of(fixture->store, "a").uploading, 0);
	watching_clear(&watching);
}

/* Of what is whole nothing is only declared. */
static void
a_stored_upload_is_none_any_more(void **state)
{
	struct fixture *fixture = *state;
	uint16_t a = owner_named(fixture->store, "a");
	struct store_usage usage;

	put_many(fixture, a, 0, 3, SMALL);
	put_many(fixture, a, 10, 3, MIB);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.uploading, 0);
	assert_int_equal(use_of(fixture->store, "a").uploading, 0);
}

/* --- turns ---------------------------------------------------------------- */

static uint64_t
collections(const struct watching *watching)
{
	struct collector_statistics statistics;

	collector_statistics(watching->collector, &statistics);
	return statistics.collections;
}

static uint64_t
run_after(const struct watching *watching, int64_t seconds)
{
	atomic_fetch_add(&monotonic_offset_s, seconds);
	collector_watch_run(watching->watch);
	return collections(watching);
}

static void
what_stays_short_is_tried_less_often(void **state)
{
	struct fixture *fixture = *state;
	struct pin pin = {.name = STR("it"), .kind = PIN_BLOB};
	struct watching watching;
	struct error err;
	uint16_t a;

	set_limits(fixture->store, "a", MIB, 0);
	a = owner_named(fixture->store, "a");
	put_many(fixture, a, 0, 95, SMALL);
	pin.digest = digest_of(0, SMALL);
	time_passes(fixture, 0);
	watching_init(&watching, fixture->store);
	assert_int_equal(run_after(&watching, 0), 1);
	assert_int_equal(run_after(&watching, 20), 1);
	assert_int_equal(run_after(&watching, 11), 2);
	/* Twice as long. */
	assert_int_equal(run_after(&watching, 31), 2);
	assert_int_equal(run_after(&watching, 30), 3);
	assert_int_equal(run_after(&watching, 100), 3);
	/* But not when there is something new. */
	put_many(fixture, a, 95, 1, SMALL);
	assert_int_equal(run_after(&watching, 0), 4);
	assert_int_equal(run_after(&watching, 31), 5);
	assert_int_equal(run_after(&watching, 1), 5);
	/* Nor when something that was kept may go. */
	assert_int_equal(pin_set(fixture->store, &pin, &err), 0);
	assert_int_equal(run_after(&watching, 1), 5);
	assert_int_equal(pin_remove(fixture->store, pin.name, &err), 1);
	assert_int_equal(run_after(&watching, 1), 6);
	assert_int_equal(run_after(&watching, 1), 6);
	watching_clear(&watching);
}

struct first_taken {
	struct store *store;
	uint64_t others; /* what b had at the start of each collection */
	uint64_t before;
	int collections;
};

static int
note_collection(void *cookie, struct keep *keep, struct error *err)
{
	struct first_taken *first = cookie;

	(void)keep;
	(void)err;
	first->collections++;
	if (first->collections == 2)
		first->others = use_of(first->store, "b").bytes;
	return 0;
}

static void
the_store_comes_before_instances(void **state)
{
	struct fixture *fixture = *state;
	struct first_taken first = {.collections = 0};
	struct watching watching;

	fixture->options.max_size = 4 * MIB;
	fixture_reopen(fixture);
	set_limits(fixture->store, "a", MIB, 0);
	put_many(fixture, owner_named(fixture->store, "b"), 1000, 275, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	put_many(fixture, owner_named(fixture->store, "a"), 0, 95, SMALL);
	time_passes(fixture, 0);
	first.store = fixture->store;
	first.before = use_of(fixture->store, "b").bytes;
	watching_init(&watching, fixture->store);
	collector_free(watching.collector);
	collector_watch_free(watching.watch);
	watching.options.roots = note_collection;
	watching.options.cookie = &first;
	watching.collector =
	    collector_new(&watching.options, &(struct error){0});
	watching.watch =
	    collector_watch_new(watching.collector, &watching.options);
	collector_watch_run(watching.watch);
	assert_int_equal(first.collections, 2);
	assert_true(first.others < first.before);
	watching_clear(&watching);
}

/* --- what is told --------------------------------------------------------- */

static void
a_refusal_tells_what_floors_keep(void **state)
{
	struct fixture *fixture = *state;
	struct watching watching;
	struct error err;
	uint16_t a;

	fixture->options.max_size = 4 * MIB;
	fixture_reopen(fixture);
	set_limits(fixture->store, "a", 0, 4 * MIB);
	a = owner_named(fixture->store, "a");
	put_many(fixture, a, 0, 380, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	watching_init(&watching, fixture->store);
	collector_watch_run(watching.watch);
	err = try_put_by(fixture->store, 0, 5000, 300 << 10);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_int_equal(err.retry_delay_ms, 0);
	assert_null(strstr(err.text, "all of it is pinned"));
	assert_non_null(strstr(err.text, "and floors of instances keep "));
	assert_non_null(strstr(err.text, "lower an instance-floor"));
	watching_clear(&watching);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(idle_uploads_do_not_empty_the_store),
	    TEST(idle_uploads_do_not_empty_an_instance),
	    TEST(a_stored_upload_is_none_any_more),
	    TEST(what_stays_short_is_tried_less_often),
	    TEST(the_store_comes_before_instances),
	    TEST(a_refusal_tells_what_floors_keep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
