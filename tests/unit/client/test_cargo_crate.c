/* SPDX-License-Identifier: Apache-2.0 */
/* What a crate is called, by which a miss is compared with the right earlier
 * action. */
#include "client/cargo_crate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "client/cargo_message.h"

/* A call of cargo's; NULL where it says nothing. */
struct recipe {
	const char *crate_name;
	const char *type;    /* --crate-type, or --test */
	const char *version; /* a line of the environment, as the next */
	const char *program;
	bool fetched;
};

static void
add(struct cargo_strings *list, const char *text)
{
	if (text != NULL)
		cargo_strings_take(list, xstrdup(text));
}

static void
expect(const struct recipe *recipe, const char *title)
{
	struct cargo_message_call call = {
	    .directory = xstrdup("/w"), .caller = -1};
	struct cargo_crate crate;
	char *got;

	add(&call.arguments, "rustc");
	add(&call.arguments, "--crate-name");
	add(&call.arguments, recipe->crate_name);
	add(&call.arguments, "src/lib.rs");
	add(&call.arguments, recipe->type);
	add(&call.environment, "CARGO_PKG_NAME=serde");
	add(&call.environment, recipe->version);
	add(&call.environment, recipe->program);
	cargo_crate_init(&crate, NULL, &call);
	crate.fetched = recipe->fetched;
	got = cargo_crate_title(&crate);
	assert_string_equal(got, title);
	free(got);
	cargo_crate_clear(&crate);
	cargo_strings_clear(&call.arguments);
	cargo_strings_clear(&call.environment);
	free(call.directory);
}

static void
two_versions_of_a_crate_have_two_names(void **state)
{
	struct recipe recipe = {.crate_name = "serde",
	    .type = "--crate-type=lib",
	    .version = "CARGO_PKG_VERSION=1.0.219",
	    .fetched = true};

	(void)state;
	expect(&recipe, "serde v1.0.219 (lib)");
	recipe.version = "CARGO_PKG_VERSION=0.9.15";
	expect(&recipe, "serde v0.9.15 (lib)");
	recipe.crate_name = "build_script_build";
	recipe.type = "--crate-type=bin";
	expect(&recipe, "serde v0.9.15 (build script)");
}

/* Its version changes with each release: it is the same crate. */
static void
a_crate_of_the_workspace_has_no_version(void **state)
{
	struct recipe recipe = {.crate_name = "serde",
	    .type = "--crate-type=lib",
	    .version = "CARGO_PKG_VERSION=1.0.219"};

	(void)state;
	expect(&recipe, "serde (lib)");
	recipe.type = "--test";
	expect(&recipe, "serde (lib test)");
	recipe.program = "CARGO_BIN_NAME=serve";
	expect(&recipe, "serde (bin \"serve\" test)");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_versions_of_a_crate_have_two_names),
	    cmocka_unit_test(a_crate_of_the_workspace_has_no_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
