/* SPDX-License-Identifier: Apache-2.0 */
/* Resource names of ByteStream: what is understood and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "frontend/resource_name.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
assert_str(struct str actual, const char *expected)
{
	assert_int_equal(actual.len, strlen(expected));
	assert_memory_equal(actual.data, expected, actual.len);
}

static void
reads_without_instance(void **state)
{
	struct resource_name name;
	struct error err;

	(void)state;
	assert_int_equal(
	    resource_name_parse_read(STR("blobs/" HASH "/42"), &name, &err), 0);
	assert_int_equal(name.instance.len, 0);
	assert_int_equal(name.encoding, ENCODING_IDENTITY);
	assert_int_equal(name.digest.function, DIGEST_SHA256);
	assert_int_equal(name.digest.size, 42);
}

static void
reads_with_instance_of_segments(void **state)
{
	struct resource_name name;
	struct error err;

	(void)state;
	assert_int_equal(
	    resource_name_parse_read(
		STR("a/b c/compressed-blobs/zstd/" HASH "/7"), &name, &err),
	    0);
	assert_str(name.instance, "a/b c");
	assert_int_equal(name.encoding, ENCODING_ZSTD);
}

static void
reads_a_function_that_is_written_out(void **state)
{
	struct resource_name name;
	struct error err;

	(void)state;
	assert_int_equal(resource_name_parse_read(
			     STR("blobs/sha256/" HASH "/1"), &name, &err),
	    0);
	assert_int_equal(name.digest.function, DIGEST_SHA256);
}

static void
uploads_with_metadata_behind(void **state)
{
	struct resource_name name;
	struct error err;

	(void)state;
	assert_int_equal(
	    resource_name_parse_upload(
		STR("x/uploads/u-1/blobs/" HASH "/9/dir/file.o"), &name, &err),
	    0);
	assert_str(name.instance, "x");
	assert_str(name.uuid, "u-1");
	assert_int_equal(name.digest.size, 9);
}

static void
refuses_what_is_malformed(void **state)
{
	static const char *const bad[] = {
	    "",
	    "blobs",
	    "blobs/" HASH,
	    "blobs/" HASH "/",
	    "blobs/" HASH "/-1",
	    "blobs/" HASH "/1x",
	    "blobs/" HASH "/99999999999999999999",
	    "blobs/" HASH "/1/behind",
	    "blobs/0123/1",
	    "blobs/"
	    "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
	    "/1",
	    "/blobs/" HASH "/1",
	    "a//blobs/" HASH "/1",
	    "operations/blobs/" HASH "/1",
	    "compressed-blobs/deflate/" HASH "/1",
	    "compressed-blobs/" HASH "/1",
	    "actions/" HASH "/1",
	    "\xff/blobs/" HASH "/1",
	};
	struct resource_name name;
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.code = ERROR_OK;
		if (resource_name_parse_read(str_from(bad[i]), &name, &err) ==
		    0)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
}

static void
refuses_uploads_that_are_malformed(void **state)
{
	static const char *const bad[] = {
	    "blobs/" HASH "/1",
	    "uploads/blobs/" HASH "/1",
	    "uploads//blobs/" HASH "/1",
	    "uploads/u/" HASH "/1",
	    ("uploads/u/blobs/" HASH),
	};
	struct resource_name name;
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.code = ERROR_OK;
		if (resource_name_parse_upload(str_from(bad[i]), &name, &err) ==
		    0)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
}

static void
refuses_a_nul_and_great_length(void **state)
{
	static char large[RESOURCE_NAME_MAX + 10];
	struct resource_name name;
	struct error err;

	(void)state;
	memset(large, 'a', sizeof(large));
	assert_int_equal(resource_name_parse_read(
			     (struct str){large, sizeof(large)}, &name, &err),
	    -1);
	assert_int_equal(
	    resource_name_parse_read((struct str){"a\0/blobs/" HASH "/1",
					 sizeof("a\0/blobs/" HASH "/1") - 1},
		&name, &err),
	    -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_without_instance),
	    cmocka_unit_test(reads_with_instance_of_segments),
	    cmocka_unit_test(reads_a_function_that_is_written_out),
	    cmocka_unit_test(uploads_with_metadata_behind),
	    cmocka_unit_test(refuses_what_is_malformed),
	    cmocka_unit_test(refuses_uploads_that_are_malformed),
	    cmocka_unit_test(refuses_a_nul_and_great_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
