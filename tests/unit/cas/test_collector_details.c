/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan tells beside figures, and toolchains beyond those to be kept. */
#include "collector_fixture.h"

#include "base/clock.h"
#include "cas/collector_details.h"
#include "cas/digest_list.h"
#include "cas/names.h"
#include "cas/pins.h"
#include "cas/provenance.h"

#define MIN_AGE (3 * HOUR_MS)
#define SIZE ((size_t)5000)

/* An empty Directory would be the empty blob, so each has a file of its own. */
static struct digest
put_directory(struct fixture *fixture, uint64_t seed)
{
	struct digest file = put_numbered(fixture->store, seed, SIZE), digest;
	Reapi__Directory directory = REAPI__DIRECTORY__INIT;
	Reapi__FileNode node = REAPI__FILE_NODE__INIT, *nodes[] = {&node};
	char text[DIGEST_TEXT_MAX];
	uint8_t bytes[512];
	Reapi__Digest message;
	struct error err;
	size_t length;

	digest_to_message(&file, text, &message);
	node.name = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "f"};
	node.digest = &message;
	directory.files = nodes;
	directory.n_files = 1;
	length = reapi__directory__pack(&directory, bytes);
	digest_compute(DIGEST_SHA256, bytes, length, &digest);
	if (put_content(fixture->store, &digest, bytes, length, &err) !=
	    ERROR_OK)
		fail_msg("%s", err.text);
	return digest;
}

static void
name_toolchain(struct fixture *fixture, const char *name, uint64_t seed)
{
	const struct name_key key = {STR("main"), str_from(name)};
	struct name_entry entry = {.root = put_directory(fixture, seed),
	    .created_ns = clock_wall_ns(),
	    .details = STR("")};
	struct digest_list none;
	struct digest previous;
	struct error err;

	digest_list_init(&none, 1);
	if (names_put(fixture->store, &key, &entry, &none, &previous, &err) < 0)
		fail_msg("%s", err.text);
}

static bool
has_name(struct fixture *fixture, const char *name)
{
	const struct name_key key = {STR("main"), str_from(name)};
	struct name_entry entry;
	struct arena arena;
	struct error err;
	int rc;

	arena_init(&arena, 4096);
	rc = names_get(fixture->store, &key, &arena, &entry, &err);
	arena_clear(&arena);
	return rc == 1;
}

static void
toolchains_used_last_are_kept(void **state)
{
	struct fixture *fixture = *state;
	struct collection_wish wish = {
	    .sized = true, .limit_toolchains = true, .keep_toolchains = 2};
	struct collection_report report;

	name_toolchain(fixture, "gcc-11", 1);
	time_passes(fixture, 24 * HOUR_MS);
	name_toolchain(fixture, "gcc-12", 2);
	time_passes(fixture, 24 * HOUR_MS);
	name_toolchain(fixture, "gcc-13", 3);
	time_passes(fixture, 24 * HOUR_MS);
	/* The oldest is used again. */
	{
		struct digest root = put_directory(fixture, 1);

		assert_false(is_missing(fixture->store, &root));
	}
	fixture_reopen(fixture);
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.dropped_names, 1);
	assert_true(has_name(fixture, "gcc-12"));
	wish.run = true;
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.dropped_names, 1);
	assert_int_equal(report.blobs, 2);
	assert_true(has_name(fixture, "gcc-11"));
	assert_false(has_name(fixture, "gcc-12"));
	assert_true(has_name(fixture, "gcc-13"));
}

static void
toolchains_used_within_min_age_are_kept(void **state)
{
	struct fixture *fixture = *state;
	const struct collection_wish wish = {.run = true,
	    .sized = true,
	    .limit_toolchains = true,
	    .keep_toolchains = 0};
	struct collection_report report;

	name_toolchain(fixture, "gcc-11", 1);
	time_passes(fixture, HOUR_MS);
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.dropped_names, 0);
	assert_true(has_name(fixture, "gcc-11"));
	time_passes(fixture, 24 * HOUR_MS);
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.dropped_names, 1);
	assert_false(has_name(fixture, "gcc-11"));
}

static void
put_result(struct fixture *fixture, uint64_t seed, const char *target)
{
	struct digest blob = put_numbered(fixture->store, seed, SIZE);
	struct provenance provenance = {.target = str_from(target)};
	struct error err;

	if (put_action_from(fixture->store, seed, &blob, 1, &provenance, &err) <
	    0)
		fail_msg("%s", err.text);
}

static void
a_plan_names_owners_and_what_is_kept(void **state)
{
	struct fixture *fixture = *state;
	struct collection_details details;
	const struct collection_wish wish = {
	    .sized = true, .details = &details};
	struct pin pin = {.name = STR("mine"), .kind = PIN_TREE};
	struct error err;

	put_result(fixture, 1, "//big");
	put_result(fixture, 2, "//big");
	put_result(fixture, 3, "//small");
	pin.digest = put_directory(fixture, 50);
	assert_int_equal(pin_set(fixture->store, &pin, &err), 0);
	time_passes(fixture, 48 * HOUR_MS);
	collection_details_init(&details);
	(void)collect(fixture, MIN_AGE, &wish);
	collection_shares_sort(&details.targets);
	assert_int_equal(details.targets.count, 2);
	assert_string_equal(details.targets.items[0]->label, "//big");
	assert_int_equal(details.targets.items[0]->results, 2);
	assert_true(details.targets.items[0]->bytes > 2 * SIZE);
	assert_int_equal(details.instances.count, 1);
	assert_string_equal(details.instances.items[0]->label, "main");
	assert_int_equal(details.root_count, 1);
	assert_string_equal(details.roots[0].name, "mine");
	assert_int_equal(details.roots[0].blobs, 2);
	assert_true(details.roots[0].bytes > SIZE);
	collection_details_clear(&details);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(toolchains_used_last_are_kept),
	    with_store(toolchains_used_within_min_age_are_kept),
	    with_store(a_plan_names_owners_and_what_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
