/* SPDX-License-Identifier: Apache-2.0 */
/* What is read from ELF files, and that damaged ones do no harm. */
#include "client/elf_needed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "tests/unit/client/elf_fixture.h"

static const struct elf_fixture program = {
    .interpreter = "/lib64/ld-linux-x86-64.so.2",
    .runpath = "$ORIGIN/../lib",
    .needed = {"libc.so.6", "libm.so.6"}};

static int
read_bytes(const void *bytes, size_t len, struct elf_needed *needed)
{
	struct error err;

	return elf_needed_read((struct str){bytes, len}, needed, &err);
}

static void
names_paths_and_loader_are_read(void **state)
{
	unsigned char bytes[ELF_FIXTURE_SIZE];
	struct elf_needed needed;

	(void)state;
	elf_fixture_make(&program, bytes);
	assert_int_equal(read_bytes(bytes, sizeof(bytes), &needed), 1);
	assert_int_equal(needed.count, 2);
	assert_true(str_equal(needed.names[0], STR("libc.so.6")));
	assert_true(str_equal(needed.names[1], STR("libm.so.6")));
	assert_true(str_equal(needed.runpath, STR("$ORIGIN/../lib")));
	assert_null(needed.rpath.data);
	assert_true(
	    str_equal(needed.interpreter, STR("/lib64/ld-linux-x86-64.so.2")));
	assert_int_equal(needed.machine, EM_X86_64);
}

static void
this_program_needs_what_it_is_linked_with(void **state)
{
	struct elf_needed needed;
	static char bytes[64 << 20];
	bool libc = false;
	FILE *self = fopen("/proc/self/exe", "rb");
	size_t len = fread(bytes, 1, sizeof(bytes), self);

	(void)state;
	(void)fclose(self);
	assert_int_equal(read_bytes(bytes, len, &needed), 1);
	for (size_t i = 0; i < needed.count; i++)
		libc = libc || str_equal(needed.names[i], STR("libc.so.6"));
	assert_true(libc);
}

static void
other_files_need_nothing(void **state)
{
	unsigned char bytes[ELF_FIXTURE_SIZE];
	struct elf_needed needed;

	(void)state;
	assert_int_equal(read_bytes("", 0, &needed), 0);
	assert_int_equal(read_bytes("#!/bin/sh\n", 10, &needed), 0);
	elf_fixture_make(&program, bytes);
	bytes[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(read_bytes(bytes, sizeof(bytes), &needed), 0);
	elf_fixture_make(&program, bytes);
	bytes[offsetof(Elf64_Ehdr, e_type)] = ET_REL;
	assert_int_equal(read_bytes(bytes, sizeof(bytes), &needed), 0);
}

/* Each length in memory of its own, so that a sanitizer sees an overrun. */
static void
files_cut_off_anywhere_do_no_harm(void **state)
{
	unsigned char bytes[ELF_FIXTURE_SIZE];
	struct elf_needed needed;

	(void)state;
	elf_fixture_make(&program, bytes);
	for (size_t len = 4; len < sizeof(bytes); len++) {
		unsigned char *cut = xmalloc(len);

		memcpy(cut, bytes, len);
		assert_in_range(read_bytes(cut, len, &needed) + 1, 0, 2);
		free(cut);
	}
}

static void
damaged_bytes_do_no_harm(void **state)
{
	static const unsigned char values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	unsigned char *bytes = xmalloc(ELF_FIXTURE_SIZE);
	struct elf_needed needed;

	(void)state;
	for (size_t at = 4; at < ELF_FIXTURE_SIZE; at++) {
		for (size_t i = 0; i < sizeof(values); i++) {
			elf_fixture_make(&program, bytes);
			bytes[at] = values[i];
			assert_in_range(
			    read_bytes(bytes, ELF_FIXTURE_SIZE, &needed) + 1, 0,
			    2);
		}
	}
	free(bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_paths_and_loader_are_read),
	    cmocka_unit_test(this_program_needs_what_it_is_linked_with),
	    cmocka_unit_test(other_files_need_nothing),
	    cmocka_unit_test(files_cut_off_anywhere_do_no_harm),
	    cmocka_unit_test(damaged_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
