/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: precedence, values, and errors that name their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/settings.h"

struct target {
	char *config;
	char *name;
	uint64_t size;
	int64_t wait;
	bool flag;
	struct setting_list items;
	char *only;
};

#define FIELD(field) offsetof(struct target, field)

static const struct setting table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL, "File."},
    {"name", SETTING_TEXT, FIELD(name), "NAME", "initial", "Name."},
    {"max-size", SETTING_SIZE, FIELD(size), "SIZE", "1K", "Size."},
    {"wait", SETTING_DURATION, FIELD(wait), "TIME", "3s", "Time."},
    {"flag", SETTING_FLAG, FIELD(flag), "", "no", "Flag."},
    {"item", SETTING_LIST, FIELD(items), "ITEM", NULL, "Items."},
    {"only", SETTING_ARGUMENT, FIELD(only), "NAME", NULL, "Here alone."},
};

static const struct settings settings = {
    .command = "serve",
    .synopsis = "[options]",
    .about = "Test.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
};

static char path[] = "/tmp/toolroot-settings-XXXXXX";

static int
make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd == -1)
		return -1;
	close(fd);
	return 0;
}

static int
remove_file(void **state)
{
	(void)state;
	unsetenv("TOOLROOT_MAX_SIZE");
	return unlink(path);
}

static void
write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int
read_settings(struct target *target, char **argv, struct error *err)
{
	struct setting_arguments arguments;
	int rc;

	*target = (struct target){0};
	rc = settings_read(&settings, argv, target, &arguments, err);
	free(arguments.items);
	return rc;
}

static void
an_argument_comes_from_the_command_line_alone(void **state)
{
	char *none[] = {"serve", "--config", path, NULL};
	char *given[] = {"serve", "--config", path, "--only", "this", NULL};
	struct target target;
	struct error err;

	(void)state;
	write_file("[serve]\nonly = file\n");
	setenv("TOOLROOT_ONLY", "environment", 1);
	assert_int_equal(read_settings(&target, none, &err), 0);
	assert_null(target.only);
	settings_clear(&settings, &target);
	assert_int_equal(read_settings(&target, given, &err), 0);
	assert_string_equal(target.only, "this");
	settings_clear(&settings, &target);
	unsetenv("TOOLROOT_ONLY");
}

static void
command_line_over_environment_over_file_over_default(void **state)
{
	char *argv[] = {"serve", "--config", path, "--wait=5m", "--flag",
	    "--item", "a", "--item=b", NULL};
	struct target target;
	struct error err;

	(void)state;
	write_file("[serve]\nmax-size = 2K\nwait = 1h\nname = from file\n"
		   "[worker]\nwhatever = 1\n");
	setenv("TOOLROOT_MAX_SIZE", "3K", 1);
	assert_int_equal(read_settings(&target, argv, &err), 0);
	assert_string_equal(target.name, "from file");
	assert_int_equal(target.size, 3072);
	assert_int_equal(target.wait, 300000);
	assert_true(target.flag);
	assert_int_equal(target.items.count, 2);
	assert_string_equal(target.items.items[1], "b");
	settings_clear(&settings, &target);
	unsetenv("TOOLROOT_MAX_SIZE");
}

static void
an_unknown_key_is_named_with_file_line_and_the_valid_ones(void **state)
{
	char *argv[] = {"serve", "--config", path, NULL};
	struct target target;
	struct error err;

	(void)state;
	write_file("# comment\n[serve]\nmax_size = 2K\n");
	assert_int_equal(read_settings(&target, argv, &err), -1);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, "line 3"));
	assert_non_null(strstr(err.text, "\"max_size\""));
	assert_non_null(strstr(err.text, "max-size"));
	settings_clear(&settings, &target);
}

static void
bad_values_name_their_place(void **state)
{
	char *bad_size[] = {"serve", "--max-size=10X", NULL};
	char *huge[] = {"serve", "--max-size=9999999999999T", NULL};
	char *bad_flag[] = {"serve", "--flag=maybe", NULL};
	char *no_value[] = {"serve", "--wait", NULL};
	char *unknown[] = {"serve", "--nope", NULL};
	char *short_one[] = {"serve", "-x", NULL};
	char **all[] = {bad_size, huge, bad_flag, no_value, unknown, short_one};
	struct target target;
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char name[16];

		assert_int_equal(read_settings(&target, all[i], &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		snprintf(name, sizeof(name), "%.6s", all[i][1]);
		assert_non_null(
		    strstr(err.text, all[i] == short_one ? "-x" : name));
		settings_clear(&settings, &target);
	}
}

static void
an_environment_value_that_is_bad_names_the_variable(void **state)
{
	char *argv[] = {"serve", NULL};
	struct target target;
	struct error err;

	(void)state;
	setenv("TOOLROOT_MAX_SIZE", "many", 1);
	assert_int_equal(read_settings(&target, argv, &err), -1);
	assert_non_null(strstr(err.text, "TOOLROOT_MAX_SIZE"));
	settings_clear(&settings, &target);
	unsetenv("TOOLROOT_MAX_SIZE");
}

/* The error of a file with this text; "" when it was taken. */
static const char *
error_of_file(const char *text)
{
	static struct error err;
	char *argv[] = {"serve", "--config", path, NULL};
	struct target target;

	err.text[0] = '\0';
	write_file(text);
	if (read_settings(&target, argv, &err) == 0)
		err.text[0] = '\0';
	settings_clear(&settings, &target);
	return err.text;
}

static void
a_mistyped_key_is_told_what_it_may_have_meant(void **state)
{
	char *argv[] = {"serve", "--max-sizes", "3K", NULL};
	struct target target;
	struct error err;

	(void)state;
	assert_int_equal(read_settings(&target, argv, &err), -1);
	assert_non_null(strstr(err.text, "did you mean \"max-size\"?"));
	assert_non_null(strstr(err.text, "toolroot serve --help"));
	settings_clear(&settings, &target);
	assert_non_null(strstr(
	    error_of_file("[serve]\nwiat = 3s\n"), "toolroot serve --help"));
}

static void
a_comment_may_stand_behind_a_value(void **state)
{
	char *argv[] = {"serve", "--config", path, NULL};
	struct target target;
	struct error err;

	(void)state;
	write_file("[serve]\nmax-size = 2K   # two\nname = a#b ; c\n"
		   "wait = 4s\t# four # of them\n");
	assert_int_equal(read_settings(&target, argv, &err), 0);
	assert_int_equal(target.size, 2048);
	assert_string_equal(target.name, "a#b");
	assert_int_equal(target.wait, 4000);
	settings_clear(&settings, &target);
}

static void
sections_are_those_that_some_command_reads(void **state)
{
	(void)state;
	assert_string_equal(
	    error_of_file("[client]\na = 1\n[store]\nb = 1\n"), "");
	assert_non_null(strstr(
	    error_of_file("[srve]\nwait = 3s\n"), "unknown section [srve]"));
	assert_non_null(strstr(
	    error_of_file("wait = 3s\n"), "line 1: wait stands in no section"));
}

static void
a_directory_is_no_config_file(void **state)
{
	char *argv[] = {"serve", "--config", "/tmp", NULL};
	struct target target;
	struct error err;

	(void)state;
	assert_int_equal(read_settings(&target, argv, &err), -1);
	assert_non_null(strstr(err.text, "/tmp: Is a directory"));
	settings_clear(&settings, &target);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_argument_comes_from_the_command_line_alone),
	    cmocka_unit_test(
		command_line_over_environment_over_file_over_default),
	    cmocka_unit_test(
		an_unknown_key_is_named_with_file_line_and_the_valid_ones),
	    cmocka_unit_test(bad_values_name_their_place),
	    cmocka_unit_test(
		an_environment_value_that_is_bad_names_the_variable),
	    cmocka_unit_test(a_mistyped_key_is_told_what_it_may_have_meant),
	    cmocka_unit_test(a_comment_may_stand_behind_a_value),
	    cmocka_unit_test(sections_are_those_that_some_command_reads),
	    cmocka_unit_test(a_directory_is_no_config_file),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
