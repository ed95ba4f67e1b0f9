/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of an action's outputs: files, directories, links, properties,
 * and what is refused. */
#include "run_fixture.h"

#include "cas/tree.h"

static int
visit_nothing(void *cookie, const struct digest *digest,
    const Reapi__Directory *directory, struct error *err)
{
	size_t *count = cookie;

	(void)digest;
	(void)directory;
	(void)err;
	++*count;
	return 0;
}

static void
output_directory_becomes_a_sorted_tree_and_directories(void **state)
{
	struct fixture *fixture = *state;
	size_t count = 0;
	struct tree_options options = {.function = FIXTURE_FUNCTION,
	    .sorted = true,
	    .visit = visit_nothing,
	    .cookie = &count};
	const Reapi__OutputDirectory *directory;
	struct digest expected;
	struct digest root;
	struct error err;
	char *tree;

	fixture_script(fixture,
	    "mkdir -p d/sub/empty; echo 1 > d/f; echo 2 > d/sub/g; "
	    "ln -s ../f d/sub/link; chmod +x d/sub/g");
	fixture_output(fixture, "d");
	fixture->command.output_directory_format =
	    REAPI__COMMAND__OUTPUT_DIRECTORY_FORMAT__TREE_AND_DIRECTORY;
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_directories, 1);
	directory = fixture->result->output_directories[0];
	assert_true(directory->is_topologically_sorted);
	tree = fixture_read(fixture, directory->tree_digest);
	if (tree_walk(
		(struct str){tree, (size_t)directory->tree_digest->size_bytes},
		&options, &root, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(count, 3);
	assert_int_equal(digest_from_message(FIXTURE_FUNCTION,
			     directory->root_directory_digest, &expected, &err),
	    0);
	assert_true(digest_equal(&root, &expected));
	free(tree);
	free(fixture_read(fixture, directory->root_directory_digest));
}

static void
output_links_are_returned_and_not_followed(void **state)
{
	struct fixture *fixture = *state;
	const Reapi__ActionResult *result;

	fixture_script(fixture,
	    "ln -s /etc/passwd abs; ln -s nowhere dangling; mkdir d; "
	    "ln -s d to_directory");
	fixture_output(fixture, "abs");
	fixture_output(fixture, "dangling");
	fixture_output(fixture, "to_directory");
	fixture_run_well(fixture);
	result = fixture->result;
	assert_int_equal(result->n_output_symlinks, 3);
	assert_int_equal(result->n_output_file_symlinks, 2);
	assert_int_equal(result->n_output_files, 0);
	assert_memory_equal(
	    result->output_symlinks[0]->target.data, "/etc/passwd", 11);
}

static void
older_output_fields_check_the_kind(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "mkdir f d; ln -s d l");
	fixture_output_directory(fixture, "d");
	fixture_output_directory(fixture, "l");
	fixture_output_file(fixture, "f");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(fixture->error.text, "\"f\""));
}

static void
older_output_fields_list_links_by_kind(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "mkdir d; echo > t; ln -s d l; ln -s t f");
	fixture_output_file(fixture, "f");
	fixture_output_directory(fixture, "d");
	fixture_output_directory(fixture, "l");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_directories, 1);
	assert_int_equal(fixture->result->n_output_directory_symlinks, 1);
	assert_int_equal(fixture->result->n_output_file_symlinks, 1);
	assert_int_equal(fixture->result->n_output_symlinks, 0);
}

static void
fifo_as_output_is_refused(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "mkdir d; mkfifo d/pipe");
	fixture_output(fixture, "d");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(fixture->error.text, "d/pipe"));
	assert_null(fixture->result);
}

static void
output_behind_a_link_that_leads_out_is_refused(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "rmdir out; ln -s /etc out");
	fixture_output(fixture, "out/passwd");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
}

static void
output_path_that_leads_out_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "true");
	fixture_output(fixture, "../etc/passwd");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static void
large_output_is_stored_whole(void **state)
{
	struct fixture *fixture = *state;
	char *content;

	fixture_script(fixture, "head -c 5000000 /dev/zero | tr '\\0' z > big");
	fixture_output(fixture, "big");
	fixture_run_well(fixture);
	assert_int_equal(
	    fixture->result->output_files[0]->digest->size_bytes, 5000000);
	content =
	    fixture_read(fixture, fixture->result->output_files[0]->digest);
	assert_int_equal(strspn(content, "z"), 5000000);
	free(content);
}

static void
mounted_input_below_an_output_directory_is_seen_there(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 400000;
	char *data = xmalloc(size);
	struct digest expected;
	struct digest seen;
	struct error err;

	memset(data, 'q', size);
	fixture_add_file(fixture, "d/in", (struct str){data, size}, false);
	digest_compute(FIXTURE_FUNCTION, data, size, &expected);
	fixture_script(fixture, "echo 1 > d/new");
	fixture_output(fixture, "d/in");
	fixture_output(fixture, "d/new");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_files, 2);
	if (digest_from_message(FIXTURE_FUNCTION,
		fixture->result->output_files[0]->digest, &seen, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(digest_equal(&seen, &expected));
	free(data);
}

static void
node_properties_are_returned_where_asked(void **state)
{
	struct fixture *fixture = *state;
	const Reapi__NodeProperties *properties;

	fixture_script(
	    fixture, "echo > f; chmod 640 f; touch -d @1234567890 f");
	fixture_output(fixture, "f");
	fixture_node_property(fixture, "mtime");
	fixture_node_property(fixture, "unix_mode");
	fixture_run_well(fixture);
	properties = fixture->result->output_files[0]->node_properties;
	assert_non_null(properties);
	assert_int_equal(properties->unix_mode->value, 0640);
	assert_int_equal(properties->mtime->seconds, 1234567890);
}

static void
unknown_node_property_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "true");
	fixture_node_property(fixture, "colour");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static int
run_all(void)
{
#define RUN_TEST(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(output_directory_becomes_a_sorted_tree_and_directories),
	    RUN_TEST(output_links_are_returned_and_not_followed),
	    RUN_TEST(older_output_fields_check_the_kind),
	    RUN_TEST(older_output_fields_list_links_by_kind),
	    RUN_TEST(fifo_as_output_is_refused),
	    RUN_TEST(output_behind_a_link_that_leads_out_is_refused),
	    RUN_TEST(output_path_that_leads_out_is_invalid),
	    RUN_TEST(large_output_is_stored_whole),
	    RUN_TEST(mounted_input_below_an_output_directory_is_seen_there),
	    RUN_TEST(node_properties_are_returned_where_asked),
	    RUN_TEST(unknown_node_property_is_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
	return fixture_run_stagings(run_all);
}
