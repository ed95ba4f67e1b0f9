/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata that is taken out of a library. */
#include "client/cargo_rlib.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest.h"

#define LIBRARY_MAX (4u << 20)
#define WRAPPING 96

/* More than one piece, and no even number of bytes. */
static char metadata[600001];

struct library {
	struct buffer bytes;
	struct digest digest;
};

static void
add_member(struct library *library, const char *name, struct str content)
{
	char header[61];

	(void)snprintf(header, sizeof(header),
	    "%-16s%-12d%-6d%-6d%-8o%-10zu`\n", name, 0, 0, 0, 0644,
	    content.len);
	assert_int_equal(buffer_append(&library->bytes, header, 60), 0);
	assert_int_equal(
	    buffer_append(&library->bytes, content.data, content.len), 0);
	if (content.len % 2 == 1)
		assert_int_equal(buffer_append(&library->bytes, "\n", 1), 0);
}

/* Names, then metadata as an object file, then code. */
static void
make_library(struct library *library, const char *member)
{
	char *object = xcalloc(1, WRAPPING + sizeof(metadata) + 500);

	for (size_t i = 0; i < sizeof(metadata); i++)
		metadata[i] = (char)(i * 31 % 251);
	memcpy(metadata, "rust\0\0\0\n", 8);
	memcpy(object + WRAPPING, metadata, sizeof(metadata));
	digest_compute(
	    DIGEST_SHA256, metadata, sizeof(metadata), &library->digest);
	buffer_init(&library->bytes, LIBRARY_MAX);
	assert_int_equal(buffer_append(&library->bytes, "!<arch>\n", 8), 0);
	add_member(library, "/", STR("an odd number of symbols!"));
	add_member(library, "//", STR("names"));
	add_member(library, member,
	    (struct str){object, WRAPPING + sizeof(metadata) + 500});
	add_member(library, "code.o/", STR("code"));
	free(object);
}

/* What cargo_rlib_extract says of the first bytes of it; got has what it wrote.
 */
static int
extract(const struct library *library, size_t length, struct buffer *got)
{
	int from = memfd_create("library", MFD_CLOEXEC);
	int to = memfd_create("metadata", MFD_CLOEXEC);
	struct error err;
	int rc;
	off_t size;

	assert_int_equal(
	    file_write(from, library->bytes.data, length, &err), 0);
	rc = cargo_rlib_extract(from, &library->digest, to, &err);
	size = lseek(to, 0, SEEK_END);
	buffer_init(got, LIBRARY_MAX);
	if (size > 0) {
		assert_non_null(buffer_reserve(got, (size_t)size));
		assert_int_equal(
		    file_pread(to, got->data, (size_t)size, 0, &err), 0);
		got->len = (size_t)size;
	}
	close(from);
	close(to);
	return rc;
}

static void
metadata_comes_out_as_it_went_in(void **state)
{
	struct library library;
	struct buffer got;

	(void)state;
	make_library(&library, "lib.rmeta/");
	assert_int_equal(extract(&library, library.bytes.len, &got), 1);
	assert_int_equal(got.len, sizeof(metadata));
	assert_memory_equal(got.data, metadata, sizeof(metadata));
	buffer_clear(&got);
	buffer_clear(&library.bytes);
}

static void
other_metadata_is_not_believed(void **state)
{
	struct library library;
	struct buffer got;

	(void)state;
	make_library(&library, "lib.rmeta/");
	library.bytes.data[library.bytes.len / 2] ^= 1;
	assert_int_equal(extract(&library, library.bytes.len, &got), 0);
	buffer_clear(&got);
	buffer_clear(&library.bytes);
}

static void
a_library_without_it_is_none(void **state)
{
	struct library library;
	struct buffer got;

	(void)state;
	make_library(&library, "other.o/");
	assert_int_equal(extract(&library, library.bytes.len, &got), 0);
	assert_int_equal(got.len, 0);
	buffer_clear(&library.bytes);
	make_library(&library, "lib.rmeta/");
	library.digest.size = library.bytes.len + 1;
	assert_int_equal(extract(&library, library.bytes.len, &got), 0);
	library.digest.size = UINT64_MAX;
	assert_int_equal(extract(&library, library.bytes.len, &got), 0);
	library.bytes.data[0] = 'x';
	library.digest.size = sizeof(metadata);
	assert_int_equal(extract(&library, library.bytes.len, &got), 0);
	assert_int_equal(got.len, 0);
	buffer_clear(&library.bytes);
}

/* Wherever it ends, nothing but its own bytes are read. */
static void
a_library_that_is_cut_is_none(void **state)
{
	struct library library;
	struct error err;
	int to;

	(void)state;
	make_library(&library, "lib.rmeta/");
	to = memfd_create("metadata", MFD_CLOEXEC);
	for (size_t length = 0; length < 400; length++) {
		int from = memfd_create("library", MFD_CLOEXEC);

		assert_int_equal(
		    file_write(from, library.bytes.data, length, &err), 0);
		assert_int_equal(
		    cargo_rlib_extract(from, &library.digest, to, &err) > 0, 0);
		close(from);
	}
	close(to);
	buffer_clear(&library.bytes);
}

static void
a_header_has_a_name_and_a_size(void **state)
{
	char header[61];
	struct str name;
	uint64_t size;

	(void)state;
	(void)snprintf(header, sizeof(header), "%-16s%-32s%-10s`\n",
	    "lib.rmeta/", "", "123");
	assert_int_equal(cargo_rlib_member(header, &name, &size), 1);
	assert_true(str_equal(name, STR("lib.rmeta")));
	assert_int_equal(size, 123);
	header[48] = '-';
	assert_int_equal(cargo_rlib_member(header, &name, &size), 0);
	memcpy(header + 48, "          ", 10);
	assert_int_equal(cargo_rlib_member(header, &name, &size), 0);
	memcpy(header + 48, "7777777777", 10);
	assert_int_equal(cargo_rlib_member(header, &name, &size), 1);
	assert_true(size == 7777777777);
	header[59] = ' ';
	assert_int_equal(cargo_rlib_member(header, &name, &size), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(metadata_comes_out_as_it_went_in),
	    cmocka_unit_test(other_metadata_is_not_believed),
	    cmocka_unit_test(a_library_without_it_is_none),
	    cmocka_unit_test(a_library_that_is_cut_is_none),
	    cmocka_unit_test(a_header_has_a_name_and_a_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
