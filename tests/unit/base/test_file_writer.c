/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are written from front to back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/file_writer.h"
#include "base/memory.h"

#define MIB ((size_t)1 << 20)

static int
make_file(void **state)
{
	char path[] = "/tmp/toolroot-file-XXXXXX";
	int *fd = xmalloc(sizeof(*fd));

	*fd = mkstemp(path);
	*state = fd;
	return *fd == -1 || unlink(path) == -1 ? -1 : 0;
}

static int
close_file(void **state)
{
	file_close(*state);
	free(*state);
	return 0;
}

/* len bytes in parts of a third of a MiB. */
static void
append(struct file_writer *writer, char *data, size_t len)
{
	struct iovec parts[4];
	size_t count = 0;
	struct error err;

	for (size_t at = 0; at < len; at += MIB / 3)
		parts[count++] = (struct iovec){
		    data + at, len - at < MIB / 3 ? len - at : MIB / 3};
	assert_int_equal(file_writer_append(writer, parts, count, &err), 0);
}

static char *
content(size_t len)
{
	char *data = xmalloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 2654435761u >> 24);
	return data;
}

static void
what_was_appended_is_the_file(void **state)
{
	const int fd = *(int *)*state;
	const size_t len = 9 * MIB + 5;
	char *data = content(len), *found = xmalloc(len);
	struct file_writer writer;
	struct error err;
	struct stat status;

	file_writer_init(&writer, fd, len);
	for (size_t at = 0; at < len; at += MIB)
		append(&writer, data + at, len - at < MIB ? len - at : MIB);
	assert_int_equal(file_writer_sync(&writer, &err), 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, len);
	assert_int_equal(file_pread(fd, found, len, 0, &err), 0);
	assert_memory_equal(found, data, len);
	free(found);
	free(data);
}

static void
more_than_was_expected_is_written_too(void **state)
{
	const int fd = *(int *)*state;
	char *data = content(MIB);
	struct file_writer writer;
	struct error err;
	struct stat status;

	file_writer_init(&writer, fd, 100);
	append(&writer, data, 60);
	append(&writer, data, MIB);
	assert_int_equal(file_writer_sync(&writer, &err), 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, MIB + 60);
	free(data);
}

static void
what_was_announced_and_did_not_come_takes_no_space(void **state)
{
	const int fd = *(int *)*state;
	char *data = content(MIB);
	struct file_writer writer;
	struct error err;
	struct stat status;

	file_writer_init(&writer, fd, (uint64_t)1 << 50);
	append(&writer, data, MIB);
	assert_int_equal(fstat(fd, &status), 0);
	assert_in_range(status.st_blocks, MIB / 512, 20 * MIB / 512);
	assert_int_equal(file_writer_sync(&writer, &err), 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, MIB);
	assert_in_range(status.st_blocks, MIB / 512, 2 * MIB / 512);
	free(data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		what_was_appended_is_the_file, make_file, close_file),
	    cmocka_unit_test_setup_teardown(
		more_than_was_expected_is_written_too, make_file, close_file),
	    cmocka_unit_test_setup_teardown(
		what_was_announced_and_did_not_come_takes_no_space, make_file,
		close_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
