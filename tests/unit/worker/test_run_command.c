/* SPDX-License-Identifier: Apache-2.0 */
/* Commands as clients write them, and what a run makes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"
#include "worker/run_command.h"

struct fixture {
	Reapi__Command message;
	ProtobufCBinaryData argument;
	ProtobufCBinaryData output;
	Reapi__Command__EnvironmentVariable variable;
	Reapi__Command__EnvironmentVariable *variables[1];
	struct arena arena;
	struct run_command command;
	struct error err;
};

static ProtobufCBinaryData
bytes(const char *text, size_t len)
{
	return (ProtobufCBinaryData){
	    .len = len, .data = (uint8_t *)(uintptr_t)text};
}

static int
setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	reapi__command__init(&fixture->message);
	fixture->argument = bytes("true", 4);
	fixture->message.arguments = &fixture->argument;
	fixture->message.n_arguments = 1;
	arena_init(&fixture->arena, 1 << 20);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	arena_clear(&fixture->arena);
	free(fixture);
	return 0;
}

static int
decode(struct fixture *fixture)
{
	static uint8_t packed[65536];
	size_t len = reapi__command__pack(&fixture->message, packed);

	return run_command_decode(&fixture->command, &fixture->arena,
	    (struct str){(const char *)packed, len}, NULL, &fixture->err);
}

static void
assert_invalid(struct fixture *fixture)
{
	assert_int_equal(decode(fixture), -1);
	assert_int_equal(fixture->err.code, ERROR_INVALID_ARGUMENT);
}

static void
set_output(struct fixture *fixture, const char *path)
{
	fixture->output = bytes(path, strlen(path));
	fixture->message.output_paths = &fixture->output;
	fixture->message.n_output_paths = 1;
}

static void
set_variable(struct fixture *fixture, const char *name, const char *value)
{
	reapi__command__environment_variable__init(&fixture->variable);
	fixture->variable.name = bytes(name, strlen(name));
	fixture->variable.value = bytes(value, strlen(value));
	fixture->variables[0] = &fixture->variable;
	fixture->message.environment_variables = fixture->variables;
	fixture->message.n_environment_variables = 1;
}

static void
command_without_arguments_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture->message.n_arguments = 0;
	assert_invalid(fixture);
}

static void
empty_program_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture->argument = bytes("", 0);
	assert_invalid(fixture);
}

static void
nul_in_an_argument_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture->argument = bytes("a\0b", 3);
	assert_invalid(fixture);
}

static void
garbage_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(run_command_decode(&fixture->command, &fixture->arena,
			     STR("\xff\xff\xff"), NULL, &fixture->err),
	    -1);
	assert_int_equal(fixture->err.code, ERROR_INVALID_ARGUMENT);
}

static void
variable_name_with_an_equals_sign_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	set_variable(fixture, "A=B", "1");
	assert_invalid(fixture);
}

static void
path_is_added_only_where_there_is_none(void **state)
{
	struct fixture *fixture = *state;

	set_variable(fixture, "PATH", "/x");
	assert_int_equal(decode(fixture), 0);
	assert_int_equal(fixture->command.environment_count, 1);
	assert_string_equal(fixture->command.search_path, "/x");
	set_variable(fixture, "PATHS", "/x");
	assert_int_equal(decode(fixture), 0);
	assert_int_equal(fixture->command.environment_count, 2);
	assert_string_equal(
	    fixture->command.environment[1], "PATH=" RUN_COMMAND_DEFAULT_PATH);
	assert_null(fixture->command.environment[2]);
}

static void
output_is_placed_below_the_working_directory(void **state)
{
	struct fixture *fixture = *state;

	fixture->message.working_directory = bytes("a/b", 3);
	set_output(fixture, "../c/./d");
	assert_int_equal(decode(fixture), 0);
	assert_string_equal(fixture->command.working_directory, "a/b");
	assert_string_equal(fixture->command.outputs[0].place, "a/c/d");
	assert_int_equal(fixture->command.outputs[0].path.len, 8);
}

static void
bad_output_paths_are_invalid(void **state)
{
	static const char *const bad[] = {"/a", "a/", "../a", "a/../../b", "/"};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		set_output(fixture, bad[i]);
		assert_invalid(fixture);
	}
}

static void
name_too_long_for_a_file_system_is_invalid(void **state)
{
	struct fixture *fixture = *state;
	char name[300];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	set_output(fixture, name);
	assert_invalid(fixture);
}

static void
output_paths_make_older_fields_void(void **state)
{
	struct fixture *fixture = *state;
	ProtobufCBinaryData file = bytes("f", 1);

	fixture->message.output_files = &file;
	fixture->message.n_output_files = 1;
	assert_int_equal(decode(fixture), 0);
	assert_int_equal(
	    fixture->command.outputs[0].kind, RUN_COMMAND_OUTPUT_FILE);
	set_output(fixture, "p");
	assert_int_equal(decode(fixture), 0);
	assert_int_equal(fixture->command.output_count, 1);
	assert_int_equal(
	    fixture->command.outputs[0].kind, RUN_COMMAND_OUTPUT_ANY);
}

static void
unknown_directory_format_counts_as_tree(void **state)
{
	struct fixture *fixture = *state;

	fixture->message.output_directory_format = 77;
	assert_int_equal(decode(fixture), 0);
	assert_true(fixture->command.want_tree);
	assert_false(fixture->command.want_directories);
}

static void
first_property_of_a_name_counts(void **state)
{
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property first = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property second = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *properties[] = {&first, &second};

	(void)state;
	first.name = second.name = bytes("k", 1);
	first.value = bytes("v", 1);
	second.value = bytes("w", 1);
	platform.properties = properties;
	platform.n_properties = 2;
	assert_true(
	    str_equal(run_command_property(&platform, STR("k")), STR("v")));
	assert_null(run_command_property(&platform, STR("other")).data);
	assert_null(run_command_property(NULL, STR("k")).data);
}

int
main(void)
{
#define RUN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(command_without_arguments_is_invalid),
	    RUN_TEST(empty_program_is_invalid),
	    RUN_TEST(nul_in_an_argument_is_invalid),
	    RUN_TEST(garbage_is_invalid),
	    RUN_TEST(variable_name_with_an_equals_sign_is_invalid),
	    RUN_TEST(path_is_added_only_where_there_is_none),
	    RUN_TEST(output_is_placed_below_the_working_directory),
	    RUN_TEST(bad_output_paths_are_invalid),
	    RUN_TEST(name_too_long_for_a_file_system_is_invalid),
	    RUN_TEST(output_paths_make_older_fields_void),
	    RUN_TEST(unknown_directory_format_counts_as_tree),
	    RUN_TEST(first_property_of_a_name_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
