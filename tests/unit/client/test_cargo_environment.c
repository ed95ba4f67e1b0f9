/* SPDX-License-Identifier: Apache-2.0 */
/* What a call reads beside its sources: dep-info, variables, places. */
#include "client/cargo_environment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "client/cargo_dep_info.h"
#include "tests/unit/client/cargo_paths_fixture.h"

#define ARGV(...) ((char *const[]){__VA_ARGS__, NULL})
#define WORD(text) ((char *)(uintptr_t)(text))

/* --- dep-info ------------------------------------------------------------- */

static void
dep_info_tells_sources_and_variables(void **state)
{
	struct cargo_dep_info info;

	(void)state;
	cargo_dep_info_parse(&info,
	    STR("/t/a.d: src/a\\ b.rs src/c.rs\n\nsrc/a\\ b.rs:\nsrc/c.rs:\n\n"
		"# env-dep:UNSET\n# env-dep:SET=1\\n2\\\\\n# env-dep:EMPTY=\n"
		"# checksum:x\n"));
	assert_int_equal(info.sources.count, 2);
	assert_string_equal(info.sources.items[0], "src/a b.rs");
	assert_int_equal(info.variables.count, 3);
	assert_string_equal(info.variables.items[0], "UNSET");
	assert_string_equal(info.variables.items[1], "SET=1\n2\\");
	assert_string_equal(info.variables.items[2], "EMPTY=");
	cargo_dep_info_clear(&info);
}

static void
blanks_are_escaped_in_sources_alone(void **state)
{
	struct cargo_paths paths = {.count = 0};
	struct buffer out;

	(void)state;
	cargo_paths_add(&paths, "/my ws", "/b/w");
	buffer_init(&out, 1000);
	assert_int_equal(cargo_dep_info_map(&paths,
			     STR("/b/w/t/a.d: src/a.rs "
				 "/b/w/b.rs\n/b/w/b.rs:\n# env-dep:D=/b/w/o\n"),
			     &out),
	    0);
	assert_string_equal(out.data,
	    "/my ws/t/a.d: src/a.rs /my\\ ws/b.rs\n/my\\ ws/b.rs:\n# "
	    "env-dep:D=/my ws/o\n");
	buffer_clear(&out);
	buffer_init(&out, 10);
	assert_int_equal(
	    cargo_dep_info_map(&paths, STR("/b/w/a/longer/path"), &out), -1);
	buffer_clear(&out);
	cargo_paths_clear(&paths);
}

static void
variables_of_cargo_belong_to_the_action(void **state)
{
	struct cargo_strings learned = {.count = 0}, out = {.count = 0};
	const struct cargo_environment environment = {
	    .call =
		ARGV(WORD("HOME=/root"), WORD("OUT_DIR=/home/u/ws/target/o"),
		    WORD("CARGO_PKG_NAME=a"), WORD("MADE=by script"),
		    WORD("CARGO_MAKEFLAGS=-j"), WORD("AMBIENT=1"), WORD("B=2"),
		    WORD("CARGO_TERM_PROGRESS_WIDTH=80")),
	    .build = ARGV(WORD("HOME=/root"), WORD("CARGO_PKG_NAME=a"),
		WORD("AMBIENT=1"), WORD("B=2")),
	    .learned = &learned,
	    .paths = *state,
	};

	cargo_strings_add(&learned, "AMBIENT");
	cargo_environment_choose(&environment, &out);
	assert_int_equal(out.count, 5);
	assert_string_equal(out.items[0], "AMBIENT=1");
	assert_string_equal(out.items[1], "CARGO_PKG_NAME=a");
	assert_string_equal(out.items[2], "MADE=by script");
	assert_string_equal(out.items[3], "OUT_DIR=/b/t/o");
	assert_string_equal(out.items[4], "PATH=/usr/bin:/bin");
	cargo_strings_clear(&learned);
	cargo_strings_clear(&out);
}

/* PATH is always one of them. */
static void
expect_count(const struct cargo_environment *environment, size_t count)
{
	struct cargo_strings out = {.count = 0};

	cargo_environment_choose(environment, &out);
	assert_int_equal(out.count, count);
	cargo_strings_clear(&out);
}

static void
what_cargo_was_asked_for_counts_for_macros_alone(void **state)
{
	struct cargo_strings learned = {.count = 0};
	struct cargo_environment environment = {
	    .call = ARGV(WORD("CARGO_PRIMARY_PACKAGE=1")),
	    .build = ARGV(NULL),
	    .learned = &learned,
	    .paths = *state,
	};

	expect_count(&environment, 1);
	environment.macro = true;
	expect_count(&environment, 2);
	environment.macro = false;
	cargo_strings_add(&learned, "CARGO_PRIMARY_PACKAGE");
	expect_count(&environment, 2);
	cargo_strings_clear(&learned);
}

/* Cargo's, or rustup's; where certificates are differs between machines. */
static void
places_of_certificates_count_for_who_reads_them(void **state)
{
	struct cargo_strings learned = {.count = 0}, out = {.count = 0};
	const struct cargo_environment environment = {
	    .call = ARGV(WORD("SSL_CERT_DIR=/etc/ssl"),
		WORD("SSL_CERT_FILE=/etc/ssl/x")),
	    .build = ARGV(NULL),
	    .learned = &learned,
	    .paths = *state,
	    .macro = true,
	};

	expect_count(&environment, 1);
	cargo_strings_add(&learned, "SSL_CERT_FILE");
	cargo_environment_choose(&environment, &out);
	assert_int_equal(out.count, 2);
	assert_string_equal(out.items[1], "SSL_CERT_FILE=/etc/ssl/x");
	cargo_strings_clear(&out);
	cargo_strings_clear(&learned);
}

/* Else no crate would be shared by `cargo check`, `cargo clippy` and `cargo
 * clippy -- -D warnings`, nor by terminals of several widths. */
static void
what_clippy_is_told_counts_for_its_driver_alone(void **state)
{
	const struct cargo_strings learned = {.count = 0};
	struct cargo_strings out = {.count = 0};
	struct cargo_environment environment = {
	    .call = ARGV(WORD("CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings"),
		WORD("CLIPPY_TERMINAL_WIDTH=80")),
	    .build = ARGV(NULL),
	    .learned = &learned,
	    .paths = *state,
	    .macro = true,
	};

	expect_count(&environment, 1);
	environment.clippy = true;
	cargo_environment_choose(&environment, &out);
	assert_int_equal(out.count, 2);
	assert_string_equal(
	    out.items[0], "CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings");
	cargo_strings_clear(&out);
}

static void
expect_mismatches(void **state, struct str text, const char *const *wanted)
{
	const struct cargo_strings learned = {.count = 0};
	const struct cargo_environment environment = {
	    .call = ARGV(WORD("A=/home/u/ws/x"), WORD("B=")),
	    .build = ARGV(WORD("B=")),
	    .learned = &learned,
	    .paths = *state,
	};
	struct cargo_strings names = {.count = 0};
	struct cargo_dep_info info;
	size_t count = 0;

	cargo_dep_info_parse(&info, text);
	cargo_environment_mismatches(&environment, &info, &names);
	for (; wanted[count] != NULL; count++) {
		assert_true(count < names.count);
		assert_string_equal(names.items[count], wanted[count]);
	}
	assert_int_equal(names.count, count);
	cargo_strings_clear(&names);
	cargo_dep_info_clear(&info);
}

static void
all_variables_that_differ_are_found(void **state)
{
	expect_mismatches(state,
	    STR("# env-dep:A=/b/w/x\n# env-dep:B=\n# env-dep:C\n"),
	    (const char *const[]){NULL});
	expect_mismatches(state, STR("# env-dep:A=/b/w/y\n# env-dep:B=\n"),
	    (const char *const[]){"A", NULL});
	expect_mismatches(state, STR("# env-dep:B\n# env-dep:C=1\n"),
	    (const char *const[]){"B", "C", NULL});
}

/* What the linker writes by these, for instance, whoever set them. */
static void
what_tells_tools_what_to_write_belongs_to_the_action(void **state)
{
	const struct cargo_strings learned = {.count = 0};
	char *const same[] = {
	    (char[]){"LD_RUN_PATH=/opt/lib"}, (char[]){"LANG=C"}, NULL};
	const struct cargo_environment environment = {
	    .call = same, .build = same, .learned = &learned, .paths = *state};
	struct cargo_strings out = {.count = 0};

	cargo_environment_choose(&environment, &out);
	assert_int_equal(out.count, 2); /* and PATH */
	assert_string_equal(out.items[0], "LD_RUN_PATH=/opt/lib");
	cargo_strings_clear(&out);
}

static bool
is_place(void **state, struct str text)
{
	struct cargo_dep_info info;
	bool place;

	cargo_dep_info_parse(&info, text);
	place =
	    cargo_environment_place(&info, *state, CARGO_PATHS_TO_REAL) != NULL;
	cargo_dep_info_clear(&info);
	return place;
}

static void
places_are_told_from_generated_code(void **state)
{
	assert_true(is_place(state, STR("# env-dep:CARGO_MANIFEST_DIR=/x\n")));
	assert_true(is_place(state, STR("# env-dep:CARGO_BIN_EXE_a=/x\n")));
	assert_true(is_place(state, STR("# env-dep:OUT_DIR=/b/t/o\n")));
	assert_false(is_place(
	    state, STR("# env-dep:OUT_DIR=/b/t/o\n/b/t/o/made.rs:\n")));
	assert_false(is_place(
	    state, STR("# env-dep:OUT_DIR=/b/t/o/\n/b/t/o/made.rs:\n")));
	assert_true(is_place(
	    state, STR("# env-dep:OUT_DIR=/b/t/o\n/b/t/other/made.rs:\n")));
	assert_false(is_place(
	    state, STR("# env-dep:MADE=/b/t/o/made.rs\n/b/t/o/made.rs:\n")));
	assert_true(is_place(state, STR("# env-dep:DATA=/b/w/data.txt\n")));
	assert_true(is_place(state, STR("# env-dep:BOTH=/usr:/b/w/data\n")));
	assert_false(is_place(state, STR("# env-dep:A=/usr\n# env-dep:B\n")));
}

int
main(void)
{
#define WITH_PATHS(test) \
	cmocka_unit_test_setup_teardown(test, make_paths, drop_paths)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dep_info_tells_sources_and_variables),
	    cmocka_unit_test(blanks_are_escaped_in_sources_alone),
	    WITH_PATHS(variables_of_cargo_belong_to_the_action),
	    WITH_PATHS(what_cargo_was_asked_for_counts_for_macros_alone),
	    WITH_PATHS(places_of_certificates_count_for_who_reads_them),
	    WITH_PATHS(what_clippy_is_told_counts_for_its_driver_alone),
	    WITH_PATHS(all_variables_that_differ_are_found),
	    WITH_PATHS(what_tells_tools_what_to_write_belongs_to_the_action),
	    WITH_PATHS(places_are_told_from_generated_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
