/* SPDX-License-Identifier: Apache-2.0 */
/* Building Merkle trees: canonical form, order, refusals. */
#include "cas/merkle_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/arena.h"
#include "cas/directory.h"
#include "cas/tree.h"
#include "tests/unit/cas/fake_blobs.h"

static void
assert_ok(int rc, const struct error *err)
{
	if (rc < 0)
		fail_msg("%s", err->text);
}

static struct merkle_builder *
builder_with(const char *const *files, size_t count)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct error err;

	for (size_t i = 0; i < count; i++) {
		struct merkle_file file = fake_file(files[i]);

		assert_ok(merkle_builder_add_file(
			      builder, str_from(files[i]), &file, &err),
		    &err);
	}
	return builder;
}

static void
empty_tree_is_the_empty_blob(void **state)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct error err;
	size_t count;

	(void)state;
	assert_ok(merkle_builder_finish(builder, &err), &err);
	assert_true(digest_is_empty(merkle_builder_root(builder)));
	merkle_builder_directories(builder, &count);
	assert_int_equal(count, 1);
	merkle_builder_free(builder);
}

static void
order_of_adding_does_not_matter(void **state)
{
	static const char *const one[] = {"b/x", "a", "b/c/y", "a.b"};
	static const char *const other[] = {"a.b", "b/c/y", "a", "b/x"};
	struct merkle_builder *first = builder_with(one, 4);
	struct merkle_builder *second = builder_with(other, 4);
	struct error err;

	(void)state;
	assert_ok(merkle_builder_finish(first, &err), &err);
	assert_ok(merkle_builder_finish(second, &err), &err);
	assert_true(digest_equal(
	    merkle_builder_root(first), merkle_builder_root(second)));
	merkle_builder_free(first);
	merkle_builder_free(second);
}

/* By hand after the wire format: file "f" (fields 1, 2, 4 and 6 of FileNode)
 * and link "l". */
static void
bytes_are_those_of_the_wire_format(void **state)
{
	static const char hash[] = "2c26b46b68ffc68ff99b453c1d30413413422d70648"
				   "3bfa0f98a5e886266e7ae";
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file file = fake_file("foo");
	const struct merkle_directory *directories;
	char expected[256];
	size_t len;
	size_t count;
	struct error err;

	(void)state;
	file.executable = true;
	file.properties.has_mode = true;
	file.properties.mode = 0755;
	assert_ok(merkle_builder_add_symlink(builder, STR("l"), STR("f"), &err),
	    &err);
	assert_ok(
	    merkle_builder_add_file(builder, STR("f"), &file, &err), &err);
	assert_ok(merkle_builder_finish(builder, &err), &err);
	directories = merkle_builder_directories(builder, &count);
	assert_int_equal(count, 1);
	len = (size_t)snprintf(expected, sizeof(expected),
	    "\x0a\x52\x0a\x01"
	    "f\x12\x44\x0a\x40%s\x10\x03\x20\x01\x32\x05\x1a\x03\x08\xed\x03"
	    "\x1a\x06\x0a\x01l\x12\x01"
	    "f",
	    hash);
	assert_int_equal(directories[0].bytes.len, len);
	assert_memory_equal(directories[0].bytes.data, expected, len);
	merkle_builder_free(builder);
}

static void
directories_pass_the_check_and_equal_ones_stand_once(void **state)
{
	static const char *const files[] = {"b/x", "a", "b/c/y", "z/same/f"};
	struct merkle_builder *builder = builder_with(files, 4);
	struct merkle_file file = fake_file("z/same/f");
	const struct merkle_directory *directories;
	struct arena arena;
	struct error err;
	size_t count;

	(void)state;
	assert_ok(
	    merkle_builder_add_file(builder, STR("b/c/same/f"), &file, &err),
	    &err);
	assert_ok(
	    merkle_builder_add_directory(builder, STR("b/empty"), &err), &err);
	assert_ok(
	    merkle_builder_add_directory(builder, STR("b/c"), &err), &err);
	assert_ok(merkle_builder_add_directory(builder, STR(""), &err), &err);
	assert_ok(merkle_builder_finish(builder, &err), &err);
	directories = merkle_builder_directories(builder, &count);
	/* root, b, b/c, b/empty, z, same */
	assert_int_equal(count, 6);
	assert_true(
	    digest_equal(&directories[0].digest, merkle_builder_root(builder)));
	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < count; i++) {
		if (directory_decode(&arena, directories[i].bytes,
			DIGEST_SHA256, &err) == NULL)
			fail_msg("%s", err.text);
	}
	arena_clear(&arena);
	merkle_builder_free(builder);
}

static int
count_directory(void *cookie, const struct digest *digest,
    const Reapi__Directory *directory, struct error *err)
{
	size_t *count = cookie;

	(void)digest;
	(void)directory;
	(void)err;
	(*count)++;
	return 0;
}

static void
tree_message_is_sorted_and_has_the_root(void **state)
{
	/* "deep" is shared by a parent near the root and one far below. */
	static const char *const files[] = {
	    "a/deep/f", "a/k", "m/n/o/p", "z/y/x/a"};
	struct merkle_builder *builder = builder_with(files, 4);
	struct merkle_file file = fake_file("a/deep/f");
	struct digest root;
	struct buffer tree;
	struct error err;
	size_t visited = 0;
	struct tree_options options = {
	    DIGEST_SHA256, true, count_directory, &visited};

	(void)state;
	assert_ok(
	    merkle_builder_add_file(builder, STR("z/y/x/deep/f"), &file, &err),
	    &err);
	assert_ok(merkle_builder_finish(builder, &err), &err);
	buffer_init(&tree, 1 << 20);
	assert_ok(merkle_builder_tree(builder, &tree, &err), &err);
	assert_ok(tree_walk(buffer_str(&tree), &options, &root, &err), &err);
	assert_true(digest_equal(&root, merkle_builder_root(builder)));
	assert_int_equal(visited, 9);
	buffer_clear(&tree);
	buffer_init(&tree, 10);
	assert_int_equal(merkle_builder_tree(builder, &tree, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	buffer_clear(&tree);
	merkle_builder_free(builder);
}

static void
malformed_paths_are_refused(void **state)
{
	static const char *const paths[] = {
	    "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "\xff"};
	struct merkle_file file = fake_file("x");
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct merkle_builder *builder =
		    merkle_builder_new(DIGEST_SHA256);

		assert_int_equal(merkle_builder_add_file(
				     builder, str_from(paths[i]), &file, &err),
		    -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(err.text, "path \""));
		merkle_builder_free(builder);
	}
}

static void
paths_taken_by_something_else_are_refused(void **state)
{
	static const char *const files[] = {"a", "b/c"};
	struct merkle_builder *builder = builder_with(files, 2);
	struct merkle_file file = fake_file("x");
	struct error err;

	(void)state;
	assert_int_equal(
	    merkle_builder_add_file(builder, STR("a"), &file, &err), -1);
	assert_int_equal(
	    merkle_builder_add_file(builder, STR("a/b"), &file, &err), -1);
	assert_int_equal(
	    merkle_builder_add_file(builder, STR("b"), &file, &err), -1);
	assert_int_equal(
	    merkle_builder_add_directory(builder, STR("a"), &err), -1);
	assert_int_equal(
	    merkle_builder_add_symlink(builder, STR("b/c"), STR("x"), &err),
	    -1);
	assert_int_equal(
	    merkle_builder_add_subtree(builder, STR("b"), &file.digest, &err),
	    -1);
	assert_int_equal(
	    merkle_builder_add_symlink(builder, STR("l"), STR(""), &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	merkle_builder_free(builder);
}

static void
depth_is_limited(void **state)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file file = fake_file("x");
	char path[2 * CLOSURE_DEPTH_MAX + 1];
	struct error err;

	(void)state;
	for (size_t i = 0; i < CLOSURE_DEPTH_MAX; i++)
		memcpy(path + 2 * i, "d/", 2);
	assert_ok(
	    merkle_builder_add_file(builder,
		(struct str){path, 2 * CLOSURE_DEPTH_MAX - 3}, &file, &err),
	    &err);
	assert_int_equal(
	    merkle_builder_add_file(builder,
		(struct str){path, 2 * CLOSURE_DEPTH_MAX - 1}, &file, &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_ok(merkle_builder_finish(builder, &err), &err);
	merkle_builder_free(builder);
}

/* A subtree given by digest makes the same parent as its files would. */
static void
subtree_stands_for_its_content(void **state)
{
	static const char *const inner[] = {"f", "g"};
	struct merkle_builder *subtree = builder_with(inner, 2);
	struct merkle_builder *whole = merkle_builder_new(DIGEST_SHA256);
	struct merkle_builder *parts = merkle_builder_new(DIGEST_SHA256);
	struct buffer tree;
	struct error err;

	(void)state;
	assert_ok(merkle_builder_finish(subtree, &err), &err);
	for (size_t i = 0; i < 2; i++) {
		struct merkle_file file = fake_file(inner[i]);
		char path[16];

		snprintf(path, sizeof(path), "s/%s", inner[i]);
		assert_ok(
		    merkle_builder_add_file(whole, str_from(path), &file, &err),
		    &err);
	}
	assert_ok(merkle_builder_add_subtree(
		      parts, STR("s"), merkle_builder_root(subtree), &err),
	    &err);
	assert_ok(merkle_builder_finish(whole, &err), &err);
	assert_ok(merkle_builder_finish(parts, &err), &err);
	assert_true(digest_equal(
	    merkle_builder_root(whole), merkle_builder_root(parts)));
	buffer_init(&tree, 1000);
	assert_int_equal(merkle_builder_tree(parts, &tree, &err), -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	buffer_clear(&tree);
	merkle_builder_free(subtree);
	merkle_builder_free(whole);
	merkle_builder_free(parts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(empty_tree_is_the_empty_blob),
	    cmocka_unit_test(order_of_adding_does_not_matter),
	    cmocka_unit_test(bytes_are_those_of_the_wire_format),
	    cmocka_unit_test(
		directories_pass_the_check_and_equal_ones_stand_once),
	    cmocka_unit_test(tree_message_is_sorted_and_has_the_root),
	    cmocka_unit_test(malformed_paths_are_refused),
	    cmocka_unit_test(paths_taken_by_something_else_are_refused),
	    cmocka_unit_test(depth_is_limited),
	    cmocka_unit_test(subtree_stands_for_its_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
