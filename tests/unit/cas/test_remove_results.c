/* SPDX-License-Identifier: Apache-2.0 */
/* Where results come from is kept with them, and finds them for removal. */
#include "collector_fixture.h"

#include "base/clock.h"
#include "cas/action_value.h"
#include "cas/provenance.h"
#include "cas/remove_results.h"
#include "cas/store_index.h"

#define RESULTS 9

/* Result i: target //app/<i>:x, worker builder-<i % 3>, writer ci-<i % 2>, the
 * toolchain of its number modulo 2. */
static void
put_results(struct fixture *fixture)
{
	for (uint64_t i = 0; i < RESULTS; i++) {
		struct action_key key = action_numbered(i);
		char target[32], worker[32], writer[32];
		struct provenance provenance = {.toolchain_count = 1};
		struct error err;

		snprintf(target, sizeof(target), "//app/%d:x", (int)i);
		snprintf(worker, sizeof(worker), "builder-%d", (int)i % 3);
		snprintf(writer, sizeof(writer), "ci-%d", (int)i % 2);
		provenance.target = str_from(target);
		provenance.worker = str_from(worker);
		provenance.writer = str_from(writer);
		provenance.toolchains[0] = digest_of(900 + i % 2, 50);
		if (store_put_action(
			fixture->store, &key, STR(""), &provenance, &err) < 0)
			fail_msg("put: %s", err.text);
	}
}

static struct result_removal_report
remove_by(struct fixture *fixture, const struct result_filter *filter, bool run)
{
	const struct result_removal removal = {.filter = *filter, .run = run};
	struct result_removal_report report;
	struct error err;

	if (results_remove(fixture->store, &removal, &report, &err) < 0)
		fail_msg("remove: %s", err.text);
	return report;
}

static uint64_t
count_results(struct fixture *fixture)
{
	struct store_usage usage;

	store_usage(fixture->store, &usage);
	return usage.action_results;
}

static void
a_plan_removes_nothing(void **state)
{
	const struct result_filter filter = {.worker = "builder-1"};
	struct result_removal_report report;
	struct fixture *fixture = *state;

	put_results(fixture);
	report = remove_by(fixture, &filter, false);
	assert_int_equal(report.results, RESULTS);
	assert_int_equal(report.matched, 3);
	assert_int_equal(report.removed, 0);
	assert_int_equal(count_results(fixture), RESULTS);
}

static void
a_run_removes_what_matches_and_nothing_else(void **state)
{
	const struct result_filter filter = {
	    .worker = "builder-1", .writer = "ci-*"};
	struct fixture *fixture = *state;

	put_results(fixture);
	assert_int_equal(remove_by(fixture, &filter, true).removed, 3);
	for (uint64_t i = 0; i < RESULTS; i++)
		assert_int_equal(has_action(fixture->store, i), i % 3 != 1);
	fixture_reopen(fixture);
	assert_int_equal(count_results(fixture), RESULTS - 3);
}

static int
put_damaged(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	char key[32] = {0};

	(void)cookie;
	(void)store;
	return index_put_action(
	    write, (struct str){key, sizeof(key)}, STR("short"), err);
}

static void
a_damaged_one_is_passed_over(void **state)
{
	const struct result_filter filter = {.worker = "builder-1"};
	const struct index_job job = {.apply = put_damaged};
	struct fixture *fixture = *state;
	struct error err;

	put_results(fixture);
	assert_int_equal(index_job_run(fixture->store, &job, &err), 0);
	assert_int_equal(remove_by(fixture, &filter, true).removed, 3);
}

static void
each_criterion_narrows(void **state)
{
	struct result_filter filter = {.target = "//app/..."};
	struct fixture *fixture = *state;
	struct digest one = digest_of(4, 40);

	put_results(fixture);
	assert_int_equal(remove_by(fixture, &filter, false).matched, RESULTS);
	filter.writer = "ci-0";
	assert_int_equal(remove_by(fixture, &filter, false).matched, 5);
	filter.toolchain = digest_of(901, 50);
	assert_int_equal(remove_by(fixture, &filter, false).matched, 0);
	filter.toolchain = digest_of(900, 50);
	assert_int_equal(remove_by(fixture, &filter, false).matched, 5);
	filter.instance = STR("other");
	assert_int_equal(remove_by(fixture, &filter, false).matched, 0);
	filter.instance = STR("main");
	digest_list_init(&filter.actions, 10);
	assert_int_equal(digest_list_add(&filter.actions, &one), 0);
	assert_int_equal(remove_by(fixture, &filter, false).matched, 1);
	digest_list_clear(&filter.actions);
}

static void
time_windows_are_half_open(void **state)
{
	struct fixture *fixture = *state;
	struct result_filter filter = {0};
	uint64_t before = (uint64_t)clock_wall_ns(), between;

	put_results(fixture);
	time_passes(fixture, HOUR_MS);
	between = (uint64_t)clock_wall_ns();
	put_results(fixture);
	filter.from_ns = before;
	filter.until_ns = between;
	assert_int_equal(remove_by(fixture, &filter, false).matched, 0);
	filter.from_ns = between;
	filter.until_ns = 0;
	assert_int_equal(remove_by(fixture, &filter, false).matched, RESULTS);
}

static void
without_a_criterion_nothing_is_removed(void **state)
{
	const struct result_removal removal = {.run = true};
	struct result_removal_report report;
	struct fixture *fixture = *state;
	struct error err;

	put_results(fixture);
	assert_int_equal(
	    results_remove(fixture->store, &removal, &report, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_int_equal(count_results(fixture), RESULTS);
}

static void
results_of_unknown_origin_are_counted_and_stay(void **state)
{
	const struct result_filter filter = {.worker = "*"};
	struct result_removal_report report;
	struct fixture *fixture = *state;
	struct error err;

	assert_int_equal(
	    put_action_naming(fixture->store, 1, NULL, 0, &err), 0);
	report = remove_by(fixture, &filter, true);
	assert_int_equal(report.unknown, 1);
	assert_int_equal(report.removed, 0);
	assert_true(has_action(fixture->store, 1));
}

static void
patterns_match_as_they_say(void **state)
{
	(void)state;
	assert_true(result_pattern_matches("//a/...", STR("//a")));
	assert_true(result_pattern_matches("//a/...", STR("//a:x")));
	assert_true(result_pattern_matches("//a/...", STR("//a/b:c")));
	assert_false(result_pattern_matches("//a/...", STR("//ab:c")));
	assert_true(result_pattern_matches("//a:*", STR("//a:x")));
	assert_false(result_pattern_matches("//a:*", STR("")));
	assert_true(result_pattern_matches("ci-?", STR("ci-7")));
}

static void
provenance_survives_its_encoding(void **state)
{
	struct provenance in = {.writer = STR("who"),
	    .target = STR("//x"),
	    .invocation = STR("i"),
	    .toolchain_count = 2};
	struct provenance out;
	struct buffer bytes;

	(void)state;
	in.toolchains[0] = digest_of(1, 2);
	digest_compute(DIGEST_SHA1, "abc", 3, &in.toolchains[1]);
	buffer_init(&bytes, PROVENANCE_SIZE_MAX);
	assert_int_equal(provenance_encode(&in, &bytes), 0);
	/* A field of later versions. */
	assert_int_equal(buffer_append(&bytes, "\x7a\x01z", 3), 0);
	assert_true(provenance_decode(buffer_str(&bytes), &out));
	assert_true(str_equal(out.writer, in.writer));
	assert_true(str_equal(out.target, in.target));
	assert_true(str_equal(out.invocation, in.invocation));
	assert_int_equal(out.worker.len, 0);
	assert_int_equal(out.toolchain_count, 2);
	assert_true(digest_equal(&out.toolchains[1], &in.toolchains[1]));
	assert_false(provenance_decode(STR(""), &out));
	buffer_clear(&bytes);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(a_plan_removes_nothing),
	    with_store(a_run_removes_what_matches_and_nothing_else),
	    with_store(a_damaged_one_is_passed_over),
	    with_store(each_criterion_narrows),
	    with_store(time_windows_are_half_open),
	    with_store(without_a_criterion_nothing_is_removed),
	    with_store(results_of_unknown_origin_are_counted_and_stay),
	    cmocka_unit_test(patterns_match_as_they_say),
	    cmocka_unit_test(provenance_survives_its_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
