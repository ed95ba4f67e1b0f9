/* SPDX-License-Identifier: Apache-2.0 */
/* Pairs of actions over blobs in memory: each cause named, with what changed.
 * One thread. */
#include "executor/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cas/digest_message.h"
#include "tests/unit/cas/fake_blobs.h"

static const struct explain_limits roomy = {
    .changes = 100, .directories = 1000, .bytes = 64u << 20};

/* What an action is made of; each test changes one thing. */
struct recipe {
	const char *arguments[8];
	const char *variable;
	const char *property;
	const char *value;
	const char *files[8]; /* "path=content" */
	const char *salt;
	const char *output;
	int64_t timeout_s;
};

static const struct recipe plain = {
    .arguments = {"cc", "-c", "a.c", "-o", "a.o"},
    .variable = "/usr/bin",
    .property = "os",
    .value = "linux",
    .files = {"src/a.c=int a;", "src/deep/b.h=int b;", "tool/x=x"},
    .salt = "",
    .output = "a.o",
};

static ProtobufCBinaryData
binary(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static struct digest
add_message(struct fake_blobs *blobs, const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = xmalloc(len + 1);
	struct digest digest;

	protobuf_c_message_pack(message, bytes);
	digest = fake_blobs_add(blobs, (struct str){(char *)bytes, len});
	free(bytes);
	return digest;
}

static struct digest
add_tree(struct fake_blobs *blobs, const char *const files[static 8])
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct error err;

	for (size_t i = 0; i < 8 && files[i] != NULL; i++) {
		struct str content = str_from(files[i]);
		struct str path = str_cut(&content, '=');
		struct merkle_file file = fake_file(content.data);

		assert_int_equal(
		    merkle_builder_add_file(builder, path, &file, &err), 0);
	}
	return fake_blobs_add_tree(blobs, builder);
}

static struct digest
add_command(struct fake_blobs *blobs, const struct recipe *recipe)
{
	Reapi__Command command = REAPI__COMMAND__INIT;
	Reapi__Command__EnvironmentVariable variable =
	    REAPI__COMMAND__ENVIRONMENT_VARIABLE__INIT;
	Reapi__Command__EnvironmentVariable *variables[] = {&variable};
	ProtobufCBinaryData arguments[8];
	ProtobufCBinaryData output = binary(recipe->output);

	while (command.n_arguments < 8 &&
	       recipe->arguments[command.n_arguments] != NULL) {
		arguments[command.n_arguments] =
		    binary(recipe->arguments[command.n_arguments]);
		command.n_arguments++;
	}
	command.arguments = arguments;
	variable.name = binary("PATH");
	variable.value = binary(recipe->variable);
	command.n_environment_variables = 1;
	command.environment_variables = variables;
	command.n_output_paths = 1;
	command.output_paths = &output;
	return add_message(blobs, &command.base);
}

static struct digest
add_action(struct fake_blobs *blobs, const struct recipe *recipe)
{
	struct digest command = add_command(blobs, recipe);
	struct digest root = add_tree(blobs, recipe->files);
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Digest digests[] = {REAPI__DIGEST__INIT, REAPI__DIGEST__INIT};
	char texts[2][DIGEST_TEXT_MAX];
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property property = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *properties[] = {&property};
	Google__Protobuf__Duration timeout = GOOGLE__PROTOBUF__DURATION__INIT;

	digest_to_message(&command, texts[0], &digests[0]);
	digest_to_message(&root, texts[1], &digests[1]);
	action.command_digest = &digests[0];
	action.input_root_digest = &digests[1];
	action.salt = binary(recipe->salt);
	property.name = binary(recipe->property);
	property.value = binary(recipe->value);
	platform.n_properties = 1;
	platform.properties = properties;
	action.platform = &platform;
	timeout.seconds = recipe->timeout_s;
	action.timeout = recipe->timeout_s > 0 ? &timeout : NULL;
	return add_message(blobs, &action.base);
}

struct fixture {
	struct fake_blobs blobs;
	struct explain_limits limits;
	struct explanation explanation;
	struct error err;
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	fake_blobs_init(&f->blobs);
	f->limits = roomy;
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	explanation_clear(&f->explanation);
	fake_blobs_clear(&f->blobs);
	free(f);
	return 0;
}

static void
explain(
    struct fixture *f, const struct digest *before, const struct digest *after)
{
	const struct closure_source source = fake_blobs_source(&f->blobs);

	if (explain_actions(&f->explanation, &source, &f->limits, before, after,
		&f->err) < 0)
		fail_msg("%s", f->err.text);
}

static void
explain_recipes(
    struct fixture *f, const struct recipe *before, const struct recipe *after)
{
	struct digest a = add_action(&f->blobs, before);
	struct digest b = add_action(&f->blobs, after);

	explain(f, &a, &b);
}

/* texts: name, before and after; NULL = absent. */
static void
assert_change(const struct fixture *f, size_t number, enum explain_kind kind,
    const char *const texts[static 3])
{
	const struct explain_change *change = &f->explanation.changes[number];

	assert_true(number < f->explanation.count);
	assert_int_equal(change->kind, kind);
	assert_string_equal(change->name, texts[0]);
	assert_int_equal(change->before != NULL, texts[1] != NULL);
	if (texts[1] != NULL)
		assert_string_equal(change->before, texts[1]);
	assert_int_equal(change->after != NULL, texts[2] != NULL);
	if (texts[2] != NULL)
		assert_string_equal(change->after, texts[2]);
}

static void
assert_summary(const struct fixture *f, const char *expected)
{
	char summary[128];

	explanation_summary(&f->explanation, summary, sizeof(summary));
	assert_string_equal(summary, expected);
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__})

static void
a_changed_source_is_named_with_both_digests(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;
	struct digest digest;

	after.files[1] = "src/deep/b.h=long b;";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_SOURCE);
	assert_int_equal(f->explanation.total, 1);
	assert_false(f->explanation.incomplete);
	assert_change(
	    f, 0, EXPLAIN_KIND_INPUT, TEXTS("src/deep/b.h", "file", "file"));
	digest_compute(DIGEST_SHA256, "int b;", 6, &digest);
	assert_true(
	    digest_equal(&f->explanation.changes[0].before_digest, &digest));
	digest_compute(DIGEST_SHA256, "long b;", 7, &digest);
	assert_true(
	    digest_equal(&f->explanation.changes[0].after_digest, &digest));
}

static void
added_and_removed_inputs_are_told_in_order_of_paths(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.files[1] = "src/new.h=n";
	after.files[2] = "tool/x=y";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.total, 3);
	assert_change(
	    f, 0, EXPLAIN_KIND_INPUT, TEXTS("src/deep", "directory", NULL));
	assert_change(
	    f, 1, EXPLAIN_KIND_INPUT, TEXTS("src/new.h", NULL, "file"));
	assert_change(
	    f, 2, EXPLAIN_KIND_INPUT, TEXTS("tool/x", "file", "file"));
	assert_summary(f, "input src/deep removed");
}

static void
equal_subtrees_are_not_read(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.files[2] = "tool/x=y";
	explain_recipes(f, &plain, &after);
	/* Two actions, the command they share, two roots, two
	 * directories "tool"; not "src" and what is in it. */
	assert_int_equal(f->blobs.reads, 7);
}

static void
an_added_argument_is_told_alone(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.arguments[1] = "-O2";
	after.arguments[2] = "-c";
	after.arguments[3] = "a.c";
	after.arguments[4] = "-o";
	after.arguments[5] = "b.o";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_COMMAND);
	assert_int_equal(f->explanation.total, 2);
	assert_change(
	    f, 0, EXPLAIN_KIND_ARGUMENT, TEXTS("argument 1", NULL, "-O2"));
	assert_change(
	    f, 1, EXPLAIN_KIND_ARGUMENT, TEXTS("argument 5", "a.o", "b.o"));
}

static void
a_variable_is_named_with_its_values(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.variable = "/opt/bin";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_ENVIRONMENT);
	assert_int_equal(f->explanation.total, 1);
	assert_change(
	    f, 0, EXPLAIN_KIND_VARIABLE, TEXTS("PATH", "/usr/bin", "/opt/bin"));
}

static void
a_platform_property_is_named_with_its_values(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.value = "plan9";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_PLATFORM);
	assert_int_equal(f->explanation.total, 1);
	assert_change(
	    f, 0, EXPLAIN_KIND_PROPERTY, TEXTS("os", "linux", "plan9"));
}

static void
a_property_of_another_name_is_one_gone_and_one_new(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.property = "kernel";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_PLATFORM);
	assert_change(
	    f, 0, EXPLAIN_KIND_PROPERTY, TEXTS("kernel", NULL, "linux"));
	assert_change(f, 1, EXPLAIN_KIND_PROPERTY, TEXTS("os", "linux", NULL));
}

static void
a_toolchain_file_is_named_below_its_mount_point(void **state)
{
	struct fixture *f = *state;
	struct recipe before = plain, after = plain;
	const char *const old[8] = {"bin/cc=1", "include/stdio.h=a"};
	const char *const new[8] = {"bin/cc=1", "include/stdio.h=b"};
	struct digest roots[] = {
	    add_tree(&f->blobs, old), add_tree(&f->blobs, new)};
	char texts[2][DIGEST_TEXT_MAX];

	before.property = after.property = "toolchain-root:/tc";
	before.value = digest_format(&roots[0], texts[0]);
	after.value = digest_format(&roots[1], texts[1]);
	/* A source that changes too does not hide it. */
	after.files[0] = "src/a.c=int aa;";
	explain_recipes(f, &before, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_TOOLCHAIN);
	assert_int_equal(f->explanation.total, 3);
	assert_change(f, 0, EXPLAIN_KIND_PROPERTY,
	    TEXTS("toolchain-root:/tc", texts[0], texts[1]));
	assert_change(f, 1, EXPLAIN_KIND_TOOLCHAIN,
	    TEXTS("/tc/include/stdio.h", "file", "file"));
	assert_change(
	    f, 2, EXPLAIN_KIND_INPUT, TEXTS("src/a.c", "file", "file"));
	assert_summary(f, "toolchain /tc/include/stdio.h changed");
}

static void
the_first_alone_is_found_with_less_reading(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	f->limits.first_only = true;
	after.files[0] = "src/a.c=1";
	after.files[2] = "tool/x=y";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_SOURCE);
	assert_summary(f, "input src/a.c changed");
	/* Two actions, their command, two roots, two directories "src". */
	assert_int_equal(f->blobs.reads, 7);
	explanation_clear(&f->explanation);
	f->blobs.reads = 0;
	after.variable = "/opt/bin";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_ENVIRONMENT);
	assert_summary(f, "variable PATH changed");
	/* Two actions and two commands: sources come after the environment. */
	assert_int_equal(f->blobs.reads, 4);
}

static void
the_summary_is_of_the_cause(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.files[0] = "src/a.c=1";
	after.salt = "pepper";
	f->limits.first_only = true;
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_SOURCE);
	assert_summary(f, "input src/a.c changed");
	explanation_clear(&f->explanation);
	after.files[0] = plain.files[0];
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_SALT);
	assert_summary(f, "salt changed");
}

static void
salt_and_timeout_are_told(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;
	struct recipe last;

	after.salt = "pepper";
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.cause, EXPLAIN_SALT);
	explanation_clear(&f->explanation);
	last = after;
	last.timeout_s = 7;
	explain_recipes(f, &after, &last);
	assert_int_equal(f->explanation.cause, EXPLAIN_COMMAND);
	assert_change(f, 0, EXPLAIN_KIND_SETTING,
	    TEXTS("timeout", "none", "7.000000000 s"));
}

static void
texts_that_are_no_utf8_come_out_as_utf8(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.variable = "caf\xe9";
	explain_recipes(f, &plain, &after);
	assert_change(
	    f, 0, EXPLAIN_KIND_VARIABLE, TEXTS("PATH", "/usr/bin", "caf?"));
}

static void
an_action_that_is_gone_leaves_the_cause_unknown(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;
	struct digest a = add_action(&f->blobs, &plain);
	struct digest b;

	after.salt = "x";
	b = add_action(&f->blobs, &after);
	fake_blobs_remove(&f->blobs, &a);
	explain(f, &a, &b);
	assert_int_equal(f->explanation.cause, EXPLAIN_UNKNOWN);
	assert_true(f->explanation.incomplete);
	assert_non_null(strstr(f->explanation.note, "not in the store"));
}

static void
a_directory_that_is_gone_leaves_the_cause_right(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;
	struct digest a, b, root;

	after.files[0] = "src/a.c=int aa;";
	a = add_action(&f->blobs, &plain);
	b = add_action(&f->blobs, &after);
	root = add_tree(&f->blobs, plain.files);
	fake_blobs_remove(&f->blobs, &root);
	explain(f, &a, &b);
	assert_int_equal(f->explanation.cause, EXPLAIN_SOURCE);
	assert_true(f->explanation.incomplete);
	assert_int_equal(f->explanation.total, 0);
}

static void
limits_cut_the_changes_and_the_reading(void **state)
{
	struct fixture *f = *state;
	struct recipe after = plain;

	after.files[0] = "src/a.c=1";
	after.files[1] = "src/deep/b.h=2";
	after.files[2] = "tool/x=3";
	f->limits.changes = 1;
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.count, 1);
	assert_int_equal(f->explanation.total, 3);
	explanation_clear(&f->explanation);
	f->limits = roomy;
	f->limits.directories = 2;
	explain_recipes(f, &plain, &after);
	assert_int_equal(f->explanation.total, 1);
	assert_true(f->explanation.incomplete);
	explanation_clear(&f->explanation);
	f->limits = roomy;
	f->limits.bytes = 100;
	explain_recipes(f, &plain, &after);
	assert_true(f->explanation.incomplete);
}

static void
a_store_that_cannot_be_read_is_an_error(void **state)
{
	struct fixture *f = *state;
	const struct closure_source source = fake_blobs_source(&f->blobs);
	struct digest a = add_action(&f->blobs, &plain);

	f->blobs.broken = true;
	assert_int_equal(explain_actions(&f->explanation, &source, &f->limits,
			     &a, &a, &f->err),
	    -1);
	assert_int_equal(f->err.code, ERROR_INTERNAL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_changed_source_is_named_with_both_digests),
	    CASE(added_and_removed_inputs_are_told_in_order_of_paths),
	    CASE(equal_subtrees_are_not_read),
	    CASE(an_added_argument_is_told_alone),
	    CASE(a_variable_is_named_with_its_values),
	    CASE(a_platform_property_is_named_with_its_values),
	    CASE(a_property_of_another_name_is_one_gone_and_one_new),
	    CASE(a_toolchain_file_is_named_below_its_mount_point),
	    CASE(the_first_alone_is_found_with_less_reading),
	    CASE(the_summary_is_of_the_cause),
	    CASE(salt_and_timeout_are_told),
	    CASE(texts_that_are_no_utf8_come_out_as_utf8),
	    CASE(an_action_that_is_gone_leaves_the_cause_unknown),
	    CASE(a_directory_that_is_gone_leaves_the_cause_right),
	    CASE(limits_cut_the_changes_and_the_reading),
	    CASE(a_store_that_cannot_be_read_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
