/* SPDX-License-Identifier: Apache-2.0 */
/* What cargo is told, and when it is told nothing. */
#include "client/cargo_tuning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/processors.h"
#include "client/cargo_command_line.h"
#include "client/cargo_strings.h"

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})
#define WORD(text) ((char[]){text})

/* Whether cargo is told of more jobs, and whether of its heap. */
static void
expect(char *const *words, char *const *environment, bool jobs, bool heap)
{
	struct cargo_strings added = {.count = 0};
	unsigned limit = cargo_tuning_add(words, environment, &added);

	cargo_strings_end(&added);
	assert_int_equal(limit, jobs ? processors_available() : 0);
	assert_int_equal(
	    cargo_strings_value(added.items, "CARGO_BUILD_JOBS") != NULL, jobs);
	assert_int_equal(
	    cargo_strings_value(added.items, "GLIBC_TUNABLES") != NULL, heap);
	cargo_strings_clear(&added);
}

static void
cargo_starts_more_than_there_are_processors(void **state)
{
	char *const none[] = {NULL};

	(void)state;
	expect(WORDS(WORD("build")), none, true, true);
	/* Programs of the user's would have it, too. */
	expect(WORDS(WORD("test")), none, true, false);
	expect(WORDS(WORD("run"), WORD("--"), WORD("-j2")), none, true, false);
}

/* It runs on this machine, whoever compiles. */
static void
rustdoc_runs_as_often_as_there_are_processors(void **state)
{
	char *const none[] = {NULL};

	(void)state;
	expect(WORDS(WORD("doc"), WORD("--no-deps")), none, false, true);
	expect(WORDS(WORD("+nightly"), WORD("d")), none, false, true);
	expect(WORDS(WORD("rustdoc")), none, false, true);
	expect(WORDS(WORD("build"), WORD("doc")), none, true, true);
}

static void
who_says_how_many_has_so_many(void **state)
{
	char *const none[] = {NULL};
	char *const words[][4] = {
	    {WORD("build"), WORD("-j"), WORD("3")},
	    {WORD("build"), WORD("-j3")},
	    {WORD("build"), WORD("-vj3")},
	    {WORD("build"), WORD("--jobs"), WORD("3")},
	    {WORD("build"), WORD("--jobs=3")},
	    {WORD("--config"), WORD("build.jobs=3"), WORD("build")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_true(cargo_command_line_has_jobs(words[i]));
	expect(words[0], none, false, true);
	expect(WORDS(WORD("check")), WORDS(WORD("CARGO_BUILD_JOBS=1")), false,
	    true);
	/* Another build's, which we are a part of. */
	expect(WORDS(WORD("check")), WORDS(WORD("MAKEFLAGS=-j")), false, true);
	expect(WORDS(WORD("check")), WORDS(WORD("CARGO_MAKEFLAGS=-j")), false,
	    true);
}

static void
a_setting_of_the_allocator_stays(void **state)
{
	(void)state;
	expect(WORDS(WORD("build")),
	    WORDS(WORD("GLIBC_TUNABLES=glibc.malloc.check=3")), true, false);
}

static void
a_quiet_command_is_known(void **state)
{
	(void)state;
	assert_true(
	    cargo_command_line_is_quiet(WORDS(WORD("build"), WORD("-q"))));
	assert_true(
	    cargo_command_line_is_quiet(WORDS(WORD("--quiet"), WORD("b"))));
	assert_false(cargo_command_line_is_quiet(
	    WORDS(WORD("rustc"), WORD("--"), WORD("-q"))));
}

static void
a_command_stands_behind_a_toolchain(void **state)
{
	(void)state;
	assert_true(cargo_command_line_compiles(
	    WORDS(WORD("+nightly"), WORD("-v"), WORD("clippy"))));
	assert_false(cargo_command_line_compiles(WORDS(WORD("bench"))));
	assert_false(cargo_command_line_compiles(WORDS(WORD("--"))));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cargo_starts_more_than_there_are_processors),
	    cmocka_unit_test(rustdoc_runs_as_often_as_there_are_processors),
	    cmocka_unit_test(who_says_how_many_has_so_many),
	    cmocka_unit_test(a_setting_of_the_allocator_stays),
	    cmocka_unit_test(a_quiet_command_is_known),
	    cmocka_unit_test(a_command_stands_behind_a_toolchain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
