/* SPDX-License-Identifier: Apache-2.0 */
/* GetTree's pages: order, limits, resuming, tokens that are not ours. */
#include "cas/tree_pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cas/fake_blobs.h"

#define DIRECTORIES_MAX 32

struct fixture {
	struct fake_blobs blobs;
	struct closure_source source;
	struct digest root;
	struct error err;
};

/* 2 * 3 directories with a file each, and "shared" below two of them: the
 * root, 2, 6 and 1. */
static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file file = fake_file("x");
	char path[32];

	for (int i = 0; i < 6; i++) {
		file.executable = i % 2 == 1;
		snprintf(path, sizeof(path), "%d/%d/f%d", i % 2, i / 2, i);
		if (merkle_builder_add_file(
			builder, str_from(path), &file, &f->err) < 0)
			return -1;
	}
	file.executable = false;
	if (merkle_builder_add_file(
		builder, STR("0/1/shared/f"), &file, &f->err) < 0 ||
	    merkle_builder_add_file(
		builder, STR("1/2/shared/f"), &file, &f->err) < 0)
		return -1;
	fake_blobs_init(&f->blobs);
	f->source = fake_blobs_source(&f->blobs);
	f->root = fake_blobs_add_tree(&f->blobs, builder);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	fake_blobs_clear(&f->blobs);
	free(f);
	return 0;
}

/* What a walk showed: the digests in order and the token after each page. */
struct shown {
	struct digest digests[DIRECTORIES_MAX];
	size_t count;
	char tokens[DIRECTORIES_MAX][TREE_PAGES_TOKEN_MAX];
	size_t starts[DIRECTORIES_MAX]; /* count before the page */
	size_t pages;
};

static void
show(struct fixture *f, const char *token, size_t directories, size_t bytes,
    struct shown *shown)
{
	struct tree_pages *pages =
	    tree_pages_open(&f->source, &f->root, str_from(token), &f->err);
	struct tree_page page;
	int more;

	*shown = (struct shown){.count = 0};
	if (pages == NULL)
		fail_msg("%s", f->err.text);
	while ((more = tree_pages_next(
		    pages, directories, bytes, &page, &f->err)) == 1) {
		assert_true(page.count <= directories);
		assert_true(shown->count + page.count <= DIRECTORIES_MAX);
		shown->starts[shown->pages] = shown->count;
		for (size_t i = 0; i < page.count; i++)
			digest_compute(DIGEST_SHA256, page.directories[i].data,
			    page.directories[i].len,
			    &shown->digests[shown->count++]);
		strcpy(shown->tokens[shown->pages++], page.token);
	}
	if (more < 0)
		fail_msg("%s", f->err.text);
	assert_string_equal(shown->tokens[shown->pages - 1], "");
	tree_pages_free(pages);
}

static void
one_page_shows_each_directory_once_root_first(void **state)
{
	struct fixture *f = *state;
	struct shown shown;

	show(f, "", 1000, SIZE_MAX, &shown);
	assert_int_equal(shown.pages, 1);
	assert_int_equal(shown.count, 10);
	assert_int_equal(f->blobs.reads, 10);
	assert_true(digest_equal(&shown.digests[0], &f->root));
	for (size_t i = 0; i < shown.count; i++) {
		for (size_t j = 0; j < i; j++)
			assert_false(
			    digest_equal(&shown.digests[i], &shown.digests[j]));
	}
}

static void
every_token_resumes_where_its_page_ended(void **state)
{
	struct fixture *f = *state;
	struct shown all;
	struct shown rest;

	for (size_t size = 1; size <= 4; size++) {
		show(f, "", size, SIZE_MAX, &all);
		assert_int_equal(all.pages, (10 + size - 1) / size);
		for (size_t i = 0; i + 1 < all.pages; i++) {
			size_t start = all.starts[i + 1];

			show(f, all.tokens[i], 3, SIZE_MAX, &rest);
			assert_int_equal(rest.count, all.count - start);
			for (size_t j = 0; j < rest.count; j++)
				assert_true(digest_equal(
				    &rest.digests[j], &all.digests[start + j]));
		}
	}
}

static void
pages_keep_the_byte_limit(void **state)
{
	struct fixture *f = *state;
	struct shown shown;

	/* Less than any: one at a time. */
	show(f, "", 100, 1, &shown);
	assert_int_equal(shown.pages, 10);
	show(f, "", 100, 400, &shown);
	assert_true(shown.pages > 1 && shown.pages < 10);
	assert_int_equal(shown.count, 10);
	for (size_t i = 0; i < shown.pages; i++) {
		size_t end =
		    i + 1 < shown.pages ? shown.starts[i + 1] : shown.count;
		size_t bytes = 0;

		for (size_t j = shown.starts[i]; j < end; j++)
			bytes += shown.digests[j].size;
		assert_true(bytes <= 400 || end - shown.starts[i] == 1);
	}
}

static void
empty_root_is_one_directory(void **state)
{
	struct fixture *f = *state;
	struct shown shown;

	digest_empty(DIGEST_SHA256, &f->root);
	show(f, "", 10, 1000, &shown);
	assert_int_equal(shown.count, 1);
	assert_true(digest_is_empty(&shown.digests[0]));
}

static void
absent_directories_are_left_out(void **state)
{
	struct fixture *f = *state;
	struct shown all;
	struct shown rest;

	show(f, "", 1000, SIZE_MAX, &all);
	/* The last one shown is a leaf. */
	fake_blobs_remove(&f->blobs, &all.digests[9]);
	show(f, "", 1, SIZE_MAX, &rest);
	assert_int_equal(rest.count, 9);
	fake_blobs_remove(&f->blobs, &all.digests[1]);
	show(f, "", 1000, SIZE_MAX, &rest);
	assert_true(rest.count < 8);
}

static void
absent_root_is_not_found(void **state)
{
	struct fixture *f = *state;
	struct tree_pages *pages;
	struct tree_page page;

	fake_blobs_remove(&f->blobs, &f->root);
	pages = tree_pages_open(&f->source, &f->root, STR(""), &f->err);
	assert_non_null(pages);
	assert_int_equal(tree_pages_next(pages, 10, 1000, &page, &f->err), -1);
	assert_int_equal(f->err.code, ERROR_NOT_FOUND);
	tree_pages_free(pages);
}

static void
tokens_that_are_not_ours_are_refused(void **state)
{
	static const char *const tokens[] = {"x", "0", "1", "-", "1-",
	    "0-0000000000000000-0000000000000000", "99999999999999999999-a-b",
	    "1048577-a-b", "-1-a-b"};
	struct fixture *f = *state;
	struct shown shown;
	char token[TREE_PAGES_TOKEN_MAX];

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		assert_null(tree_pages_open(
		    &f->source, &f->root, str_from(tokens[i]), &f->err));
		assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
	}
	show(f, "", 3, SIZE_MAX, &shown);
	/* Any byte changed, cut or added. */
	for (size_t i = 0; i < strlen(shown.tokens[0]); i++) {
		strcpy(token, shown.tokens[0]);
		token[i] = token[i] == '7' ? '8' : '7';
		assert_null(tree_pages_open(
		    &f->source, &f->root, str_from(token), &f->err));
		assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
		assert_null(tree_pages_open(
		    &f->source, &f->root, (struct str){token, i + 1}, &f->err));
	}
	snprintf(token, sizeof(token), "%.60s0", shown.tokens[0]);
	assert_null(
	    tree_pages_open(&f->source, &f->root, str_from(token), &f->err));
}

static void
token_of_a_tree_that_lost_parts_is_refused(void **state)
{
	struct fixture *f = *state;
	struct shown shown;

	show(f, "", 4, SIZE_MAX, &shown);
	fake_blobs_remove(&f->blobs, &shown.digests[1]);
	assert_null(tree_pages_open(
	    &f->source, &f->root, str_from(shown.tokens[1]), &f->err));
	assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
}

static void
malformed_directory_ends_the_walk(void **state)
{
	struct fixture *f = *state;
	struct tree_pages *pages;
	struct tree_page page;

	f->root = fake_blobs_add(&f->blobs, STR("\x1a\x07\x0a\x02..\x12\x01x"));
	pages = tree_pages_open(&f->source, &f->root, STR(""), &f->err);
	assert_int_equal(tree_pages_next(pages, 10, 1000, &page, &f->err), -1);
	assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
	tree_pages_free(pages);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(one_page_shows_each_directory_once_root_first),
	    CASE(every_token_resumes_where_its_page_ended),
	    CASE(pages_keep_the_byte_limit),
	    CASE(empty_root_is_one_directory),
	    CASE(absent_directories_are_left_out),
	    CASE(absent_root_is_not_found),
	    CASE(tokens_that_are_not_ours_are_refused),
	    CASE(token_of_a_tree_that_lost_parts_is_refused),
	    CASE(malformed_directory_ends_the_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
