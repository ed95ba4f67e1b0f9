/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What instances have, their quotas and floors: who pays, what is refused, what
 * a collection takes of whom, and that all of it outlives restarts and repairs.
 */
#include "collector_fixture.h"
#include "owner_fixture.h"

#include <unistd.h>

#include "cas/repair.h"

#define SMALL ((size_t)10 << 10)
#define LARGE ((size_t)200 << 10)
#define MIN_AGE (3 * HOUR_MS)
#define MIB ((uint64_t)1 << 20)

static void
put_many_by(struct fixture *fixture, uint16_t owner, uint64_t first,
    uint64_t count, size_t len)
{
	for (uint64_t i = first; i < first + count; i++)
		put_numbered_by(fixture->store, owner, i, len);
}

static uint64_t
count_present(struct fixture *fixture, uint64_t first, uint64_t count)
{
	uint64_t present = 0;

	for (uint64_t i = first; i < first + count; i++) {
		struct digest digest = digest_of(i, SMALL);

		present += !is_missing(fixture->store, &digest);
	}
	return present;
}

static struct action_key
key_of(const char *instance, uint64_t seed)
{
	return (struct action_key){str_from(instance), digest_of(seed, 40)};
}

static void
put_result(struct fixture *fixture, const char *instance, uint64_t seed,
    const struct digest *blob)
{
	struct action_key key = key_of(instance, seed);
	struct error err;

	if (put_action_at(fixture->store, &key, blob, 1, NULL, &err) < 0)
		fail_msg("put_action: %s", err.text);
}

static bool
has_result(struct fixture *fixture, const char *instance, uint64_t seed)
{
	struct action_key key = key_of(instance, seed);

	return has_action_at(fixture->store, &key);
}

/* --- who pays ------------------------------------------------------------- */

static void
the_first_writer_pays(void **state)
{
	struct fixture *fixture = *state;
	uint16_t a = owner_named(fixture->store, "a");
	uint16_t b = owner_named(fixture->store, "b");
	struct digest blob = put_numbered_by(fixture->store, a, 1, SMALL);
	uint64_t once;

	assert_int_not_equal(a, b);
	once = use_of(fixture->store, "a").bytes;
	assert_in_range(once, SMALL, SMALL + 1000);
	put_numbered_by(fixture->store, b, 1, SMALL);
	put_numbered_by(fixture->store, b, 2, LARGE);
	put_result(fixture, "b", 7, &blob);
	assert_int_equal(use_of(fixture->store, "a").bytes, once);
	assert_in_range(use_of(fixture->store, "b").bytes, LARGE, LARGE + 6000);
	fixture_reopen(fixture);
	assert_int_equal(owner_named(fixture->store, "b"), b);
	assert_int_equal(use_of(fixture->store, "a").bytes, once);
	assert_int_equal(use_of(fixture->store, "a").blobs, 1);
	assert_int_equal(use_of(fixture->store, "b").blobs, 1);
	assert_int_equal(use_of(fixture->store, "b").results, 1);
	time_passes(fixture, 24 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	assert_int_equal(use_of(fixture->store, "a").bytes, 0);
	assert_int_equal(use_of(fixture->store, "b").bytes, 0);
}

static void
compaction_leaves_the_owner(void **state)
{
	struct fixture *fixture = *state;
	uint16_t a = owner_named(fixture->store, "a");
	struct collection_report report;
	uint64_t each;

	put_many_by(fixture, a, 0, 200, SMALL);
	each = use_of(fixture->store, "a").bytes / 200;
	time_passes(fixture, 24 * HOUR_MS);
	for (uint64_t i = 0; i < 200; i += 10)
		assert_int_equal(count_present(fixture, i, 1), 1);
	report = collect_to(fixture, MIN_AGE, 0);
	assert_true(report.segments_compacted > 0);
	assert_int_equal(use_of(fixture->store, "a").bytes, 20 * each);
	assert_int_equal(use_of(fixture->store, "a").blobs, 20);
}

/* --- quotas --------------------------------------------------------------- */

static void
a_quota_refuses_its_instance_and_no_other(void **state)
{
	struct fixture *fixture = *state;
	struct blob_writer *writer;
	struct digest large = digest_of(900, LARGE);
	struct error err;
	uint16_t a, b;

	set_limits(fixture->store, "a", MIB, 0);
	a = owner_named(fixture->store, "a");
	b = owner_named(fixture->store, "b");
	put_many_by(fixture, a, 0, 80, SMALL);
	/* What is promised counts. */
	writer =
	    blob_writer_new(fixture->store, &large, ENCODING_IDENTITY, a, &err);
	assert_non_null(writer);
	err = try_put_by(fixture->store, a, 901, 100 << 10);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.text, "the quota of instance \"a\" is full: "
					 "limit 1048576 bytes, in use "));
	assert_non_null(strstr(err.text, "instance-quota"));
	assert_true(err.retry_delay_ms > 0);
	blob_writer_free(writer);
	put_many_by(fixture, a, 90, 1, 100 << 10);
	put_many_by(fixture, b, 1000, 20, 60 << 10);
	/* Results count too: nobody grows by them alone. */
	put_numbered_by(fixture->store, a, 902,
	    MIB - use_of(fixture->store, "a").bytes - 6000);
	err = (struct error){.code = ERROR_OK};
	for (uint64_t i = 0; i < 100 && err.code == ERROR_OK; i++) {
		struct action_key key = key_of("a", i);
		struct digest blob = digest_of(0, SMALL);

		(void)put_action_at(fixture->store, &key, &blob, 1, NULL, &err);
	}
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	/* The limit is the settings', and goes with them. */
	set_limits(fixture->store, "c", MIB, 0);
	put_many_by(fixture, a, 2000, 3, SMALL);
}

static struct collector *
watch(struct fixture *fixture)
{
	const struct collector_options options = {
	    .store = fixture->store, .min_age_ms = MIN_AGE, .watch = true};
	struct error err;
	struct collector *collector = collector_new(&options, &err);

	assert_non_null(collector);
	return collector;
}

static void
an_instance_at_its_quota_loses_its_own_oldest(void **state)
{
	struct fixture *fixture = *state;
	struct collector *collector;
	struct digest blob;
	uint16_t a, b;

	set_limits(fixture->store, "a", MIB, 0);
	a = owner_named(fixture->store, "a");
	b = owner_named(fixture->store, "b");
	put_many_by(fixture, b, 1000, 90, SMALL);
	blob = digest_of(1000, SMALL);
	put_result(fixture, "b", 7, &blob);
	put_many_by(fixture, a, 0, 40, SMALL);
	time_passes(fixture, 12 * HOUR_MS);
	put_many_by(fixture, a, 40, 40, SMALL);
	time_passes(fixture, 12 * HOUR_MS);
	collector = watch(fixture);
	for (uint64_t i = 80; i < 160; i++) {
		struct error err = {.code = ERROR_OK};

		for (int tries = 0; tries < 1000; tries++) {
			err = try_put_by(fixture->store, a, i, SMALL);
			if (err.code == ERROR_OK)
				break;
			assert_true(err.retry_delay_ms > 0);
			usleep(10000);
		}
		assert_int_equal(err.code, ERROR_OK);
	}
	collector_free(collector);
	assert_true(use_of(fixture->store, "a").bytes <= MIB);
	assert_int_equal(count_present(fixture, 0, 40), 0);
	assert_int_equal(count_present(fixture, 80, 80), 80);
	assert_int_equal(count_present(fixture, 1000, 90), 90);
	assert_true(has_result(fixture, "b", 7));
}

static void
a_quota_of_young_blobs_says_what_it_would_break(void **state)
{
	struct fixture *fixture = *state;
	struct error err = {.code = ERROR_OK};
	struct collector *collector;
	bool told = false;
	uint16_t a, b;

	set_limits(fixture->store, "a", MIB, 0);
	a = owner_named(fixture->store, "a");
	b = owner_named(fixture->store, "b");
	put_many_by(fixture, b, 5000, 10, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	collector = watch(fixture);
	for (uint64_t i = 0; i < 2000 && !told; i++) {
		err = try_put_by(fixture->store, a, i, SMALL);
		if (err.code != ERROR_OK)
			usleep(10000);
		told = err.code != ERROR_OK && err.retry_delay_ms == 0;
	}
	assert_true(told);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.text, "quota of instance \"a\""));
	assert_non_null(strstr(err.text, "limit 1048576 bytes"));
	assert_non_null(strstr(err.text, "min-age promises 10800 s"));
	/* Others write on, and lose nothing for it. */
	put_many_by(fixture, b, 6000, 20, 60 << 10);
	collector_free(collector);
	assert_int_equal(count_present(fixture, 5000, 10), 10);
}

/* --- floors --------------------------------------------------------------- */

static void
a_floor_is_left_when_another_floods(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report report;
	struct digest blob;
	uint16_t a, b;

	set_limits(fixture->store, "a", 0, MIB);
	a = owner_named(fixture->store, "a");
	b = owner_named(fixture->store, "b");
	put_many_by(fixture, a, 0, 80, SMALL);
	blob = digest_of(5, SMALL);
	put_result(fixture, "a", 7, &blob);
	time_passes(fixture, 12 * HOUR_MS);
	put_many_by(fixture, b, 1000, 150, 60 << 10);
	time_passes(fixture, 12 * HOUR_MS);
	report = collect_to(fixture, MIN_AGE, 0);
	assert_true(report.short_of);
	assert_in_range(report.floor_bytes, 80 * SMALL, MIB);
	assert_int_equal(report.blobs, 150);
	assert_int_equal(use_of(fixture->store, "b").bytes, 0);
	assert_int_equal(count_present(fixture, 0, 80), 80);
	assert_true(has_result(fixture, "a", 7));
}

static void
what_is_above_a_floor_goes(void **state)
{
	struct fixture *fixture = *state;
	const struct collection_wish old = {
	    .run = true, .max_age_ms = 6 * HOUR_MS};
	struct collection_report report;
	uint16_t a;

	set_limits(fixture->store, "a", 0, MIB);
	a = owner_named(fixture->store, "a");
	put_many_by(fixture, a, 0, 100, SMALL);
	time_passes(fixture, 12 * HOUR_MS);
	put_many_by(fixture, a, 100, 100, SMALL);
	time_passes(fixture, 12 * HOUR_MS);
	report = collect(fixture, MIN_AGE, &old);
	assert_in_range(report.blobs, 97, 100);
	assert_in_range(
	    use_of(fixture->store, "a").bytes, MIB, MIB + SMALL + 300);
	assert_int_equal(count_present(fixture, 100, 100), 100);
	/* Who names the instance is not held by its floor. */
	fixture_reopen(fixture);
	time_passes(fixture, 24 * HOUR_MS);
	report = collect(fixture, MIN_AGE,
	    &(struct collection_wish){
		.run = true, .instance = STR("a"), .max_age_ms = 6 * HOUR_MS});
	assert_int_equal(use_of(fixture->store, "a").bytes, 0);
}

static void
what_is_promised_is_not_taken_from_a_floor(void **state)
{
	struct fixture *fixture = *state;
	struct digest coming = digest_of(900, 400 << 10);
	struct blob_writer *writer;
	struct error err;
	uint16_t a;

	set_limits(fixture->store, "a", 0, MIB / 2);
	a = owner_named(fixture->store, "a");
	put_many_by(fixture, a, 0, 100, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	writer = blob_writer_new(
	    fixture->store, &coming, ENCODING_IDENTITY, a, &err);
	assert_non_null(writer);
	collect_to(fixture, MIN_AGE, 0);
	blob_writer_free(writer);
	assert_in_range(
	    use_of(fixture->store, "a").bytes, MIB / 2, MIB / 2 + SMALL + 300);
}

static void
a_floor_is_left_of_what_is_older_than_all_buckets(void **state)
{
	struct fixture *fixture = *state;
	uint16_t a;

	set_limits(fixture->store, "a", 0, MIB);
	a = owner_named(fixture->store, "a");
	put_many_by(fixture, a, 0, 75, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	put_many_by(fixture, a, 75, 75, SMALL);
	time_passes(fixture, 500 * 24 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	assert_in_range(
	    use_of(fixture->store, "a").bytes, MIB, MIB + SMALL + 300);
}

/* Results of "a" that name a blob of "keeper", which has a floor. Returns what
 * they take. */
static uint64_t
put_results_of_others_blob(struct fixture *fixture, uint64_t count)
{
	uint16_t keeper = owner_named(fixture->store, "keeper");
	struct digest blob = put_numbered_by(fixture->store, keeper, 1, SMALL);

	for (uint64_t i = 0; i < count; i++)
		put_result(fixture, "a", i, &blob);
	return use_of(fixture->store, "a").bytes;
}

static void
who_has_only_results_loses_those_above_its_floor(void **state)
{
	struct fixture *fixture = *state;
	struct owner_limits limits[] = {
	    {STR("keeper"), 0, MIB}, {STR("a"), 0, 0}};
	uint64_t bytes = put_results_of_others_blob(fixture, 100);
	struct error err;

	limits[1].floor = bytes / 4;
	assert_int_equal(
	    store_set_owner_limits(fixture->store, limits, 2, &err), 0);
	time_passes(fixture, 24 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	assert_in_range(use_of(fixture->store, "a").bytes, bytes / 4,
	    bytes / 4 + bytes / 50);
	assert_content(fixture->store, 1, SMALL);
}

/* --- collections of one instance ------------------------------------------ */

static void
one_instance_is_collected_by_itself(void **state)
{
	struct fixture *fixture = *state;
	struct collection_wish wish = {.run = false,
	    .sized = true,
	    .target_size = MIB / 2,
	    .instance = STR("a")};
	struct collection_report plan, report;
	uint16_t a = owner_named(fixture->store, "a");
	uint16_t b = owner_named(fixture->store, "b");

	put_many_by(fixture, a, 0, 100, SMALL);
	put_many_by(fixture, b, 1000, 100, SMALL);
	put_numbered(fixture->store, 2000, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	plan = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(plan.bytes_before, use_of(fixture->store, "a").bytes);
	assert_in_range(plan.blobs, 48, 54);
	wish.run = true;
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.blobs, plan.blobs);
	assert_int_equal(report.bytes_after, plan.bytes_after);
	assert_false(report.short_of);
	assert_in_range(
	    use_of(fixture->store, "a").bytes, MIB / 2 - 2 * SMALL, MIB / 2);
	assert_int_equal(count_present(fixture, 1000, 100), 100);
	assert_content(fixture->store, 2000, SMALL);
}

static void
results_of_others_go_with_the_blobs_that_they_name(void **state)
{
	struct fixture *fixture = *state;
	const struct collection_wish wish = {
	    .run = true, .max_age_ms = 6 * HOUR_MS, .instance = STR("a")};
	uint16_t a = owner_named(fixture->store, "a");
	struct digest blob = put_numbered_by(fixture->store, a, 1, SMALL);
	struct digest used = put_numbered_by(fixture->store, a, 2, SMALL);
	struct collection_report report;
	struct store_usage usage;

	put_result(fixture, "a", 7, &blob);
	put_result(fixture, "b", 8, &blob);
	put_result(fixture, "b", 9, &used);
	time_passes(fixture, 24 * HOUR_MS);
	/* A hit by another instance keeps what it names. */
	assert_true(has_result(fixture, "b", 9));
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.blobs, 1);
	assert_int_equal(report.results, 2);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.action_results, 1);
	assert_true(has_result(fixture, "b", 9));
	assert_content(fixture->store, 2, SMALL);
}

static void
who_has_only_results_loses_as_many_as_is_wanted(void **state)
{
	struct fixture *fixture = *state;
	uint64_t bytes = put_results_of_others_blob(fixture, 100);
	struct collection_wish wish = {.run = false,
	    .sized = true,
	    .target_size = bytes / 2,
	    .instance = STR("a")};
	struct collection_report plan, report;

	time_passes(fixture, 24 * HOUR_MS);
	plan = collect(fixture, MIN_AGE, &wish);
	wish.run = true;
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.results, plan.results);
	assert_false(report.short_of);
	assert_in_range(use_of(fixture->store, "a").bytes,
	    bytes / 2 - bytes / 50, bytes / 2);
	assert_content(fixture->store, 1, SMALL);
}

static void
an_instance_without_quota_wants_a_bound(void **state)
{
	struct fixture *fixture = *state;
	const struct collection_wish wish = {.run = true, .instance = STR("a")};
	struct collector *collector = open_collector(fixture, MIN_AGE);
	struct collection_report report;
	struct error err;

	owner_named(fixture->store, "a");
	assert_int_equal(
	    collector_collect(collector, &wish, &report, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(err.text, "\"a\" has no quota"));
	collector_free(collector);
}

static void
an_instance_that_nobody_has_is_not_found(void **state)
{
	struct fixture *fixture = *state;
	struct collection_wish wish = {
	    .run = true, .sized = true, .instance = STR("typo")};
	struct collector *collector = open_collector(fixture, MIN_AGE);
	struct collection_report report;
	struct digest blob;
	struct error err;

	blob = put_numbered_by(
	    fixture->store, owner_named(fixture->store, "a"), 1, SMALL);
	put_result(fixture, "a", 7, &blob);
	assert_int_equal(
	    collector_collect(collector, &wish, &report, &err), -1);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(err.text, "no instance \"typo\""));
	assert_non_null(strstr(err.text, "`toolroot gc`"));
	/* One that has nothing (any more) is known. */
	wish.instance = STR("empty");
	owner_named(fixture->store, "empty");
	assert_int_equal(collector_collect(collector, &wish, &report, &err), 0);
	assert_int_equal(report.bytes_before, 0);
	collector_free(collector);
}

static void
results_without_an_owner_go_by_their_instance(void **state)
{
	struct fixture *fixture = *state;
	struct collection_wish wish = {.run = true, .max_age_ms = 6 * HOUR_MS};
	struct digest blob = put_numbered(fixture->store, 1, SMALL);
	struct collection_report report;
	char name[600];

	/* Too long to get a number. */
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	wish.instance = str_from(name);
	put_result(fixture, name, 7, &blob);
	put_result(fixture, "b", 8, &blob);
	time_passes(fixture, 24 * HOUR_MS);
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.results, 1);
	assert_int_equal(report.blobs, 0);
	assert_true(has_result(fixture, "b", 8));
}

/* --- repair --------------------------------------------------------------- */

static void
tell(void *cookie, const char *what, const char *why)
{
	(void)cookie;
	(void)what;
	(void)why;
}

static void
repair(struct fixture *fixture, bool lose_index)
{
	const struct repair_options options = {
	    .path = fixture->path, .tell = tell};
	struct repair_report report;
	struct error err;
	char path[128];

	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(path, sizeof(path), "%s/index/data.mdb", fixture->path);
	if (lose_index)
		assert_int_equal(unlink(path), 0);
	if (store_repair(&options, &report, &err) < 0)
		fail_msg("repair: %s", err.text);
	assert_int_equal(report.dropped_entries, 0);
	fixture_open(fixture);
}

static void
a_repair_counts_anew(void **state)
{
	struct fixture *fixture = *state;
	struct owner_report before, after;
	struct digest blob;
	uint16_t a;

	set_limits(fixture->store, "a", 5 * MIB, MIB);
	a = owner_named(fixture->store, "a");
	put_many_by(fixture, a, 0, 30, SMALL);
	put_many_by(fixture, a, 100, 3, LARGE);
	put_numbered(fixture->store, 500, LARGE);
	blob = digest_of(3, SMALL);
	put_result(fixture, "a", 7, &blob);
	before = use_of(fixture->store, "a");
	assert_true(before.bytes > 3 * LARGE);
	repair(fixture, false);
	after = use_of(fixture->store, "a");
	assert_int_equal(after.number, before.number);
	assert_int_equal(after.bytes, before.bytes);
	assert_int_equal(after.blobs, 33);
	assert_int_equal(after.results, 1);
	assert_int_equal(after.quota, 5 * MIB);
	assert_int_equal(after.floor, MIB);
}

static void
a_lost_index_leaves_numbers_that_nobody_gets(void **state)
{
	struct fixture *fixture = *state;
	struct owner_list list;
	struct error err;
	uint16_t a = owner_named(fixture->store, "a");

	put_many_by(fixture, a, 0, 30, SMALL);
	repair(fixture, true);
	assert_int_equal(use_of(fixture->store, "a").bytes, 0);
	assert_true(owner_named(fixture->store, "a") > a);
	assert_int_equal(store_owners(fixture->store, &list, &err), 0);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].number, a);
	assert_false(list.items[0].named);
	assert_int_equal(list.items[0].blobs, 30);
	owner_list_clear(&list);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(the_first_writer_pays),
	    with_store(compaction_leaves_the_owner),
	    with_store(a_quota_refuses_its_instance_and_no_other),
	    with_store(an_instance_at_its_quota_loses_its_own_oldest),
	    with_store(a_quota_of_young_blobs_says_what_it_would_break),
	    with_store(a_floor_is_left_when_another_floods),
	    with_store(what_is_above_a_floor_goes),
	    with_store(what_is_promised_is_not_taken_from_a_floor),
	    with_store(a_floor_is_left_of_what_is_older_than_all_buckets),
	    with_store(who_has_only_results_loses_those_above_its_floor),
	    with_store(one_instance_is_collected_by_itself),
	    with_store(results_of_others_go_with_the_blobs_that_they_name),
	    with_store(who_has_only_results_loses_as_many_as_is_wanted),
	    with_store(an_instance_without_quota_wants_a_bound),
	    with_store(an_instance_that_nobody_has_is_not_found),
	    with_store(results_without_an_owner_go_by_their_instance),
	    with_store(a_repair_counts_anew),
	    with_store(a_lost_index_leaves_numbers_that_nobody_gets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
