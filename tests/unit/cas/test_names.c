/* SPDX-License-Identifier: Apache-2.0 */
/* Names in the store: what they need, what they keep, in which order. */
#include "cas/names.h"

#include "base/arena.h"
#include "cas/digest_list.h"
#include "tests/unit/cas/collector_fixture.h"

static struct digest
put_blob(struct store *store, uint64_t seed)
{
	struct digest digest = digest_of(seed, 100);
	char *data = make_content(seed, 100);
	struct error err;

	assert_int_equal(put_content(store, &digest, data, 100, &err), 0);
	free(data);
	return digest;
}

static int64_t created_ns = 17; /* of the names that are put */

/* names_put for a tree that is one blob. */
static int
put_name(struct store *store, const char *instance, const char *name,
    const struct digest *root, struct digest *previous, struct error *err)
{
	const struct name_key key = {str_from(instance), str_from(name)};
	const struct name_entry entry = {
	    .root = *root, .created_ns = created_ns, .details = STR("details")};
	struct digest_list blobs;
	int rc;

	digest_list_init(&blobs, 1);
	assert_int_equal(digest_list_add(&blobs, root), 0);
	rc = names_put(store, &key, &entry, &blobs, previous, err);
	digest_list_clear(&blobs);
	return rc;
}

static int
get_name(struct store *store, const char *instance, const char *name,
    struct name_entry *entry)
{
	const struct name_key key = {str_from(instance), str_from(name)};
	struct arena arena;
	struct error err;
	int rc;

	arena_init(&arena, 4096);
	rc = names_get(store, &key, &arena, entry, &err);
	if (rc == 1)
		assert_true(str_equal(entry->details, STR("details")));
	arena_clear(&arena);
	return rc;
}

static void
a_name_survives_and_may_change(void **state)
{
	struct fixture *fixture = *state;
	struct digest first = put_blob(fixture->store, 1);
	struct digest second = put_blob(fixture->store, 2);
	struct name_entry entry;
	struct digest previous;
	struct error err;

	assert_int_equal(
	    put_name(fixture->store, "", "gcc", &first, &previous, &err), 0);
	fixture_reopen(fixture);
	assert_int_equal(get_name(fixture->store, "", "gcc", &entry), 1);
	assert_true(digest_equal(&entry.root, &first));
	assert_int_equal(entry.created_ns, 17);
	assert_int_equal(
	    put_name(fixture->store, "", "gcc", &second, &previous, &err), 1);
	assert_true(digest_equal(&previous, &first));
	assert_int_equal(get_name(fixture->store, "", "gcc", &entry), 1);
	assert_true(digest_equal(&entry.root, &second));
}

static void
a_name_needs_all_its_blobs(void **state)
{
	struct fixture *fixture = *state;
	struct digest absent = digest_of(9, 100);
	struct name_entry entry;
	struct digest previous;
	struct error err;

	assert_int_equal(
	    put_name(fixture->store, "", "gcc", &absent, &previous, &err), -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(get_name(fixture->store, "", "gcc", &entry), 0);
}

static void
instances_do_not_see_each_other(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = put_blob(fixture->store, 1);
	const struct name_key key = {STR("a"), STR("gcc")};
	struct name_entry entry;
	struct digest previous;
	struct error err;

	put_name(fixture->store, "a", "gcc", &root, &previous, &err);
	assert_int_equal(get_name(fixture->store, "b", "gcc", &entry), 0);
	put_name(fixture->store, "b", "gcc", &root, &previous, &err);
	assert_int_equal(names_remove(fixture->store, &key, &err), 1);
	assert_int_equal(names_remove(fixture->store, &key, &err), 0);
	assert_int_equal(get_name(fixture->store, "a", "gcc", &entry), 0);
	assert_int_equal(get_name(fixture->store, "b", "gcc", &entry), 1);
}

struct seen {
	char text[256];
};

static int
see(void *cookie, struct str name, const struct name_entry *entry,
    struct error *err)
{
	struct seen *seen = cookie;
	size_t len = strlen(seen->text);

	(void)entry;
	(void)err;
	(void)snprintf(
	    seen->text + len, sizeof(seen->text) - len, "%.*s ", STR_ARG(name));
	return 0;
}

static void
a_drop_leaves_a_name_that_was_put_anew(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = put_blob(fixture->store, 1);
	struct digest other = put_blob(fixture->store, 2);
	struct name_entry seen = {.root = root, .created_ns = 17};
	struct digest instance, previous;
	struct name_entry entry;
	struct error err;

	digest_compute(DIGEST_SHA256, "", 0, &instance);
	seen.instance = instance.hash;
	put_name(fixture->store, "", "gcc", &root, &previous, &err);
	/* The same tree again, a moment later. */
	created_ns = 18;
	put_name(fixture->store, "", "gcc", &root, &previous, &err);
	assert_int_equal(
	    names_drop(fixture->store, STR("gcc"), &seen, &err), 0);
	/* Another tree in the same moment. */
	created_ns = 17;
	put_name(fixture->store, "", "gcc", &other, &previous, &err);
	assert_int_equal(
	    names_drop(fixture->store, STR("gcc"), &seen, &err), 0);
	assert_int_equal(get_name(fixture->store, "", "gcc", &entry), 1);
	seen.root = other;
	assert_int_equal(
	    names_drop(fixture->store, STR("gcc"), &seen, &err), 1);
	assert_int_equal(
	    names_drop(fixture->store, STR("gcc"), &seen, &err), 0);
	assert_int_equal(get_name(fixture->store, "", "gcc", &entry), 0);
}

static void
what_a_name_needs_was_used_when_it_is_put(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = put_blob(fixture->store, 1);
	const struct name_key key = {STR(""), STR("gcc")};
	struct digest previous;
	struct error err;

	time_passes(fixture, 48 * HOUR_MS);
	put_name(fixture->store, "", "gcc", &root, &previous, &err);
	/* Without the name only its age keeps it. */
	assert_int_equal(names_remove(fixture->store, &key, &err), 1);
	collect_to(fixture, HOUR_MS, 0);
	assert_false(is_missing(fixture->store, &root));
	/* Closing writes the touches. */
	fixture_reopen(fixture);
	time_passes(fixture, 48 * HOUR_MS);
	collect_to(fixture, HOUR_MS, 0);
	assert_true(is_missing(fixture->store, &root));
}

static void
names_are_listed_in_order_and_pages(void **state)
{
	static const char *const names[] = {
	    "gcc-12", "clang", "rust", "Z", "0"};
	struct fixture *fixture = *state;
	struct digest root = put_blob(fixture->store, 1);
	struct name_key after = {STR("main"), STR("")};
	struct seen seen = {""};
	struct digest previous;
	struct error err;

	for (size_t i = 0; i < 5; i++)
		put_name(
		    fixture->store, "main", names[i], &root, &previous, &err);
	put_name(fixture->store, "other", "hidden", &root, &previous, &err);
	assert_int_equal(
	    names_list(fixture->store, &after, 3, see, &seen, &err), 1);
	assert_string_equal(seen.text, "0 Z clang ");
	after.name = STR("clang");
	seen.text[0] = '\0';
	assert_int_equal(
	    names_list(fixture->store, &after, 3, see, &seen, &err), 0);
	assert_string_equal(seen.text, "gcc-12 rust ");
	seen.text[0] = '\0';
	assert_int_equal(names_each(fixture->store, see, &seen, &err), 0);
	assert_non_null(strstr(seen.text, "hidden "));
	assert_non_null(strstr(seen.text, "rust "));
}

static void
bad_names_are_refused(void **state)
{
	static const char *const bad[] = {
	    "", "-a", ".hidden", "a/b", "a b", "\xc3\xa4"};
	struct fixture *fixture = *state;
	struct digest root = put_blob(fixture->store, 1);
	char name[NAMES_NAME_MAX + 2];
	struct digest previous;
	struct error err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(put_name(fixture->store, "", bad[i], &root,
				     &previous, &err),
		    -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
	memset(name, 'n', sizeof(name));
	name[NAMES_NAME_MAX + 1] = '\0';
	assert_int_equal(
	    put_name(fixture->store, "", name, &root, &previous, &err), -1);
	name[NAMES_NAME_MAX] = '\0';
	assert_int_equal(
	    put_name(fixture->store, "", name, &root, &previous, &err), 0);
}

int
main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_name_survives_and_may_change),
	    TEST(a_name_needs_all_its_blobs),
	    TEST(instances_do_not_see_each_other),
	    TEST(a_drop_leaves_a_name_that_was_put_anew),
	    TEST(what_a_name_needs_was_used_when_it_is_put),
	    TEST(names_are_listed_in_order_and_pages),
	    TEST(bad_names_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
