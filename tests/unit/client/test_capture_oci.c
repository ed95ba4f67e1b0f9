/* SPDX-License-Identifier: Apache-2.0 */
/* Images: layouts in directories and archives, docker save, bad ones. */
#include "client/capture_oci.h"

#include "tests/unit/client/capture_fixture.h"

#include <sys/utsname.h>

static const struct fixture_item lower[] = {
    {"bin/a", AE_IFREG, "a", NULL, 0755, 0},
    {"bin/b", AE_IFREG, "b", NULL, 0755, 0}, {.path = NULL}};
static const struct fixture_item upper[] = {
    {"bin/.wh.b", AE_IFREG, NULL, NULL, 0, 0},
    {"bin/c", AE_IFREG, "c", NULL, 0755, 0}, {.path = NULL}};

static int
capture(const char *name)
{
	char *path = fixture_path(name);
	const struct capture_oci_options options = {
	    path, fixture.tree, fixture.spool, &fixture.notes};
	int rc = capture_oci(&options, &fixture.err);

	free(path);
	return rc;
}

/* Moves a file of the fixture to blobs/sha256/ of the layout; hash gets its
 * name. */
static void
make_blob(const char *name, char hash[static DIGEST_TEXT_MAX])
{
	char *from = fixture_path(name), *to, *blob;
	struct digest digest;
	struct buffer content;

	buffer_init(&content, 1 << 20);
	assert_int_equal(file_read_all(from, &content, &fixture.err), 0);
	digest_compute(DIGEST_SHA256, content.data, content.len, &digest);
	digest_format_hash(&digest, hash);
	blob = xasprintf("image/blobs/sha256/%s", hash);
	to = fixture_path(blob);
	assert_int_equal(rename(from, to), 0);
	buffer_clear(&content);
	free(blob);
	free(from);
	free(to);
}

/* The text as a blob. */
static void
make_json(const char *text, char hash[static DIGEST_TEXT_MAX])
{
	fixture_write("json", text, 0644);
	make_blob("json", hash);
}

static const char *
architecture(void)
{
	static struct utsname name;

	assert_int_equal(uname(&name), 0);
	if (strcmp(name.machine, "x86_64") == 0)
		return "amd64";
	return strcmp(name.machine, "aarch64") == 0 ? "arm64" : name.machine;
}

/* An image with two layers in an index of two platforms; which of its layers
 * is named wrongly, or NULL. */
static void
make_layout(const char *wrong)
{
	char first[DIGEST_TEXT_MAX], second[DIGEST_TEXT_MAX];
	char manifest[DIGEST_TEXT_MAX];
	char *text;

	fixture_mkdir("image");
	fixture_mkdir("image/blobs");
	fixture_mkdir("image/blobs/sha256");
	fixture_tar("lower", lower, true);
	fixture_tar("upper", upper, false);
	make_blob("lower", first);
	make_blob("upper", second);
	text = xasprintf("{\"layers\": [{\"digest\": \"sha256:%s\"}, "
			 "{\"digest\": \"sha256:%s\"}]}",
	    wrong != NULL ? wrong : first, second);
	make_json(text, manifest);
	free(text);
	text = xasprintf(
	    "{\"manifests\": [{\"digest\": \"sha256:%s\", \"platform\": "
	    "{\"os\": \"linux\", \"architecture\": \"none\"}}, {\"digest\": "
	    "\"sha256:%s\", \"platform\": {\"os\": \"linux\", "
	    "\"architecture\": \"%s\"}}]}",
	    first, manifest, architecture());
	fixture_write("image/index.json", text, 0644);
	free(text);
}

static void
check_captured(void)
{
	fixture_entry("bin/a");
	fixture_absent("bin/b");
	fixture_entry("bin/c");
}

static void
a_layout_in_a_directory_is_captured(void **state)
{
	(void)state;
	make_layout(NULL);
	if (capture("image") < 0)
		fail_msg("%s", fixture.err.text);
	check_captured();
}

static void
a_layout_in_an_archive_is_captured(void **state)
{
	char *command;

	(void)state;
	make_layout(NULL);
	command = xasprintf("tar -C %s/image -cf %s/image.tar .",
	    fixture.directory, fixture.directory);
	assert_int_equal(system(command), 0);
	free(command);
	if (capture("image.tar") < 0)
		fail_msg("%s", fixture.err.text);
	check_captured();
}

static void
what_docker_saves_is_captured(void **state)
{
	char *command;

	(void)state;
	fixture_mkdir("image");
	fixture_mkdir("image/one");
	fixture_mkdir("image/two");
	fixture_tar("image/one/layer.tar", lower, false);
	fixture_tar("image/upper.tar", upper, false);
	/* Older versions link to the layer of another image. */
	fixture_link("../upper.tar", "image/two/layer.tar");
	fixture_write("image/manifest.json",
	    "[{\"Config\": \"c.json\", \"Layers\": [\"one/layer.tar\", "
	    "\"two/layer.tar\"]}]",
	    0644);
	command = xasprintf("tar -C %s/image -cf %s/image.tar .",
	    fixture.directory, fixture.directory);
	assert_int_equal(system(command), 0);
	free(command);
	if (capture("image.tar") < 0)
		fail_msg("%s", fixture.err.text);
	check_captured();
}

static void
refused(const char *text)
{
	assert_int_equal(capture("image"), -1);
	assert_int_equal(fixture.err.code, ERROR_INVALID_ARGUMENT);
	if (strstr(fixture.err.text, text) == NULL)
		fail_msg("no \"%s\" in: %s", text, fixture.err.text);
}

static void
a_layer_that_is_missing_is_named(void **state)
{
	static const char absent[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4"
				     "649b934ca495991b7852b855";

	(void)state;
	make_layout(absent);
	refused(absent);
}

static void
a_blob_that_is_not_its_digest_is_refused(void **state)
{
	char hash[DIGEST_TEXT_MAX];
	char *path;

	(void)state;
	make_layout(NULL);
	fixture_tar("lower", lower, true);
	make_blob("lower", hash);
	path = xasprintf("image/blobs/sha256/%s", hash);
	fixture_write(path, "something else", 0644);
	free(path);
	refused("damaged");
}

static void
what_is_no_image_is_refused(void **state)
{
	(void)state;
	fixture_mkdir("image");
	refused("neither index.json");
	fixture_write("image/index.json", "{\"manifests\": [", 0644);
	refused("index.json: line 1");
	fixture_write("image/index.json", "{\"manifests\": []}", 0644);
	refused("0 manifests");
	fixture_write("image/index.json", "{\"layers\": []}", 0644);
	refused("no layers");
}

int
main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_layout_in_a_directory_is_captured),
	    TEST(a_layout_in_an_archive_is_captured),
	    TEST(what_docker_saves_is_captured),
	    TEST(a_layer_that_is_missing_is_named),
	    TEST(a_blob_that_is_not_its_digest_is_refused),
	    TEST(what_is_no_image_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
