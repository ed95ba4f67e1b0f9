/* SPDX-License-Identifier: Apache-2.0 */
/* Platform properties that name toolchain trees. */
#include "cas/toolchain_root.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

#define HASH "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
#define OTHER "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"
#define SHA1 "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"
#define PROPERTIES_MAX 32

struct pair {
	const char *name;
	const char *value;
};

/* Ends with the first pair without a name. */
static int
read_pairs(
    const struct pair *pairs, struct toolchain_roots *roots, struct error *err)
{
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property properties[PROPERTIES_MAX];
	Reapi__Platform__Property *list[PROPERTIES_MAX];

	platform.properties = list;
	while (pairs[platform.n_properties].name != NULL) {
		const struct pair *pair = &pairs[platform.n_properties];
		Reapi__Platform__Property *property =
		    &properties[platform.n_properties];

		reapi__platform__property__init(property);
		property->name.data = (uint8_t *)(uintptr_t)pair->name;
		property->name.len = strlen(pair->name);
		property->value.data = (uint8_t *)(uintptr_t)pair->value;
		property->value.len = strlen(pair->value);
		list[platform.n_properties++] = property;
	}
	return toolchain_roots_read(roots, &platform, DIGEST_SHA256, err);
}

static void
assert_refused(const char *name, const char *value)
{
	struct toolchain_roots roots;
	struct error err;
	int rc = read_pairs(
	    (struct pair[]){{name, value}, {NULL, NULL}}, &roots, &err);

	if (rc == 0)
		fail_msg("%s=%s was accepted", name, value);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	if (strstr(err.text, "platform property toolchain-root") == NULL)
		fail_msg("the property is not named: %s", err.text);
}

static void
no_such_property_gives_no_root(void **state)
{
	struct toolchain_roots roots;
	struct error err;

	(void)state;
	assert_int_equal(
	    toolchain_roots_read(&roots, NULL, DIGEST_SHA256, &err), 0);
	assert_int_equal(roots.count, 0);
	assert_int_equal(
	    read_pairs((struct pair[]){{"OSFamily", "linux"},
			   {"toolchain-rooted", "x"}, {NULL, NULL}},
		&roots, &err),
	    0);
	assert_int_equal(roots.count, 0);
}

static void
bare_names_mean_the_root_directory(void **state)
{
	static const char *const names[] = {
	    "toolchain-root", "toolchain-root:/", "chrootRootDigest"};
	struct toolchain_roots roots;
	struct error err;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(
		    read_pairs(
			(struct pair[]){{names[i], HASH "/70"}, {NULL, NULL}},
			&roots, &err),
		    0);
		assert_int_equal(roots.count, 1);
		assert_int_equal(roots.items[0].path.len, 0);
		assert_int_equal(roots.items[0].digest.size, 70);
		assert_int_equal(roots.items[0].digest.function, DIGEST_SHA256);
	}
}

static void
outer_trees_come_before_inner_ones(void **state)
{
	struct toolchain_roots roots;
	struct error err;

	(void)state;
	assert_int_equal(
	    read_pairs((struct pair[]){{"toolchain-root:/opt/x", HASH "/1"},
			   {"toolchain-root:/opt", HASH "/2"},
			   {"toolchain-root", HASH "/3"}, {NULL, NULL}},
		&roots, &err),
	    0);
	assert_int_equal(roots.count, 3);
	assert_int_equal(roots.items[0].digest.size, 3);
	assert_true(str_equal(roots.items[1].path, STR("opt")));
	assert_true(str_equal(roots.items[2].path, STR("opt/x")));
}

static void
digest_function_may_be_named(void **state)
{
	struct toolchain_roots roots;
	struct error err;

	(void)state;
	assert_int_equal(
	    read_pairs((struct pair[]){{"toolchain-root", "sha1/" SHA1 "/5"},
			   {NULL, NULL}},
		&roots, &err),
	    0);
	assert_int_equal(roots.items[0].digest.function, DIGEST_SHA1);
	assert_refused("toolchain-root", SHA1 "/5");
	assert_refused("toolchain-root", "sha512/" HASH "/5");
}

static void
malformed_values_are_refused(void **state)
{
	(void)state;
	assert_refused("toolchain-root", "");
	assert_refused("toolchain-root", HASH);
	assert_refused("toolchain-root", HASH "/");
	assert_refused("toolchain-root", HASH "/-1");
	assert_refused("toolchain-root", HASH "/0");
	assert_refused("toolchain-root", HASH "/1/2");
	assert_refused("toolchain-root", "/" HASH "/1");
	assert_refused("toolchain-root", "my-gcc");
}

static void
malformed_paths_are_refused(void **state)
{
	char longer[TOOLCHAIN_ROOT_PATH_MAX + 64] = "toolchain-root:";

	(void)state;
	assert_refused("toolchain-root:", HASH "/1");
	assert_refused("toolchain-root:opt", HASH "/1");
	assert_refused("toolchain-root:/opt/", HASH "/1");
	assert_refused("toolchain-root://opt", HASH "/1");
	assert_refused("toolchain-root:/opt/../etc", HASH "/1");
	assert_refused("toolchain-root:/opt/.", HASH "/1");
	while (strlen(longer) < sizeof(longer) - 3)
		strcat(longer, "/x");
	assert_refused(longer, HASH "/1");
}

static void
directories_of_the_sandbox_are_refused(void **state)
{
	(void)state;
	assert_refused("toolchain-root:/dev", HASH "/1");
	assert_refused("toolchain-root:/proc/self", HASH "/1");
	assert_refused("toolchain-root:/tmp", HASH "/1");
}

static void
what_the_sandbox_provides_hides_a_trees(void **state)
{
	(void)state;
	assert_true(toolchain_root_hides(STR("/tmp")));
	assert_true(toolchain_root_hides(STR("/tmp/sdk/bin")));
	assert_true(toolchain_root_hides(STR("//dev/x")));
	assert_true(toolchain_root_hides(STR("proc/x")));
	assert_false(toolchain_root_hides(STR("/")));
	assert_false(toolchain_root_hides(STR("/var/tmp")));
	assert_false(toolchain_root_hides(STR("/tmpl/x")));
}

static void
two_trees_at_one_path_are_refused(void **state)
{
	struct toolchain_roots roots;
	struct error err;

	(void)state;
	assert_int_equal(
	    read_pairs((struct pair[]){{"toolchain-root", HASH "/1"},
			   {"chrootRootDigest", OTHER "/1"}, {NULL, NULL}},
		&roots, &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(err.text, "chrootRootDigest"));
	assert_int_equal(
	    read_pairs((struct pair[]){{"toolchain-root", HASH "/1"},
			   {"chrootRootDigest", HASH "/1"}, {NULL, NULL}},
		&roots, &err),
	    0);
	assert_int_equal(roots.count, 1);
}

static void
too_many_trees_are_refused(void **state)
{
	struct pair pairs[TOOLCHAIN_ROOTS_MAX + 2] = {{NULL, NULL}};
	char names[TOOLCHAIN_ROOTS_MAX + 1][32];
	struct toolchain_roots roots;
	struct error err;

	(void)state;
	for (int i = 0; i <= TOOLCHAIN_ROOTS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "toolchain-root:/%d", i);
		pairs[i] = (struct pair){names[i], HASH "/1"};
	}
	assert_int_equal(read_pairs(pairs, &roots, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	pairs[TOOLCHAIN_ROOTS_MAX].name = NULL;
	assert_int_equal(read_pairs(pairs, &roots, &err), 0);
	assert_int_equal(roots.count, TOOLCHAIN_ROOTS_MAX);
}

static void
actions_platform_counts_before_the_commands(void **state)
{
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Command command = REAPI__COMMAND__INIT;
	Reapi__Platform of_action = REAPI__PLATFORM__INIT;
	Reapi__Platform of_command = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property property = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *list[] = {&property};

	(void)state;
	assert_null(toolchain_roots_platform(&action, NULL));
	command.platform = &of_command;
	action.platform = &of_action;
	assert_ptr_equal(
	    toolchain_roots_platform(&action, &command), &of_command);
	of_action.properties = list;
	of_action.n_properties = 1;
	assert_ptr_equal(
	    toolchain_roots_platform(&action, &command), &of_action);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_such_property_gives_no_root),
	    cmocka_unit_test(bare_names_mean_the_root_directory),
	    cmocka_unit_test(outer_trees_come_before_inner_ones),
	    cmocka_unit_test(digest_function_may_be_named),
	    cmocka_unit_test(malformed_values_are_refused),
	    cmocka_unit_test(malformed_paths_are_refused),
	    cmocka_unit_test(directories_of_the_sandbox_are_refused),
	    cmocka_unit_test(what_the_sandbox_provides_hides_a_trees),
	    cmocka_unit_test(two_trees_at_one_path_are_refused),
	    cmocka_unit_test(too_many_trees_are_refused),
	    cmocka_unit_test(actions_platform_counts_before_the_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
