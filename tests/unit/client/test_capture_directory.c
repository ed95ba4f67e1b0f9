/* SPDX-License-Identifier: Apache-2.0 */
/* Directories with everything in them that a directory can have. */
#include "client/capture_directory.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/client/capture_fixture.h"

static int
capture(struct capture_tree *tree, const char *name)
{
	char *path = fixture_path(name);
	const struct capture_directory_options options = {
	    .path = path, .notes = &fixture.notes};
	int rc = capture_directory(tree, &options, &fixture.err);

	free(path);
	return rc;
}

static void
links_stay_what_they_are(void **state)
{
	(void)state;
	fixture_mkdir("t");
	fixture_write("t/file", "x", 0644);
	fixture_link("nowhere", "t/broken");
	fixture_link("loop", "t/loop");
	fixture_link("/etc/passwd", "t/absolute");
	fixture_link(".", "t/itself");
	assert_int_equal(capture(fixture.tree, "t"), 0);
	assert_string_equal(fixture_entry("broken")->target, "nowhere");
	assert_string_equal(fixture_entry("loop")->target, "loop");
	assert_string_equal(fixture_entry("absolute")->target, "/etc/passwd");
	assert_int_equal(fixture_entry("itself")->kind, CAPTURE_SYMLINK);
	assert_int_equal(fixture.notes.count, 0);
}

static void
sockets_and_fifos_are_left_out_with_a_note(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *fifo;

	(void)state;
	fixture_mkdir("t");
	fixture_write("t/file", "x", 0644);
	fifo = fixture_path("t/fifo");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	free(fifo);
	(void)snprintf(address.sun_path, sizeof(address.sun_path),
	    "%s/t/socket", fixture.directory);
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(capture(fixture.tree, "t"), 0);
	assert_int_equal(fixture.notes.count, 2);
	fixture_absent("fifo");
	fixture_absent("socket");
	fixture_entry("file");
	file_close(&fd);
}

static void
times_modes_and_place_do_not_count(void **state)
{
	struct capture_tree *other = fixture_tree(100, 1000);
	struct timespec old[2] = {{1, 0}, {2, 0}};
	struct digest first, second;
	char *path;

	(void)state;
	fixture_mkdir("t");
	fixture_mkdir("t/d");
	fixture_write("t/d/p", "program", 0755);
	fixture_write("t/d/f", "file", 0644);
	fixture_mkdir("u");
	fixture_mkdir("u/d");
	fixture_write("u/d/f", "file", 0400);
	fixture_write("u/d/p", "program", 0500);
	path = fixture_path("u/d/f");
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	free(path);
	path = fixture_path("u/d");
	assert_int_equal(chmod(path, 0700), 0);
	free(path);
	assert_int_equal(capture(fixture.tree, "t"), 0);
	assert_int_equal(capture(other, "u"), 0);
	first = fixture_root(fixture.tree);
	second = fixture_root(other);
	assert_true(digest_equal(&first, &second));
	capture_tree_free(other);
}

static void
hard_links_are_files_of_their_own(void **state)
{
	char *from, *to;

	(void)state;
	fixture_mkdir("t");
	fixture_write("t/a", "same", 0644);
	from = fixture_path("t/a");
	to = fixture_path("t/b");
	assert_int_equal(link(from, to), 0);
	assert_int_equal(capture(fixture.tree, "t"), 0);
	assert_int_equal(capture_hash(fixture.tree, NULL, &fixture.err), 0);
	assert_true(digest_equal(
	    &fixture_entry("a")->digest, &fixture_entry("b")->digest));
	assert_int_equal(capture_tree_unique_bytes(fixture.tree), 4);
	free(from);
	free(to);
}

static void
long_names_and_odd_names_are_kept(void **state)
{
	char name[260] = "t/";

	(void)state;
	fixture_mkdir("t");
	memset(name + 2, 'n', 255);
	fixture_write(name, "x", 0644);
	fixture_write("t/with blank\nand line", "y", 0644);
	fixture_write("t/\xc3\xa4", "z", 0644);
	assert_int_equal(capture(fixture.tree, "t"), 0);
	fixture_entry(name + 2);
	fixture_entry("with blank\nand line");
	fixture_entry("\xc3\xa4");
}

static void
a_name_that_is_no_utf8_is_refused_by_name(void **state)
{
	(void)state;
	fixture_mkdir("t");
	fixture_write("t/a\xff", "x", 0644);
	assert_int_equal(capture(fixture.tree, "t"), -1);
	assert_int_equal(fixture.err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(fixture.err.text, "\\xff"));
}

static void
a_file_that_grows_is_refused(void **state)
{
	(void)state;
	fixture_mkdir("t");
	fixture_write("t/a", "x", 0644);
	assert_int_equal(capture(fixture.tree, "t"), 0);
	fixture_write("t/a", "xy", 0644);
	assert_int_equal(capture_hash(fixture.tree, NULL, &fixture.err), -1);
	assert_int_equal(fixture.err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(fixture.err.text, "changed while"));
}

static void
a_file_that_became_something_else_is_refused(void **state)
{
	char *path;

	(void)state;
	fixture_mkdir("t");
	fixture_write("t/a", "x", 0644);
	assert_int_equal(capture(fixture.tree, "t"), 0);
	path = fixture_path("t/a");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(capture_hash(fixture.tree, NULL, &fixture.err), -1);
	assert_int_equal(fixture.err.code, ERROR_FAILED_PRECONDITION);
	free(path);
}

static void
the_limit_of_entries_ends_the_walk(void **state)
{
	struct capture_tree *small = fixture_tree(3, 1000);

	(void)state;
	fixture_mkdir("t");
	fixture_mkdir("t/a");
	fixture_mkdir("t/b");
	fixture_mkdir("t/c");
	fixture_mkdir("t/d");
	assert_int_equal(capture(small, "t"), -1);
	assert_int_equal(fixture.err.code, ERROR_RESOURCE_EXHAUSTED);
	capture_tree_free(small);
}

static void
what_is_no_directory_is_refused(void **state)
{
	(void)state;
	fixture_write("file", "x", 0644);
	assert_int_equal(capture(fixture.tree, "file"), -1);
	assert_int_equal(capture(fixture.tree, "absent"), -1);
	assert_int_equal(fixture.err.code, ERROR_NOT_FOUND);
}

int
main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(links_stay_what_they_are),
	    TEST(sockets_and_fifos_are_left_out_with_a_note),
	    TEST(times_modes_and_place_do_not_count),
	    TEST(hard_links_are_files_of_their_own),
	    TEST(long_names_and_odd_names_are_kept),
	    TEST(a_name_that_is_no_utf8_is_refused_by_name),
	    TEST(a_file_that_grows_is_refused),
	    TEST(a_file_that_became_something_else_is_refused),
	    TEST(the_limit_of_entries_ends_the_walk),
	    TEST(what_is_no_directory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
