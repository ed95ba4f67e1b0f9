/* SPDX-License-Identifier: Apache-2.0 */
/* Which limits of instances are taken, and what the metrics show of them. */
#include "frontend/instance_limits.h"

#include "../cas/owner_fixture.h"

#include "base/metrics.h"
#include "frontend/resource_name.h"
#include "frontend/serve_options.h"

#define QUOTA "10000000"

static char *names[] = {"main", "other"};

static int
apply(struct store *store, const char *quota, const char *floor,
    struct error *err)
{
	char *quotas[] = {(char *)(uintptr_t)quota};
	char *floors[] = {(char *)(uintptr_t)floor};
	const struct serve_options options = {.gc_low = 80,
	    .instance_quotas = {quotas, 1},
	    .instance_floors = {floors, 1}};

	return instance_limits_apply(&options, store, err);
}

static void
a_floor_is_within_what_its_quota_is_collected_to(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	assert_int_equal(
	    apply(fixture->store, "main=" QUOTA, "main=8000001", &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(
	    strstr(err.text, "the instance-floor of \"main\", 8000001 bytes"));
	assert_non_null(strstr(err.text, "its instance-quota of 10000000"));
	assert_non_null(strstr(err.text, "8000000 bytes (gc-low, 80 %)"));
	assert_non_null(strstr(err.text, "lower the floor"));
	assert_int_equal(
	    apply(fixture->store, "main=" QUOTA, "main=8000000", &err), 0);
	/* Without a quota only the store's low mark bounds it. */
	assert_int_equal(
	    apply(fixture->store, "main=" QUOTA, "b=9000000", &err), 0);
}

/* -1: there is no such series. */
static int64_t
series(struct metrics *metrics, const char *name)
{
	struct buffer out;
	const char *line;
	char wanted[128];
	int64_t value = -1;

	buffer_init(&out, 1 << 20);
	assert_int_equal(metrics_render(metrics, &out), 0);
	snprintf(wanted, sizeof(wanted),
	    "\ntoolroot_store_instance_bytes{instance=\"%s\"} ", name);
	line = strstr(out.data, wanted);
	if (line != NULL)
		value = strtoll(line + strlen(wanted), NULL, 10);
	buffer_clear(&out);
	return value;
}

static void
a_listed_instance_is_shown_with_and_without_use(void **state)
{
	struct fixture *fixture = *state;
	const struct serve_options options = {.instances = {names, 2}};
	struct metrics *metrics = metrics_new();
	struct instance_metrics *shown =
	    instance_metrics_new(metrics, &options, fixture->store);
	struct digest digest = digest_of(1, 1000);
	uint16_t owner = owner_named(fixture->store, "main");
	struct blob_writer *writer;
	struct error err;

	assert_int_equal(series(metrics, "main"), 0);
	assert_int_equal(series(metrics, "other"), 0);
	writer = blob_writer_new(
	    fixture->store, &digest, ENCODING_IDENTITY, owner, &err);
	assert_non_null(writer);
	assert_in_range(series(metrics, "main"), 1000, 5000);
	blob_writer_free(writer);
	assert_int_equal(series(metrics, "main"), 0);
	metrics_free(metrics);
	instance_metrics_free(shown);
}

static void
the_rest_is_told_from_an_instance_named_other(void **state)
{
	struct fixture *fixture = *state;
	const struct serve_options options = {.instances = {names, 2}};
	struct metrics *metrics = metrics_new();
	struct instance_metrics *shown =
	    instance_metrics_new(metrics, &options, fixture->store);

	put_numbered_by(
	    fixture->store, owner_named(fixture->store, "other"), 1, 1000);
	put_numbered_by(
	    fixture->store, owner_named(fixture->store, "x"), 2, 20000);
	assert_in_range(series(metrics, "other"), 1000, 5000);
	assert_in_range(series(metrics, "/other"), 20000, 30000);
	assert_int_equal(series(metrics, "x"), -1);
	assert_false(resource_name_instance_valid(STR("/other")));
	metrics_free(metrics);
	instance_metrics_free(shown);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_floor_is_within_what_its_quota_is_collected_to),
	    TEST(a_listed_instance_is_shown_with_and_without_use),
	    TEST(the_rest_is_told_from_an_instance_named_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
