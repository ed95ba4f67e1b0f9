/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of the cargo front: paths, arguments, configuration. */
#include "client/cargo_paths.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_arguments.h"
#include "client/cargo_config.h"
#include "client/cargo_crate.h"
#include "client/cargo_failure.h"
#include "client/cargo_probe.h"
#include "tests/unit/client/cargo_paths_fixture.h"

/* --- paths ---------------------------------------------------------------- */

static void
expect(const struct cargo_paths *paths, enum cargo_paths_direction direction,
    const char *text, const char *wanted)
{
	char *got = cargo_paths_map_text(paths, direction, text);

	assert_string_equal(got, wanted);
	free(got);
}

static void
the_longest_path_counts(void **state)
{
	expect(*state, CARGO_PATHS_TO_FIXED, "/home/u/ws/target/x", "/b/t/x");
	expect(*state, CARGO_PATHS_TO_FIXED, "dependency=/home/u/ws/target",
	    "dependency=/b/t");
	expect(*state, CARGO_PATHS_TO_FIXED, "/home/u/ws:/rust/lib",
	    "/b/w:/tc/lib");
}

static void
a_path_counts_only_where_it_stands_alone(void **state)
{
	expect(*state, CARGO_PATHS_TO_FIXED, "/home/u/ws2", "/home/u/ws2");
	expect(*state, CARGO_PATHS_TO_FIXED, "/home/u/ws-old/x",
	    "/home/u/ws-old/x");
	expect(*state, CARGO_PATHS_TO_FIXED, "/mnt/home/u/ws/x",
	    "/mnt/home/u/ws/x");
	expect(*state, CARGO_PATHS_TO_REAL, "/usr/b/t/x /b/tx",
	    "/usr/b/t/x /b/tx");
	expect(*state, CARGO_PATHS_TO_FIXED, "", "");
}

static void
a_path_may_follow_a_colour_or_an_escape(void **state)
{
	expect(*state, CARGO_PATHS_TO_REAL, "\\u001b[0m\\u001b[1;32m/b/w/a.rs",
	    "\\u001b[0m\\u001b[1;32m/home/u/ws/a.rs");
	expect(*state, CARGO_PATHS_TO_REAL, "\033[0m/b/w/a",
	    "\033[0m/home/u/ws/a");
	expect(*state, CARGO_PATHS_TO_REAL, "\"a\\n/b/w/a\"",
	    "\"a\\n/home/u/ws/a\"");
	expect(*state, CARGO_PATHS_TO_REAL, "m/b/w n/b/w [0m/b/w",
	    "m/b/w n/b/w [0m/b/w");
}

static void
a_plain_path_has_no_detours(void **state)
{
	static const char *const pairs[][2] = {{"/a/./b//c/", "/a/b/c"},
	    {"/a/src/../data/x", "/a/data/x"}, {"/../../a", "/a"}, {"/", "/"},
	    {"/a/..", "/"}};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char *plain = cargo_paths_plain(pairs[i][0]);

		assert_string_equal(plain, pairs[i][1]);
		free(plain);
	}
}

static void
mapping_there_and_back_is_the_text(void **state)
{
	const char *text = "/home/u/ws/target/d.d: src/../a "
			   "/home/u/ws/b\n# env-dep:X=/rust/y\n";
	char *there = cargo_paths_map_text(*state, CARGO_PATHS_TO_FIXED, text);

	expect(*state, CARGO_PATHS_TO_REAL, there, text);
	free(there);
}

static void
a_text_past_the_limit_is_refused(void **state)
{
	struct buffer out;

	buffer_init(&out, 4);
	assert_int_equal(
	    cargo_paths_map(*state, CARGO_PATHS_TO_REAL, STR("/b/w/x"), &out),
	    -1);
	assert_int_equal(out.len, 0);
	buffer_clear(&out);
}

/* --- arguments ------------------------------------------------------------ */

#define ARGV(...) ((char *const[]){__VA_ARGS__, NULL})
#define WORD(text) ((char *)(uintptr_t)(text))
#define USUAL \
	WORD("--crate-name"), WORD("a"), WORD("src/lib.rs"), \
	    WORD("--out-dir"), WORD("/t/deps"), WORD("-C"), \
	    WORD("extra-filename=-1f"), WORD("-Cmetadata=1f"), \
	    WORD("--emit=dep-info,metadata,link")

static void
a_usual_call_can_be_an_action(void **state)
{
	struct cargo_arguments arguments;

	(void)state;
	cargo_arguments_parse(&arguments,
	    ARGV(USUAL, WORD("--crate-type=proc-macro"), WORD("--extern"),
		WORD("b=/t/libb.rmeta"), WORD("--extern"), WORD("proc_macro"),
		WORD("-Cincremental=/i"), WORD("-L"), WORD("native=/n"),
		WORD("-Ldependency=/t/deps"), WORD("--test")));
	assert_int_equal(arguments.call, CARGO_CALL_COMPILE);
	assert_string_equal(arguments.crate_name, "a");
	assert_string_equal(arguments.crate_type, "proc-macro");
	assert_string_equal(arguments.extra_filename, "-1f");
	assert_string_equal(arguments.out_dir, "/t/deps");
	assert_string_equal(arguments.incremental, "/i");
	assert_int_equal(arguments.externs.count, 1);
	assert_string_equal(arguments.externs.items[0], "/t/libb.rmeta");
	assert_int_equal(arguments.native.count, 1);
	assert_string_equal(arguments.native.items[0], "/n");
	cargo_arguments_clear(&arguments);
}

static void
expect_local(char *const *argv)
{
	struct cargo_arguments arguments;

	cargo_arguments_parse(&arguments, argv);
	assert_int_equal(arguments.call, CARGO_CALL_LOCAL);
	assert_true(arguments.reason[0] != '\0');
	cargo_arguments_clear(&arguments);
}

static void
what_is_odd_stays_local(void **state)
{
	(void)state;
	expect_local(ARGV(WORD("-"), WORD("--print"), WORD("cfg")));
	expect_local(ARGV(USUAL, WORD("-Zunknown")));
	expect_local(ARGV(USUAL, WORD("@file")));
	expect_local(ARGV(USUAL, WORD("--sysroot"), WORD("/x")));
	expect_local(ARGV(USUAL, WORD("--target"), WORD("/x/spec.json")));
	expect_local(ARGV(USUAL, WORD("--target=wasm32-unknown-emscripten")));
	expect_local(ARGV(USUAL, WORD("-Csplit-debuginfo=packed")));
	expect_local(ARGV(USUAL, WORD("-Ctarget-cpu=native")));
	expect_local(ARGV(USUAL, WORD("--emit=dep-info,asm")));
	expect_local(
	    ARGV(WORD("--crate-name=a"), WORD("a.rs"), WORD("--out-dir=/o"),
		WORD("-Cmetadata=1"), WORD("--emit=metadata,link")));
	expect_local(ARGV(USUAL, WORD("second.rs")));
	expect_local(ARGV(USUAL, WORD("-C")));
}

static void
codegen_options_may_be_written_with_underscores(void **state)
{
	struct cargo_arguments arguments;

	(void)state;
	expect_local(ARGV(USUAL, WORD("-Cprofile_use=/p")));
	expect_local(ARGV(USUAL, WORD("-C"), WORD("split_debuginfo=packed")));
	expect_local(ARGV(USUAL, WORD("--codegen=target_cpu=native")));
	cargo_arguments_parse(
	    &arguments, ARGV(USUAL, WORD("-Cextra_filename=-a_b"),
			    WORD("-Ctarget-cpu=x86-64-v3")));
	assert_int_equal(arguments.call, CARGO_CALL_COMPILE);
	assert_string_equal(arguments.extra_filename, "-a_b");
	cargo_arguments_clear(&arguments);
}

static void
expect_missing(char *const *argv, const char *there, const char *wanted)
{
	struct cargo_strings names = {.count = 0};
	struct cargo_arguments arguments;
	char *copy = xstrdup(there), *position = NULL, *missing;

	for (char *name = strtok_r(copy, " ", &position); name != NULL;
	     name = strtok_r(NULL, " ", &position))
		cargo_strings_add(&names, name);
	cargo_arguments_parse(&arguments, argv);
	missing = cargo_arguments_missing(&arguments, &names);
	if (wanted == NULL)
		assert_null(missing);
	else
		assert_string_equal(missing, wanted);
	free(missing);
	free(copy);
	cargo_arguments_clear(&arguments);
	cargo_strings_clear(&names);
}

static void
what_a_result_must_have_is_known(void **state)
{
	char *const library[] = {USUAL, WORD("--crate-type=lib"), NULL};
	char *const both[] = {USUAL, WORD("--crate-type=rlib"),
	    WORD("--crate-type=cdylib"), WORD("--crate-type=staticlib"), NULL};
	char *const test[] = {
	    USUAL, WORD("--crate-type=lib"), WORD("--test"), NULL};

	(void)state;
	expect_missing(library, "a-1f.d liba-1f.rmeta liba-1f.rlib", NULL);
	expect_missing(library, "liba-1f.rmeta liba-1f.rlib", "a-1f.d");
	expect_missing(library, "a-1f.d liba-1f.rlib", "liba-1f.rmeta");
	expect_missing(library, "a-1f.d liba-1f.rmeta", "liba-1f.rlib");
	expect_missing(
	    both, "a-1f.d liba-1f.rmeta liba-1f.rlib liba-1f.a", "liba-1f.so");
	expect_missing(both,
	    "a-1f.d liba-1f.rmeta liba-1f.rlib liba-1f.a a-1f.wasm", NULL);
	expect_missing(
	    both, "a-1f.d liba-1f.rmeta liba-1f.rlib liba-1f.so", "liba-1f.a");
	expect_missing(test, "a-1f.d liba-1f.rmeta liba-1f.rlib", "a-1f");
	expect_missing(test, "a-1f.d liba-1f.rmeta a-1f", NULL);
	expect_missing(
	    ARGV(WORD("--crate-name=a"), WORD("a.rs"), WORD("--out-dir=/o"),
		WORD("-Cmetadata=1"), WORD("--emit=dep-info,metadata")),
	    "a.d liba.rmeta", NULL);
	expect_missing(
	    ARGV(WORD("--crate-name=a"), WORD("a.rs"), WORD("--out-dir=/o"),
		WORD("-Cmetadata=1"), WORD("--emit=dep-info,link")),
	    "a.d", "a");
}

static void
the_linker_is_known(void **state)
{
	struct cargo_arguments arguments;

	(void)state;
	cargo_arguments_parse(
	    &arguments, ARGV(USUAL, WORD("-C"), WORD("linker=/my/clang"),
			    WORD("-Clinker-flavor=gcc")));
	assert_int_equal(arguments.call, CARGO_CALL_COMPILE);
	assert_true(arguments.links);
	assert_string_equal(arguments.linker, "/my/clang");
	cargo_arguments_keep_local(&arguments, "one");
	cargo_arguments_keep_local(&arguments, "two");
	assert_int_equal(arguments.call, CARGO_CALL_LOCAL);
	assert_string_equal(arguments.reason, "one");
	cargo_arguments_clear(&arguments);
}

static void
a_library_does_not_care_for_the_linker(void **state)
{
	struct cargo_arguments arguments;

	(void)state;
	cargo_arguments_parse(&arguments,
	    ARGV(WORD("--crate-name"), WORD("a"), WORD("--crate-type=lib"),
		WORD("a.rs"), WORD("--out-dir=/o"), WORD("-Clinker=/my/ld"),
		WORD("--emit=dep-info,metadata,link"), WORD("-Cmetadata=1")));
	assert_int_equal(arguments.call, CARGO_CALL_COMPILE);
	assert_false(arguments.links);
	cargo_arguments_clear(&arguments);
}

static void
a_probe_of_a_build_script_is_not_cargos(void **state)
{
	struct cargo_arguments arguments;

	(void)state;
	cargo_arguments_parse(&arguments,
	    ARGV(WORD("--crate-name=probe"), WORD("--crate-type=lib"),
		WORD("--emit=dep-info,metadata"), WORD("--out-dir=/o"),
		WORD("probe.rs")));
	assert_false(arguments.of_cargo);
	assert_int_equal(arguments.call, CARGO_CALL_LOCAL);
	cargo_arguments_clear(&arguments);
}

static void
argument_files_are_read(void **state)
{
	char path[] = "/tmp/toolroot-arguments-XXXXXX";
	int fd = mkstemp(path);
	struct cargo_strings out = {.count = 0};
	char *word, *name;

	(void)state;
	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, "--cfg\na b\n", 10), 10);
	close(fd);
	word = xasprintf("@%s", path);
	name = xasprintf("@%s", path + 5);
	cargo_arguments_read(
	    ARGV(WORD("x"), word, WORD("@/not/there")), "/", &out);
	assert_int_equal(out.count, 4);
	assert_string_equal(out.items[1], "--cfg");
	assert_string_equal(out.items[2], "a b");
	assert_string_equal(out.items[3], "@/not/there");
	cargo_strings_clear(&out);
	cargo_arguments_read(ARGV(name), "/tmp", &out);
	assert_int_equal(out.count, 2);
	cargo_strings_clear(&out);
	cargo_arguments_read(ARGV(NULL), "/tmp", &out);
	assert_non_null(out.items);
	cargo_strings_clear(&out);
	unlink(path);
	free(word);
	free(name);
}

static void
the_version_is_asked_by_one_form_only(void **state)
{
	struct cargo_arguments arguments;

	(void)state;
	cargo_arguments_parse(&arguments, ARGV(WORD("-vV")));
	assert_int_equal(arguments.call, CARGO_CALL_VERSION);
	expect_local(ARGV(WORD("-vV"), WORD("--print=sysroot")));
}

static void
expect_call(char *const *argv, enum cargo_call call)
{
	struct cargo_arguments arguments;

	cargo_arguments_parse(&arguments, argv);
	assert_int_equal(arguments.call, call);
	cargo_arguments_clear(&arguments);
}

static void
libraries_for_optimization_at_link_time_are_usual(void **state)
{
#define WITH(option) \
	ARGV(WORD("--crate-name=a"), WORD("a.rs"), \
	    WORD("--emit=dep-info,link"), WORD("--out-dir=/o"), \
	    WORD("-Cmetadata=1"), WORD("-C"), WORD(option))
	(void)state;
	expect_call(WITH("linker-plugin-lto"), CARGO_CALL_COMPILE);
	expect_call(WITH("linker_plugin_lto=yes"), CARGO_CALL_COMPILE);
	expect_call(WITH("linker-plugin-lto=/x/gold.so"), CARGO_CALL_LOCAL);
}

/* expected: with spaces between them. */
static void
expect_linked(char *const *words, const char *expected)
{
	struct cargo_arguments arguments;
	struct buffer linked;

	buffer_init(&linked, 1000);
	cargo_arguments_parse(&arguments, words);
	for (size_t i = 0; i < arguments.linked.count; i++)
		assert_int_equal(
		    buffer_printf(&linked, "%s%s", i > 0 ? " " : "",
			arguments.linked.items[i]),
		    0);
	assert_string_equal(linked.data, expected);
	cargo_arguments_clear(&arguments);
	buffer_clear(&linked);
}

static void
directories_in_link_arguments_are_known(void **state)
{
	(void)state;
	expect_linked(WITH("link-args=-s -L/x -Lrelative"), "/x relative");
	expect_linked(WITH("link-arg=-B/y"), "/y");
	expect_linked(WITH("link-args=-L /x -B ./y z"), "/x ./y");
	expect_linked(WITH("link-arg=-Wl,-L,/x,-Bstatic,-L/y"), "/x /y");
	expect_linked(WITH("link-args=-Wl,-L -Wl,/x -Bdynamic"), "/x");
	expect_linked(
	    ARGV(WORD("--crate-name=a"), WORD("a.rs"), WORD("-Clink-arg=-L"),
		WORD("-C"), WORD("link-arg=/x"), WORD("-Clink-arg=/y")),
	    "/x");
#undef WITH
}

static void
the_systems_libraries_are_known_by_place(void **state)
{
	(void)state;
	assert_true(cargo_paths_is_system("/usr/lib"));
	assert_true(cargo_paths_is_system("/lib64/"));
	assert_true(cargo_paths_is_system("/usr/lib/gcc/../x86_64-linux-gnu"));
	assert_false(cargo_paths_is_system("/usr/lib/llvm-14"));
	assert_false(cargo_paths_is_system("/usr/lib/x86_64-linux-gnu/x"));
	assert_false(cargo_paths_is_system("/usr/libexec"));
	assert_false(cargo_paths_is_system("/usr/local/lib"));
}

static void
an_action_has_no_state_and_no_terminal(void **state)
{
	struct cargo_strings out = {.count = 0};

	cargo_arguments_map(
	    ARGV(WORD("-C"), WORD("incremental=/i"), WORD("-Cincremental=/i"),
		WORD("--diagnostic-width=80"), WORD("--diagnostic-width"),
		WORD("80"), WORD("-C"), WORD("opt-level=3"),
		WORD("x=/home/u/ws/target/y")),
	    *state, false, &out);
	assert_int_equal(out.count, 3);
	assert_string_equal(out.items[0], "-C");
	assert_string_equal(out.items[1], "opt-level=3");
	assert_string_equal(out.items[2], "x=/b/t/y");
	cargo_strings_clear(&out);
	cargo_arguments_map(
	    ARGV(WORD("-C"), WORD("incremental=/home/u/ws/target/i"),
		WORD("-L/home/u/ws/lib"),
		WORD("-Clink-args=-L/home/u/ws/a -B/home/u/ws/target/b "
		     "/home/u/ws/c.o -Wl,-L/home/u/ws/d,-L,/home/u/ws/e"),
		WORD("link-arg=-L/home/u/wsx"), WORD("x-L/home/u/ws")),
	    *state, true, &out);
	assert_int_equal(out.count, 6);
	assert_string_equal(out.items[3],
	    "-Clink-args=-L/b/w/a -B/b/t/b /b/w/c.o -Wl,-L/b/w/d,-L,/b/w/e");
	assert_string_equal(out.items[4], "link-arg=-L/home/u/wsx");
	assert_string_equal(out.items[5], "x-L/home/u/ws");
	assert_string_equal(out.items[1], "incremental=/b/t/i");
	assert_string_equal(out.items[2], "-L/b/w/lib");
	cargo_strings_clear(&out);
}

static void
what_it_reads_is_asked_without_making_anything(void **state)
{
	struct cargo_strings out = {.count = 0};

	(void)state;
	cargo_arguments_discover(
	    ARGV(WORD("a.rs"), WORD("--emit"), WORD("dep-info,link"),
		WORD("-C"), WORD("incremental=/i"), WORD("--emit=metadata"),
		WORD("-g")),
	    "/t/d", &out);
	assert_int_equal(out.count, 3);
	assert_string_equal(out.items[0], "a.rs");
	assert_string_equal(out.items[1], "-g");
	assert_string_equal(out.items[2], "--emit=dep-info=/t/d");
	cargo_strings_clear(&out);
}

/* --- configuration -------------------------------------------------------- */

static void
another_wrapper_is_found_in_configuration(void **state)
{
	static const char *const texts[][2] = {
	    {"[build]\nrustc-wrapper = \"sccache\"\n", "sccache"},
	    {"build.rustc-wrapper='/x y/z' # ours", "/x y/z"},
	    {"build = { jobs = 1, \"rustc-wrapper\" = \"a\" }", "a"},
	    {"# rustc-wrapper = \"a\"\n[build]\n", NULL},
	    {"rustc-wrapper = \"\"", NULL},
	    {"rustc-workspace-wrapper = \"a\"\nmy-rustc-wrapper = \"b\"", NULL},
	    {"", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *found = cargo_config_value(
		    CARGO_CONFIG_WRAPPER, str_from(texts[i][0]));

		if (texts[i][1] == NULL)
			assert_null(found);
		else
			assert_string_equal(found, texts[i][1]);
		free(found);
	}
}

static void
jobs_are_found_in_configuration(void **state)
{
	char *found = cargo_config_value(CARGO_CONFIG_JOBS,
	    STR("[build]\nrustc-wrapper = \"x\"\njobs = 3 # not 4\n"));

	(void)state;
	assert_string_equal(found, "3");
	free(found);
	assert_null(cargo_config_value(
	    CARGO_CONFIG_JOBS, STR("[build]\n# jobs = 3\nmy-jobs = 2\n")));
}

/* --- cargo's question before a build -------------------------------------- */

static bool
is_probe(const char *text)
{
	struct cargo_crate crate = {.driver = NULL};
	struct str rest = str_from(text);
	bool probe;

	while (rest.data != NULL) {
		struct str word = str_cut(&rest, ' ');

		cargo_strings_take(&crate.words, xstrndup(word.data, word.len));
	}
	probe = cargo_probe_is(&crate);
	cargo_strings_clear(&crate.words);
	return probe;
}

static void
only_cargos_own_question_is_remembered(void **state)
{
	(void)state;
	assert_true(is_probe("- --crate-name ___ --print=file-names "
			     "--crate-type bin --print=sysroot --print=cfg"));
	/* A build script's probe has a source on standard input. */
	assert_false(is_probe("- --crate-name probe0 --print=cfg"));
	assert_false(is_probe("- --crate-name ___ --emit=metadata"));
	assert_false(is_probe("--crate-name ___ --print=cfg src/lib.rs"));
	/* The file may change. */
	assert_false(
	    is_probe("- --crate-name ___ --print=cfg --target /x/own.json"));
	/* So may the machine. */
	assert_false(
	    is_probe("- --crate-name ___ --print=cfg -C target-cpu=native"));
	assert_false(is_probe("-"));
	assert_false(is_probe("- --crate-name"));
}

/* --- failures ------------------------------------------------------------- */

static void
expect_failure(const char *messages, const char *wanted)
{
	struct error err;

	assert_int_equal(cargo_failure_set(1, str_from(messages), &err), -1);
	assert_string_equal(err.text, wanted);
}

static void
libraries_that_the_linker_lacks_are_named(void **state)
{
	(void)state;
	expect_failure("{\"message\":\"\\\"-lm\\\"\"}",
	    "the compiler failed on the worker with status 1");
	expect_failure("rust-lld: error: unable to find library -lz\\ncollect2"
		       " rust-lld: error: unable to find library -lz\"",
	    "the linker lacks libraries on the worker; try --library z");
	expect_failure("ld: cannot find -lz: No such file or directory\n"
		       "ld: cannot find -lstdc++",
	    "the linker lacks libraries on the worker; try --library z "
	    "--library stdc++");
	expect_failure("mold: fatal: library not found: ssl",
	    "the linker lacks libraries on the worker; try --library ssl");
	expect_failure("cannot find -l",
	    "the compiler failed on the worker with status 1");
}

int
main(void)
{
#define WITH_PATHS(test) \
	cmocka_unit_test_setup_teardown(test, make_paths, drop_paths)
	const struct CMUnitTest tests[] = {
	    WITH_PATHS(the_longest_path_counts),
	    WITH_PATHS(a_path_counts_only_where_it_stands_alone),
	    WITH_PATHS(a_path_may_follow_a_colour_or_an_escape),
	    cmocka_unit_test(a_plain_path_has_no_detours),
	    WITH_PATHS(mapping_there_and_back_is_the_text),
	    WITH_PATHS(a_text_past_the_limit_is_refused),
	    cmocka_unit_test(a_usual_call_can_be_an_action),
	    cmocka_unit_test(what_is_odd_stays_local),
	    cmocka_unit_test(codegen_options_may_be_written_with_underscores),
	    cmocka_unit_test(what_a_result_must_have_is_known),
	    cmocka_unit_test(the_linker_is_known),
	    cmocka_unit_test(a_library_does_not_care_for_the_linker),
	    cmocka_unit_test(a_probe_of_a_build_script_is_not_cargos),
	    cmocka_unit_test(argument_files_are_read),
	    cmocka_unit_test(the_version_is_asked_by_one_form_only),
	    cmocka_unit_test(libraries_for_optimization_at_link_time_are_usual),
	    cmocka_unit_test(directories_in_link_arguments_are_known),
	    cmocka_unit_test(the_systems_libraries_are_known_by_place),
	    WITH_PATHS(an_action_has_no_state_and_no_terminal),
	    cmocka_unit_test(what_it_reads_is_asked_without_making_anything),
	    cmocka_unit_test(another_wrapper_is_found_in_configuration),
	    cmocka_unit_test(jobs_are_found_in_configuration),
	    cmocka_unit_test(libraries_that_the_linker_lacks_are_named),
	    cmocka_unit_test(only_cargos_own_question_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
