/* SPDX-License-Identifier: Apache-2.0 */
/* Closures of input roots, over blobs in memory. */
#include "cas/closure.h"

#include "tests/unit/cas/closure_fixture.h"

static void
closure_has_every_file_and_directory_once(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file twice = fake_file("twice");
	struct digest root;

	add_file(f, builder, "a/b/c");
	add_file(f, builder, "a/d");
	assert_ok(
	    merkle_builder_add_file(builder, STR("a/twice"), &twice, &f->err),
	    f);
	assert_ok(
	    merkle_builder_add_file(builder, STR("twice"), &twice, &f->err), f);
	root = fake_blobs_add_tree(&f->blobs, builder);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->files.count, 3);
	assert_int_equal(f->directories.count, 3);
	assert_int_equal(f->missing.count, 0);
	assert_true(list_has(&f->files, &twice.digest));
	assert_true(list_has(&f->directories, &root));
}

static void
empty_root_needs_no_read(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_empty(DIGEST_SHA256, &root);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, 1);
	assert_int_equal(f->blobs.reads, 0);
}

static void
shared_subtrees_are_read_once(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_chain(f, 1);
	struct digest pair[2];

	/* 2^40 paths, 41 directories. */
	for (size_t i = 0; i < 40; i++) {
		pair[0] = digest;
		pair[1] = digest;
		digest = add_parent(f, pair, 2);
	}
	assert_ok(walk(f, &digest), f);
	assert_int_equal(f->directories.count, 41);
	assert_int_equal(f->blobs.reads, 41);
}

static void
missing_directories_are_listed_and_the_walk_goes_on(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest parts[3];
	struct digest root;

	add_file(f, builder, "here");
	parts[1] = fake_blobs_add_tree(&f->blobs, builder);
	digest_compute(DIGEST_SHA256, "gone", 4, &parts[0]);
	digest_compute(DIGEST_SHA256, "lost", 4, &parts[2]);
	root = add_parent(f, parts, 3);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->missing.count, 2);
	assert_true(list_has(&f->missing, &parts[0]));
	assert_true(list_has(&f->missing, &parts[2]));
	assert_int_equal(f->files.count, 1);
	assert_int_equal(f->directories.count, 4);
}

static void
missing_root_is_listed(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_compute(DIGEST_SHA256, "gone", 4, &root);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->missing.count, 1);
}

static void
deepest_tree_is_accepted_and_one_more_refused(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_chain(f, CLOSURE_DEPTH_MAX);

	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, CLOSURE_DEPTH_MAX);
	root = add_parent(f, &root, 1);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "too deep");
	assert_non_null(strstr(f->err.text, "n000000/n000000"));
}

/* The depth is that of the tree, also when the deep part was walked before by
 * a shorter way. */
static void
depth_counts_through_what_was_walked_before(void **state)
{
	struct fixture *f = *state;
	struct digest half = add_chain(f, CLOSURE_DEPTH_MAX / 2);
	struct digest pair[2] = {half, half};
	struct digest root;

	for (size_t i = 0; i < CLOSURE_DEPTH_MAX / 2; i++)
		pair[1] = add_parent(f, &pair[1], 1);
	root = add_parent(f, pair, 2);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "too deep");
}

/* Twenty directories that each name the next one twice are a small blob each
 * and a million directories on disk. */
static void
entries_count_as_often_as_they_are_laid_out(void **state)
{
	struct fixture *f = *state;
	struct digest pair[2];
	struct digest root = add_chain(f, 1);

	f->closure.entries_max = CLOSURE_ENTRIES_MAX;
	for (size_t i = 0; i < 20; i++) {
		pair[0] = pair[1] = root;
		root = add_parent(f, pair, 2);
	}
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, 21);
	for (size_t i = 0; i < 20; i++) {
		pair[0] = pair[1] = root;
		root = add_parent(f, pair, 2);
	}
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "laid out");
}

static void
wide_tree_is_walked(void **state)
{
	enum { WIDTH = 20000 };
	struct fixture *f = *state;
	struct digest *children = xcalloc(WIDTH, sizeof(*children));
	struct digest root;

	for (size_t i = 0; i < WIDTH; i++) {
		char text[32];

		/* A directory of one symbolic link. */
		snprintf(
		    text, sizeof(text), "\x1a\x0b\x0a\x06%06zu\x12\x01x", i);
		children[i] = fake_blobs_add(&f->blobs, str_from(text));
	}
	root = add_parent(f, children, WIDTH);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, WIDTH + 1);
	free(children);
}

static void
malformed_directory_is_named_by_its_path(void **state)
{
	static const struct {
		struct str bytes;
		const char *text;
	} cases[] = {
	    {{"\x1a\x07\x0a\x02..\x12\x01x", 9}, "\"..\""},
	    {{"\x1a\x06\x0a\x01x\x12\x01x\x1a\x06\x0a\x01x\x12\x01x", 16},
		"twice"},
	    {{"\xff\xff\xff", 3}, "well-formed"},
	    {{"\x12\x07\x0a\x01x\x12\x02\x0a\x00", 9}, "entry \"x\""},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct digest digest =
		    fake_blobs_add(&f->blobs, cases[i].bytes);

		digest = add_parent(f, &digest, 1);
		digest = add_parent(f, &digest, 1);
		assert_refused(
		    walk(f, &digest), f, ERROR_INVALID_ARGUMENT, cases[i].text);
		assert_non_null(
		    strstr(f->err.text, "directory \"n000000/n000000/\""));
	}
}

static void
digest_of_another_function_is_refused(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA1);
	struct merkle_file file = {.executable = true};
	struct digest root;

	digest_compute(DIGEST_SHA1, "x", 1, &file.digest);
	assert_ok(
	    merkle_builder_add_file(builder, STR("f"), &file, &f->err), f);
	root = fake_blobs_add_tree(&f->blobs, builder);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "\"f\"");
}

static void
directory_that_contains_itself_is_refused(void **state)
{
	struct fixture *f = *state;
	struct digest liar;
	struct buffer bytes;

	/* Only a source that lies about digests can make this. */
	digest_compute(DIGEST_SHA256, "liar", 4, &liar);
	encode_parent(&bytes, &liar, 1, "n");
	liar.size = bytes.len;
	buffer_clear(&bytes);
	encode_parent(&bytes, &liar, 1, "n");
	assert_true(bytes.len - liar.size <= 1);
	liar.size = bytes.len;
	buffer_clear(&bytes);
	encode_parent(&bytes, &liar, 1, "n");
	fake_blobs_add_as(&f->blobs, &liar, buffer_str(&bytes));
	buffer_clear(&bytes);
	assert_refused(
	    walk(f, &liar), f, ERROR_INVALID_ARGUMENT, "contains itself");
}

static void
read_errors_come_through_with_the_digest(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_chain(f, 2);
	char text[DIGEST_TEXT_MAX];

	f->blobs.broken = true;
	assert_refused(walk(f, &root), f, ERROR_INTERNAL, "on fire");
	assert_non_null(strstr(f->err.text, digest_format(&root, text)));
}

static void
content_of_another_length_is_data_loss(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_compute(DIGEST_SHA256, "some bytes", 10, &root);
	fake_blobs_add_as(&f->blobs, &root, STR("some"));
	assert_refused(walk(f, &root), f, ERROR_DATA_LOSS, "4 bytes");
}

static void
oversized_directory_is_refused_unread(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_compute(DIGEST_SHA256, "x", 1, &root);
	root.size = CLOSURE_MESSAGE_MAX + UINT64_C(1);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "too large");
	assert_int_equal(f->blobs.reads, 0);
}

static void
list_limit_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_chain(f, 5);

	f->directories.limit = 4;
	assert_refused(
	    walk(f, &root), f, ERROR_INVALID_ARGUMENT, "more than 4 blobs");
	digest_list_clear(&f->directories);
	f->directories.limit = 5;
	assert_ok(walk(f, &root), f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(closure_has_every_file_and_directory_once),
	    CASE(empty_root_needs_no_read),
	    CASE(shared_subtrees_are_read_once),
	    CASE(missing_directories_are_listed_and_the_walk_goes_on),
	    CASE(missing_root_is_listed),
	    CASE(deepest_tree_is_accepted_and_one_more_refused),
	    CASE(depth_counts_through_what_was_walked_before),
	    CASE(entries_count_as_often_as_they_are_laid_out),
	    CASE(wide_tree_is_walked),
	    CASE(malformed_directory_is_named_by_its_path),
	    CASE(digest_of_another_function_is_refused),
	    CASE(directory_that_contains_itself_is_refused),
	    CASE(read_errors_come_through_with_the_digest),
	    CASE(content_of_another_length_is_data_loss),
	    CASE(oversized_directory_is_refused_unread),
	    CASE(list_limit_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
