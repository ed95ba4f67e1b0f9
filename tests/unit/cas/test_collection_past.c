/* SPDX-License-Identifier: Apache-2.0 */
/* Which collection took what; records in the index; whether the disk works. */
#include "tests/unit/cas/store_fixture.h"

#include <endian.h>

#include "cas/collection_past.h"
#include "cas/records.h"

#define HOUR_NS (INT64_C(3600) * 1000000000)
#define HOUR_MS (INT64_C(3600) * 1000)

static void
the_first_collection_that_would_have_taken_it_is_told(void **state)
{
	struct collection_past past = {.count = 2,
	    .events = {{100 * HOUR_NS, 50 * HOUR_MS, COLLECTION_BY_SIZE},
		{200 * HOUR_NS, 10 * HOUR_MS, COLLECTION_BY_AGE}}};
	struct collection_event event;

	(void)state;
	/* Unused for 60 h when the first ran. */
	assert_true(collection_past_find(&past, 40 * HOUR_NS, &event));
	assert_int_equal(event.time_ns, 100 * HOUR_NS);
	assert_int_equal(event.reason, COLLECTION_BY_SIZE);
	/* Too young for the first. */
	assert_true(collection_past_find(&past, 90 * HOUR_NS, &event));
	assert_int_equal(event.reason, COLLECTION_BY_AGE);
	/* And for both. */
	assert_false(collection_past_find(&past, 195 * HOUR_NS, &event));
	/* Used since. */
	assert_false(collection_past_find(&past, 201 * HOUR_NS, &event));
}

static void
the_last_ones_are_kept_in_the_store(void **state)
{
	struct fixture *fixture = *state;
	struct collection_past past = {.count = 0}, again;
	struct error err;

	for (int64_t i = 0; i < COLLECTION_PAST_MAX + 3; i++) {
		const struct collection_event event = {
		    i, i * 2, COLLECTION_BY_WISH};

		assert_int_equal(
		    collection_past_add(&past, fixture->store, &event, &err),
		    0);
	}
	collection_past_load(&again, fixture->store);
	assert_int_equal(again.count, COLLECTION_PAST_MAX);
	assert_int_equal(again.events[0].time_ns, 3);
	assert_int_equal(again.events[0].youngest_age_ms, 6);
	assert_int_equal(again.events[0].reason, COLLECTION_BY_WISH);
}

/* Writes three events, of which the second has another number at a place. */
static void
write_damaged(struct fixture *fixture, size_t at, uint64_t number)
{
	uint64_t numbers[9];
	struct record record = {
	    STR("last"), {(const char *)numbers, sizeof(numbers)}};
	struct error err;

	for (size_t i = 0; i < 9; i++)
		numbers[i] = htole64(i % 3 == 2 ? COLLECTION_BY_AGE : 7 + i);
	numbers[3 + at] = htole64(number);
	assert_int_equal(
	    records_write(fixture->store, "collections/", &record, 1, &err), 0);
}

static void
damaged_events_are_passed_over(void **state)
{
	static const struct {
		size_t at;
		uint64_t number;
	} damages[] = {{0, UINT64_MAX}, {0, INT64_MAX}, {1, UINT64_MAX},
	    {1, INT64_MAX / 1000000 + 1}, {2, 0}, {2, 4},
	    {2, (UINT64_C(1) << 32) + 1}};
	struct fixture *fixture = *state;
	struct collection_past past;

	write_damaged(fixture, 2, COLLECTION_BY_SIZE);
	collection_past_load(&past, fixture->store);
	assert_int_equal(past.count, 3);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		write_damaged(fixture, damages[i].at, damages[i].number);
		collection_past_load(&past, fixture->store);
		assert_int_equal(past.count, 2);
		assert_int_equal(past.events[0].time_ns, 7);
		assert_int_equal(past.events[1].time_ns, 13);
	}
}

static void
a_cut_record_of_events_is_passed_over(void **state)
{
	struct fixture *fixture = *state;
	const struct record record = {STR("last"), STR("not 24 bytes each")};
	struct collection_past past;
	struct error err;

	assert_int_equal(
	    records_write(fixture->store, "collections/", &record, 1, &err), 0);
	collection_past_load(&past, fixture->store);
	assert_int_equal(past.count, 0);
}

static int
count_record(void *cookie, const struct record *record, struct error *err)
{
	size_t *count = cookie;

	(void)err;
	assert_true(record->value.len == 5);
	(*count)++;
	return 0;
}

static void
records_are_written_listed_and_removed(void **state)
{
	struct fixture *fixture = *state;
	struct record records[600];
	char keys[600][8];
	struct error err;
	size_t count = 0;

	for (size_t i = 0; i < 600; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%05zu", i);
		records[i] = (struct record){str_from(keys[i]), STR("value")};
	}
	assert_int_equal(
	    records_write(fixture->store, "some/", records, 600, &err), 0);
	assert_int_equal(
	    records_write(fixture->store, "someone/", records, 1, &err), 0);
	assert_int_equal(
	    records_each(fixture->store, "some/", count_record, &count, &err),
	    0);
	assert_int_equal(count, 600);
	for (size_t i = 0; i < 599; i++)
		records[i].value = (struct str){NULL, 0};
	assert_int_equal(
	    records_write(fixture->store, "some/", records, 600, &err), 0);
	count = 0;
	assert_int_equal(
	    records_each(fixture->store, "some/", count_record, &count, &err),
	    0);
	assert_int_equal(count, 1);
}

static void
the_disk_is_asked(void **state)
{
	struct fixture *fixture = *state;
	struct error err;
	char path[80];

	assert_false(store_failing(fixture->store, &err));
	assert_int_equal(store_probe(fixture->store, &err), 0);
	assert_false(store_failing(fixture->store, &err));
	snprintf(path, sizeof(path), "%s/incoming", fixture->path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(store_probe(fixture->store, &err), -1);
	assert_true(store_failing(fixture->store, &err));
	assert_non_null(strstr(err.text, "incoming/probe"));
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_first_collection_that_would_have_taken_it_is_told),
	    TEST(the_last_ones_are_kept_in_the_store),
	    TEST(damaged_events_are_passed_over),
	    TEST(a_cut_record_of_events_is_passed_over),
	    TEST(records_are_written_listed_and_removed),
	    TEST(the_disk_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
