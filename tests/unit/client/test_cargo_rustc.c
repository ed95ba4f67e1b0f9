/* SPDX-License-Identifier: Apache-2.0 */
/* Which compiler a cargo calls, how it asks it, and what stands in for it. */
#include "client/cargo_rustc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_command_line.h"
#include "client/cargo_config.h"
#include "client/cargo_stand_in.h"
#include "client/cargo_strings.h"
#include "client/cargo_version.h"

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})
#define WORD(text) ((char *)(uintptr_t)(text))

static char *const none[] = {NULL};

/* --- versions ------------------------------------------------------------- */

static void
an_old_cargo_is_told_by_its_version(void **state)
{
	(void)state;
	assert_true(cargo_version_is_old(STR("cargo 1.65.0\n")));
	assert_true(cargo_version_is_old(STR("cargo 0.66.0")));
	assert_true(cargo_version_is_old(
	    STR("cargo 1.78.1-nightly (54d8815d0 2024-03-26)\n")));
	assert_false(cargo_version_is_old(STR("cargo 1.79.0")));
	assert_false(
	    cargo_version_is_old(STR("cargo 1.95.0 (f2d3ce0bd 2026-03-21)\n")));
	assert_false(cargo_version_is_old(STR("cargo 2.0.0")));
	assert_false(cargo_version_is_old(STR("")));
	assert_false(cargo_version_is_old(STR("another 1.65.0")));
	assert_false(cargo_version_is_old(STR("cargo one.two.three")));
}

static bool
asked(const char *cache, const char *program, const char *toolchain)
{
	return cargo_version_end(cargo_version_ask(
	    cache, program, toolchain, WORDS(WORD("PATH=/usr/bin:/bin"))));
}

static void
it_is_asked(void **state)
{
	char *path = xasprintf("%s/cargo", (const char *)*state);
	const char script[] = "#!/bin/sh\n"
			      "[ \"$*\" != '+old -V' ] || echo cargo 1.65.0\n"
			      "[ \"$*\" != -V ] || echo cargo 1.95.0\n";
	const char other[] = "#!/bin/sh\necho cargo 1.65.0\n";
	struct error err;

	assert_int_equal(
	    file_replace(path, script, sizeof(script) - 1, &err), 0);
	assert_int_equal(chmod(path, 0755), 0);
	assert_true(asked(*state, path, "+old"));
	assert_false(asked(*state, path, NULL));
	assert_false(asked(*state, "/nonexistent/cargo", NULL));
	assert_false(cargo_version_end(NULL));
	assert_int_equal(file_replace(path, other, sizeof(other) - 1, &err), 0);
	assert_int_equal(chmod(path, 0755), 0);
	assert_true(asked(*state, path, NULL));
	free(path);
}

/* By its file: one that looks as it did is not asked again. */
static void
what_cargo_itself_said_is_remembered(void **state)
{
	char *directory = xasprintf("%s/itself", (const char *)*state);
	char *path = xasprintf("%s/cargo", directory);
	char *copy = xasprintf("cp /bin/true '%s'", path);
	char *forge = xasprintf(
	    "sed -i 's/ new$/ old/' '%s'/cargo-*", (const char *)*state);
	char *touch = xasprintf("touch '%s'", path);
	struct error err;

	assert_int_equal(file_make_directories(directory, &err), 0);
	assert_int_equal(system(copy), 0); /* NOLINT */
	assert_false(asked(*state, path, NULL));
	assert_int_equal(system(forge), 0); /* NOLINT */
	assert_true(asked(*state, path, NULL));
	assert_false(asked(*state, path, "+other"));
	assert_int_equal(system(touch), 0); /* NOLINT */
	assert_false(asked(*state, path, NULL));
	free(touch);
	free(forge);
	free(copy);
	free(path);
	free(directory);
}

/* --- which compiler ------------------------------------------------------- */

static void
write_text(const char *directory, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", directory, name);
	char *slash = strrchr(path, '/');
	struct error err;

	*slash = '\0';
	assert_int_equal(file_make_directories(path, &err), 0);
	*slash = '/';
	assert_int_equal(file_replace(path, text, strlen(text), &err), 0);
	free(path);
}

/* wanted is from the directory where a "%s" is in it. */
static void
expect_in(const char *directory, char *const *words, char *const *environment,
    const char *wanted)
{
	char *found = cargo_rustc_find(words, directory, environment);

	assert_non_null(found);
	assert_string_equal(found, wanted);
	free(found);
}

static void
the_compiler_is_who_cargo_would_call(void **state)
{
	char *at = xasprintf("%s/find", (const char *)*state);
	char *relative = xasprintf("%s/mine/rustc", at);

	write_text(at, "below/x", "");
	expect_in(at, WORDS(WORD("build")), none, "rustc");
	expect_in(at, none, WORDS(WORD("RUSTC=/a/rustc")), "/a/rustc");
	expect_in(at, none, WORDS(WORD("RUSTC=other")), "other");
	expect_in(at, none, WORDS(WORD("RUSTC=mine/rustc")), relative);
	expect_in(
	    at, none, WORDS(WORD("CARGO_BUILD_RUSTC=mine/rustc")), relative);
	assert_null(cargo_rustc_find(none, at, WORDS(WORD("RUSTC="))));

	write_text(at, ".cargo/config.toml",
	    "[build]\nrustc-wrapper = \"w\"\nrustc = \"mine/rustc\"\n");
	expect_in(at, none, none, relative);
	free(relative);
	relative = xasprintf("%s/below", at);
	expect_in(relative, none, WORDS(WORD("CARGO_BUILD_RUSTC=b")), "b");
	write_text(relative, ".cargo/config",
	    "build = { rustdoc = 'd', rustc-wrapper = 'w', rustc = '/n' }\n");
	write_text(relative, ".cargo/config.toml", "build.rustc = '/not'\n");
	expect_in(relative, none, none, "/n");
	expect_in(relative,
	    WORDS(WORD("build"), WORD("--config"), WORD("build.rustc='/one'"),
		WORD("--config=build.rustc=\"/two\"")),
	    WORDS(WORD("CARGO_BUILD_RUSTC=b")), "/two");
	expect_in(relative,
	    WORDS(WORD("run"), WORD("--"), WORD("--config"),
		WORD("build.rustc='/one'")),
	    WORDS(WORD("CARGO_HOME=/none")), "/n");
	write_text(at, "given/more.toml", "build.rustc = './r'\n");
	free(relative);
	relative = xasprintf("%s/./r", at);
	expect_in(at, WORDS(WORD("--config"), WORD("given/more.toml")), none,
	    relative);
	free(relative);
	free(at);
}

static void
words_of_the_configuration_end_with_cargos(void **state)
{
	char *words[] = {WORD("build"), WORD("--config"), NULL};
	char *const *at = words;

	(void)state;
	assert_null(cargo_command_line_next_config(&at));
	assert_null(*at);
}

/* --- what stands in for it ------------------------------------------------ */

static void
a_stand_in_says_what_it_stands_for(void **state)
{
	const char *cache = *state;
	char *const set[] = {WORD("RUSTC=/usr/bin/rustc"), NULL};
	char *path = cargo_rustc_stand_in(cache, "/bin/true", none, set);
	char *again = cargo_rustc_stand_in(cache, "/bin/true", none, set);
	char *other = cargo_rustc_stand_in(cache, "/bin/sh", none, set);
	char *nested_set[] = {xasprintf("RUSTC=%s", path), NULL};
	char *nested =
	    cargo_rustc_stand_in(cache, "/bin/true", none, nested_set);
	char *compiler = cargo_stand_in_compiler(path);

	assert_non_null(path);
	assert_string_equal(compiler, "/usr/bin/rustc");
	assert_string_equal(path, again);
	assert_string_not_equal(path, other);
	/* Of what it stands for, not of itself. */
	assert_string_equal(path, nested);
	assert_null(cargo_stand_in_compiler("/usr/bin/rustc"));
	assert_null(cargo_stand_in_compiler("rustc"));
	assert_null(cargo_stand_in_compiler(cache));
	free(compiler);
	free(nested);
	free(nested_set[0]);
	free(other);
	free(again);
	free(path);
}

static void
what_cannot_be_one_is_not_taken(void **state)
{
	const char *cache = *state;
	char *const set[] = {WORD("RUSTC=/one/rustc"), NULL};
	char *path = cargo_rustc_stand_in(cache, "/bin/true", none, set);
	char *link = xasprintf("%.*s" CARGO_STAND_IN_COMPILER,
	    (int)(strrchr(path, '/') + 1 - path), path);

	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("/another/rustc", link), 0);
	assert_null(cargo_rustc_stand_in(cache, "/bin/true", none, set));
	assert_null(cargo_rustc_stand_in("/proc/none", "/bin/true", none, set));
	assert_null(cargo_rustc_stand_in(cache, "/nonexistent", none, none));
	free(link);
	free(path);
}

static void
cargo_is_told_of_it_and_calls_are_as_before(void **state)
{
	char *const set[] = {WORD("RUSTC=/x/rustc"), NULL};
	char *path = cargo_rustc_stand_in(*state, "/bin/true", none, set);
	char *call[] = {WORD("shim"), WORD("clippy-driver"), path,
	    WORD("--crate-name"), path, NULL};
	struct cargo_strings added = {.count = 0};

	cargo_rustc_add(path, set, &added);
	assert_string_equal(cargo_strings_value(added.items, "RUSTC"), path);
	assert_string_equal(
	    cargo_strings_value(added.items, CARGO_STAND_IN_RUSTC), "/x/rustc");
	cargo_strings_clear(&added);
	setenv("RUSTC", path, 1);
	setenv(CARGO_STAND_IN_RUSTC, "/x/rustc", 1);
	cargo_stand_in_resolve(call);
	assert_string_equal(call[1], "clippy-driver");
	assert_string_equal(call[2], "/x/rustc");
	assert_ptr_equal(call[4], path);
	assert_string_equal(getenv("RUSTC"), "/x/rustc");
	free(call[2]);

	/* Who had none has none. */
	cargo_rustc_add(path, none, &added);
	assert_int_equal(added.count, 1);
	cargo_strings_clear(&added);
	setenv("RUSTC", path, 1);
	unsetenv(CARGO_STAND_IN_RUSTC);
	call[1] = path;
	call[2] = NULL;
	cargo_stand_in_resolve(call);
	assert_string_equal(call[1], "/x/rustc");
	assert_null(getenv("RUSTC"));
	free(call[1]);

	/* What is the user's stays. */
	setenv("RUSTC", "/y/rustc", 1);
	call[1] = WORD("/y/rustc");
	cargo_stand_in_resolve(call);
	assert_string_equal(call[1], "/y/rustc");
	assert_string_equal(getenv("RUSTC"), "/y/rustc");
	unsetenv("RUSTC");
	free(path);
}

/* --- all ------------------------------------------------------------------ */

static int
make_directory(void **state)
{
	char *path = xstrdup("/tmp/toolroot-rustc-XXXXXX");

	*state = path;
	return mkdtemp(path) != NULL ? 0 : -1;
}

static int
remove_directory(void **state)
{
	struct error err;
	int rc = file_remove_tree(*state, &err);

	free(*state);
	return rc;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_old_cargo_is_told_by_its_version),
	    cmocka_unit_test(it_is_asked),
	    cmocka_unit_test(what_cargo_itself_said_is_remembered),
	    cmocka_unit_test(the_compiler_is_who_cargo_would_call),
	    cmocka_unit_test(words_of_the_configuration_end_with_cargos),
	    cmocka_unit_test(a_stand_in_says_what_it_stands_for),
	    cmocka_unit_test(what_cannot_be_one_is_not_taken),
	    cmocka_unit_test(cargo_is_told_of_it_and_calls_are_as_before),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
