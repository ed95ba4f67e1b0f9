/* SPDX-License-Identifier: Apache-2.0 */
/* Archives that are good, odd and hostile; layers with whiteouts. */
#include "client/capture_archive.h"

#include "client/capture_directory.h"
#include "tests/unit/client/capture_fixture.h"

static void
content_is(const char *path, const char *text)
{
	const struct capture_entry *entry = fixture_entry(path);
	struct str bytes = capture_spool_bytes(
	    fixture.spool, entry->offset, entry->size, &fixture.err);

	assert_true(str_equal(bytes, str_from(text)));
}

static const struct fixture_item good[] = {
    {"./", AE_IFDIR, NULL, NULL, 0755, 5},
    {"./bin/", AE_IFDIR, NULL, NULL, 0755, 6},
    {"./bin/prog", AE_IFREG, "#!", NULL, 0755, 7},
    {"bin/again", 0, NULL, "bin/prog", 0755, 7},
    {"lib/one", AE_IFREG, "same", NULL, 0600, 8},
    {"lib/two", AE_IFREG, "same", NULL, 0644, 9},
    {"lib/empty", AE_IFREG, NULL, NULL, 0644, 9},
    {"lib/link", AE_IFLNK, NULL, "../nowhere", 0777, 9},
    {NULL, 0, NULL, NULL, 0, 0},
};

static void
entries_links_and_hard_links_are_captured(void **state)
{
	(void)state;
	fixture_tar("good.tgz", good, true);
	assert_int_equal(fixture_capture("good.tgz", false), 0);
	content_is("bin/prog", "#!");
	content_is("bin/again", "#!");
	assert_true(fixture_entry("bin/again")->executable);
	content_is("lib/one", "same");
	content_is("lib/empty", "");
	assert_int_equal(
	    fixture_entry("lib/one")->offset, fixture_entry("lib/two")->offset);
	assert_string_equal(fixture_entry("lib/link")->target, "../nowhere");
}

static void
a_directory_and_its_archives_have_one_digest(void **state)
{
	struct capture_tree *other = fixture_tree(100, 1000);
	char *path = fixture_path("t");
	const struct capture_directory_options options = {
	    .path = path, .notes = &fixture.notes};
	struct digest first, second;

	(void)state;
	fixture_mkdir("t");
	fixture_mkdir("t/bin");
	fixture_mkdir("t/lib");
	fixture_write("t/bin/prog", "#!", 0555);
	fixture_write("t/bin/again", "#!", 0755);
	fixture_write("t/lib/one", "same", 0600);
	fixture_write("t/lib/two", "same", 0644);
	fixture_write("t/lib/empty", "", 0644);
	fixture_link("../nowhere", "t/lib/link");
	fixture_tar("good.tar", good, false);
	assert_int_equal(fixture_capture("good.tar", false), 0);
	assert_int_equal(capture_directory(other, &options, &fixture.err), 0);
	first = fixture_root(fixture.tree);
	second = fixture_root(other);
	assert_true(digest_equal(&first, &second));
	capture_tree_free(other);
	free(path);
}

static void
a_zip_is_read_too(void **state)
{
	const struct fixture_item items[] = {
	    {"bin/prog", AE_IFREG, "#!", NULL, 0755, 7},
	    {"lib/link", AE_IFLNK, NULL, "../bin/prog", 0777, 9},
	    {.path = NULL}};
	struct archive *archive = archive_write_new();

	(void)state;
	archive_write_set_format_zip(archive);
	fixture_pack(archive, "good.zip", items);
	assert_int_equal(fixture_capture("good.zip", false), 0);
	content_is("bin/prog", "#!");
	assert_true(fixture_entry("bin/prog")->executable);
	assert_string_equal(fixture_entry("lib/link")->target, "../bin/prog");
}

/* An archive of this one entry is refused, with this in the text. */
static void
refused(struct fixture_item item, const char *text)
{
	const struct fixture_item items[] = {
	    {"first", AE_IFREG, "x", NULL, 0, 0}, item, {.path = NULL}};

	fixture_tar("bad.tar", items, false);
	assert_int_equal(fixture_capture("bad.tar", false), -1);
	assert_int_equal(fixture.err.code, ERROR_INVALID_ARGUMENT);
	if (strstr(fixture.err.text, text) == NULL)
		fail_msg("no \"%s\" in: %s", text, fixture.err.text);
	if (strstr(fixture.err.text, "bad.tar") == NULL)
		fail_msg("no archive in: %s", fixture.err.text);
}

static void
ways_out_are_refused_by_name(void **state)
{
	(void)state;
	refused(
	    (struct fixture_item){
		.path = "/etc/passwd", .type = AE_IFREG, .content = "x"},
	    "\"/etc/passwd\" is absolute");
	refused((struct fixture_item){.path = "a/../../b", .type = AE_IFREG},
	    "\"a/../../b\" leads out");
	refused((struct fixture_item){.path = "h", .link = "../outside"},
	    "\"../outside\" leads out");
	refused((struct fixture_item){.path = "h", .link = "/etc/passwd"},
	    "\"/etc/passwd\" is absolute");
	refused((struct fixture_item){.path = "h", .link = "absent"},
	    "no earlier file");
}

static void
devices_and_fifos_are_refused(void **state)
{
	(void)state;
	refused((struct fixture_item){.path = "dev/null", .type = AE_IFCHR},
	    "device");
	refused(
	    (struct fixture_item){.path = "disk", .type = AE_IFBLK}, "device");
	refused(
	    (struct fixture_item){.path = "fifo", .type = AE_IFIFO}, "FIFO");
}

static void
a_path_below_a_link_is_refused(void **state)
{
	const struct fixture_item items[] = {
	    {"a", AE_IFLNK, NULL, "/etc", 0, 0},
	    {"a/passwd", AE_IFREG, "x", NULL, 0, 0}, {.path = NULL}};

	(void)state;
	fixture_tar("bad.tar", items, false);
	assert_int_equal(fixture_capture("bad.tar", false), -1);
	assert_non_null(strstr(fixture.err.text, "symbolic link"));
}

static void
a_bomb_is_stopped_at_the_limit(void **state)
{
	char *zeros = xcalloc(1, (2 << 20) + 1);
	struct fixture_item items[] = {
	    {"zeros", AE_IFREG, zeros, NULL, 0, 0}, {.path = NULL}};

	(void)state;
	memset(zeros, '0', 2 << 20);
	fixture_tar("bomb.tgz", items, true);
	assert_int_equal(fixture_capture("bomb.tgz", false), -1);
	assert_int_equal(fixture.err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(fixture.err.text, "--max-bytes"));
	free(zeros);
}

static void
what_is_no_archive_or_is_cut_off_is_refused(void **state)
{
	char *path;

	(void)state;
	fixture_write("text", "no archive at all\n", 0644);
	assert_int_equal(fixture_capture("text", false), -1);
	assert_int_equal(fixture.err.code, ERROR_INVALID_ARGUMENT);
	assert_int_equal(fixture_capture("absent", false), -1);
	fixture_tar("good.tgz", good, true);
	path = fixture_path("good.tgz");
	assert_int_equal(truncate(path, 120), 0);
	assert_int_equal(fixture_capture("good.tgz", false), -1);
	free(path);
}

/* mtree files make libarchive read files of this machine: not supported. */
static void
formats_that_read_other_files_are_not_known(void **state)
{
	(void)state;
	fixture_write(
	    "evil", "#mtree\n./x type=file content=/etc/passwd\n", 0644);
	assert_int_equal(fixture_capture("evil", false), -1);
	fixture_absent("x");
}

static void
layers_lie_over_one_another(void **state)
{
	const struct fixture_item lower[] = {
	    {"usr/bin/a", AE_IFREG, "a", NULL, 0755, 0},
	    {"usr/bin/b", AE_IFREG, "b", NULL, 0755, 0},
	    {"bin", AE_IFLNK, NULL, "usr/bin", 0, 0},
	    {"d/x", AE_IFREG, "x", NULL, 0, 0},
	    {"d/y", AE_IFREG, "y", NULL, 0, 0},
	    {"gone/z", AE_IFREG, "z", NULL, 0, 0},
	    {"dev/null", AE_IFCHR, NULL, NULL, 0, 0}, {.path = NULL}};
	const struct fixture_item upper[] = {
	    {"bin/a", AE_IFREG, "new a", NULL, 0755, 0},
	    {"usr/bin/.wh.b", AE_IFREG, NULL, NULL, 0, 0},
	    {"d/v", AE_IFREG, "v", NULL, 0, 0},
	    {"d/e/u", AE_IFREG, "u", NULL, 0, 0},
	    {"d/.wh..wh..opq", AE_IFREG, NULL, NULL, 0, 0},
	    {"d/w", AE_IFREG, "w", NULL, 0, 0},
	    {".wh.gone", AE_IFREG, NULL, NULL, 0, 0}, {.path = NULL}};

	(void)state;
	fixture_tar("lower.tar", lower, false);
	fixture_tar("upper.tgz", upper, true);
	assert_int_equal(fixture_capture("lower.tar", true), 0);
	assert_int_equal(fixture_capture("upper.tgz", true), 0);
	content_is("usr/bin/a", "new a");
	assert_int_equal(fixture_entry("bin")->kind, CAPTURE_SYMLINK);
	fixture_absent("usr/bin/b");
	fixture_absent("usr/bin/.wh.b");
	fixture_absent("d/x");
	fixture_absent("d/y");
	content_is("d/w", "w");
	/* An opaque mark hides lower layers, wherever it stands. */
	content_is("d/v", "v");
	content_is("d/e/u", "u");
	fixture_absent("gone");
	fixture_absent("dev/null");
}

static void
a_link_out_of_a_layer_stays_inside(void **state)
{
	const struct fixture_item items[] = {
	    {"up", AE_IFLNK, NULL, "../../../etc", 0, 0},
	    {"up/passwd", AE_IFREG, "mine", NULL, 0, 0}, {.path = NULL}};

	(void)state;
	fixture_tar("layer.tar", items, false);
	assert_int_equal(fixture_capture("layer.tar", true), 0);
	content_is("etc/passwd", "mine");
}

int
main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(entries_links_and_hard_links_are_captured),
	    TEST(a_directory_and_its_archives_have_one_digest),
	    TEST(a_zip_is_read_too),
	    TEST(ways_out_are_refused_by_name),
	    TEST(devices_and_fifos_are_refused),
	    TEST(a_path_below_a_link_is_refused),
	    TEST(a_bomb_is_stopped_at_the_limit),
	    TEST(what_is_no_archive_or_is_cut_off_is_refused),
	    TEST(formats_that_read_other_files_are_not_known),
	    TEST(layers_lie_over_one_another),
	    TEST(a_link_out_of_a_layer_stays_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
