/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of captured files: replacing, removing, links, limits, digests. */
#include "tests/unit/client/capture_fixture.h"

static const struct capture_file plain = {.source = "/nowhere", .size = 10};

static int
add(const char *path)
{
	return capture_tree_add_file(
	    fixture.tree, str_from(path), &plain, &fixture.err);
}

static int
add_link(const char *path, const char *target)
{
	return capture_tree_add_symlink(
	    fixture.tree, str_from(path), str_from(target), &fixture.err);
}

static void
parents_come_into_being(void **state)
{
	struct capture_totals totals;

	(void)state;
	assert_int_equal(add("a/b/c"), 0);
	assert_int_equal(fixture_entry("a")->kind, CAPTURE_DIRECTORY);
	assert_int_equal(fixture_entry("a/b")->kind, CAPTURE_DIRECTORY);
	capture_tree_totals(fixture.tree, &totals);
	assert_int_equal(totals.files, 1);
	assert_int_equal(totals.directories, 3);
	assert_int_equal(totals.bytes, 10);
}

static void
bad_paths_are_refused(void **state)
{
	static const char *const paths[] = {
	    "", "/a", "a/", "a//b", ".", "a/../b", "..", "\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(add(paths[i]), -1);
		assert_int_equal(fixture.err.code, ERROR_INVALID_ARGUMENT);
	}
}

static void
what_comes_later_replaces(void **state)
{
	struct capture_totals totals;

	(void)state;
	assert_int_equal(add("a/b"), 0);
	assert_int_equal(add("a/c/d"), 0);
	assert_int_equal(add_link("a/c", "b"), 0);
	fixture_absent("a/c/d");
	assert_string_equal(fixture_entry("a/c")->target, "b");
	assert_int_equal(add("a"), 0);
	fixture_absent("a/b");
	assert_int_equal(fixture_entry("a")->kind, CAPTURE_FILE);
	capture_tree_totals(fixture.tree, &totals);
	assert_int_equal(totals.bytes, 10);
}

static void
nothing_is_put_below_a_link(void **state)
{
	(void)state;
	assert_int_equal(add_link("a", "b"), 0);
	assert_int_equal(add("a/c"), -1);
	assert_non_null(strstr(fixture.err.text, "symbolic link"));
}

static void
limits_hold_and_removing_makes_room(void **state)
{
	struct capture_tree *tree = fixture_tree(2, 25);

	(void)state;
	capture_tree_free(fixture.tree);
	fixture.tree = tree;
	assert_int_equal(add("a"), 0);
	assert_int_equal(add("b"), 0);
	assert_int_equal(add("c"), -1);
	assert_int_equal(fixture.err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_int_equal(add("a"), 0);
	capture_tree_remove(tree, STR("a"));
	assert_int_equal(capture_tree_check_room(tree, 16, &fixture.err), -1);
	assert_int_equal(capture_tree_check_room(tree, 15, &fixture.err), 0);
}

static void
removing_takes_what_is_below_and_no_neighbour(void **state)
{
	(void)state;
	assert_int_equal(add("a/x"), 0);
	assert_int_equal(add("a/y/z"), 0);
	assert_int_equal(add("ab"), 0);
	capture_tree_remove_below(fixture.tree, STR("a"));
	fixture_absent("a/x");
	fixture_absent("a/y");
	fixture_entry("a");
	fixture_entry("ab");
	capture_tree_remove(fixture.tree, STR("a"));
	fixture_absent("a");
	capture_tree_remove(fixture.tree, STR("not there"));
}

static void
resolved_is(const char *path, const char *wanted)
{
	char *resolved =
	    capture_tree_resolve(fixture.tree, str_from(path), &fixture.err);

	assert_non_null(resolved);
	assert_string_equal(resolved, wanted);
	free(resolved);
}

static void
links_are_followed_within_the_tree(void **state)
{
	(void)state;
	assert_int_equal(add("usr/bin/x"), 0);
	assert_int_equal(add_link("bin", "usr/bin"), 0);
	assert_int_equal(add_link("abs", "/usr"), 0);
	assert_int_equal(add_link("usr/up", "../../../.."), 0);
	resolved_is("bin/x", "usr/bin/x");
	resolved_is("bin", "bin");
	resolved_is("abs/bin/x", "usr/bin/x");
	resolved_is("usr/up/bin/x", "usr/bin/x");
	resolved_is("a/./b/../c", "a/c");
	assert_int_equal(add_link("loop", "loop/x"), 0);
	assert_null(
	    capture_tree_resolve(fixture.tree, STR("loop/y"), &fixture.err));
	assert_non_null(strstr(fixture.err.text, "too many"));
}

static void
only_names_kinds_contents_and_executable_bits_count(void **state)
{
	struct capture_tree *other = fixture_tree(100, 1000);
	const struct digest digest = {.function = DIGEST_SHA256, .size = 3};
	const struct capture_file file = {
	    .source = "/here", .size = 3, .digest = &digest};
	const struct capture_file moved = {
	    .source = "/there", .offset = 7, .size = 3, .digest = &digest};
	struct capture_file executable = file;
	struct digest first, second, third;

	(void)state;
	executable.executable = true;
	capture_tree_add_file(fixture.tree, STR("d/f"), &file, &fixture.err);
	capture_tree_add_file(other, STR("d/f"), &moved, &fixture.err);
	first = fixture_root(fixture.tree);
	second = fixture_root(other);
	assert_true(digest_equal(&first, &second));
	capture_tree_add_file(other, STR("d/f"), &executable, &fixture.err);
	third = fixture_root(other);
	assert_false(digest_equal(&first, &third));
	capture_tree_free(other);
}

int
main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(parents_come_into_being),
	    TEST(bad_paths_are_refused),
	    TEST(what_comes_later_replaces),
	    TEST(nothing_is_put_below_a_link),
	    TEST(limits_hold_and_removing_makes_room),
	    TEST(removing_takes_what_is_below_and_no_neighbour),
	    TEST(links_are_followed_within_the_tree),
	    TEST(only_names_kinds_contents_and_executable_bits_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
