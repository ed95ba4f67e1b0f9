/* SPDX-License-Identifier: Apache-2.0 */
/* Actions run whole: inputs staged from a store, a command in a sandbox, its
 * outputs as an ActionResult. */
#include "run_fixture.h"

#include <dirent.h>
#include <sys/stat.h>

#include <sys/eventfd.h>

#include "base/clock.h"

static void
command_sees_its_inputs_and_leaves_an_output(void **state)
{
	struct fixture *fixture = *state;

	fixture_add_text(fixture, "a/in.txt", "hello\n");
	fixture_script(fixture, "cat a/in.txt a/in.txt > out/deep/x.txt");
	fixture_output(fixture, "out/deep/x.txt");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->exit_code, 0);
	assert_int_equal(fixture->result->n_output_files, 1);
	fixture_assert_blob(fixture, fixture->result->output_files[0]->digest,
	    "hello\nhello\n");
	assert_false(fixture->result->output_files[0]->is_executable);
}

static void
exit_code_and_streams_are_returned(void **state)
{
	struct fixture *fixture = *state;

	fixture->run.inline_stdout_limit = 100;
	fixture_script(fixture, "echo out; echo err >&2; exit 7");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->exit_code, 7);
	fixture_assert_stdout(fixture, "out\n");
	fixture_assert_blob(fixture, fixture->result->stderr_digest, "err\n");
	assert_memory_equal(fixture->result->stdout_raw.data, "out\n", 4);
	assert_int_equal(fixture->result->stderr_raw.len, 0);
}

static void
signal_gives_128_plus_its_number(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "kill -SEGV $$");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->exit_code, 128 + 11);
}

static void
missing_output_is_left_out(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "true");
	fixture_output(fixture, "never");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_files, 0);
}

static void
large_inputs_are_mounted_executable_or_not(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 700000;
	char *script = xmalloc(size);
	char *data = xmalloc(size);
	const char *start = "#!/bin/sh\necho ran\nexit 0\n";

	memset(script, '#', size);
	memcpy(script, start, strlen(start));
	memset(data, 'x', size);
	fixture_add_file(fixture, "bin/tool", (struct str){script, size}, true);
	fixture_add_file(fixture, "data", (struct str){data, size}, false);
	fixture_add_file(fixture, "mid", (struct str){data, 100000}, false);
	fixture_script(fixture, "bin/tool; stat -c '%s %a' bin/tool data mid; "
				"echo y >> data");
	fixture_run_well(fixture);
	fixture_assert_stdout(
	    fixture, "ran\n700000 555\n700000 444\n100000 444\n");
	free(script);
	free(data);
}

/* By some ways of staging it is refused, by others it is the action's own. */
static void
changing_inputs_changes_nothing_in_the_store(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 700000;
	char *data = xmalloc(size);
	struct blob *blob;
	struct digest digest;
	struct stat status;
	struct error err;
	char last;

	memset(data, 'x', size);
	fixture_put(fixture, (struct str){data, size}, &digest);
	fixture_add_file(fixture, "data", (struct str){data, size}, false);
	fixture_add_file(fixture, "tool", (struct str){data, size}, true);
	fixture_script(fixture,
	    "for file in data tool; do chmod 666 $file; echo y > $file; "
	    "echo y >> $file; mv -f $file moved; rm -f moved; "
	    "done 2> /dev/null; true");
	fixture_run_well(fixture);
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_int_equal(fstat(blob_descriptor(blob), &status), 0);
	assert_int_equal(status.st_size, size);
	assert_int_equal(status.st_mode & 0222, 0);
	assert_int_equal(
	    pread(blob_descriptor(blob), &last, 1, (off_t)size - 1), 1);
	assert_int_equal(last, 'x');
	blob_free(blob);
	free(data);
}

/* Names in the directory but for dots. */
static size_t
count_names(const char *path)
{
	DIR *stream = opendir(path);
	const struct dirent *entry;
	size_t count = 0;

	while (stream != NULL && (entry = readdir(stream)) != NULL)
		count += entry->d_name[0] != '.';
	if (stream != NULL)
		closedir(stream);
	return count;
}

/* By images: the second and third run find src as a layer. */
static void
inputs_that_come_again_are_the_actions_own_each_time(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 300000;
	char *data = xmalloc(size);
	char path[96];
	char text[32];

	memset(data, 'd', size);
	for (int i = 0; i < 80; i++) {
		snprintf(path, sizeof(path), "src/f%d", i);
		snprintf(text, sizeof(text), "text %d\n", i);
		fixture_add_text(fixture, path, text);
	}
	fixture_add_text(fixture, "src/deep/x", "deep\n");
	fixture_add_text(fixture, "top", "");
	fixture_add_file(fixture, "src/large", (struct str){data, size}, true);
	fixture_script(fixture,
	    "ls -a; cat src/f7 src/deep/x; stat -c '%a %s %Y' src/large; "
	    "stat -c '%a %u %g %Y' src src/f9 src/deep; "
	    "chmod u+w src/f7; echo changed > src/f7; rm -f src/f8; "
	    "echo new > src/new; mkdir -p src/out/a; mv src/deep src/moved; "
	    "cat src/f7 src/moved/x src/new; ls src | wc -l");
	for (int i = 0; i < 3; i++) {
		fixture_run_well(fixture);
		fixture->root_given = true;
		assert_int_equal(fixture->result->exit_code, 0);
		fixture_assert_stdout(fixture,
		    ".\n..\nsrc\ntop\ntext 7\ndeep\n555 300000 946684800\n"
		    "755 20001 20001 946684800\n444 20001 20001 946684800\n"
		    "755 20001 20001 946684800\n"
		    "changed\ndeep\nnew\n83\n");
		snprintf(path, sizeof(path), "%s/subtrees", fixture->path);
		assert_int_equal(count_names(path),
		    i > 0 &&
			staging_has_images(spawner_staging(fixture_spawner)));
	}
	free(data);
}

static void
a_directory_that_comes_again_takes_one_descriptor(void **state)
{
	struct fixture *fixture = *state;
	bool images = staging_has_images(spawner_staging(fixture_spawner));
	size_t before;
	char path[32];

	for (int i = 0; i < 80; i++) {
		snprintf(path, sizeof(path), "src/f%d", i);
		fixture_add_text(fixture, path, "small\n");
	}
	fixture_argument(fixture, "true");
	fixture_run_well(fixture);
	fixture->root_given = true;
	before = count_names("/proc/self/fd");
	for (int i = 0; i < 2; i++) {
		fixture_run_well(fixture);
		assert_int_equal(
		    count_names("/proc/self/fd"), images ? before + 1 : before);
	}
}

static void
images_of_inputs_are_within_the_cache_size(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 60000;
	char *data = xmalloc(size);
	char path[80];
	struct error err;

	if (!staging_has_images(spawner_staging(fixture_spawner)))
		skip();
	file_cache_close(fixture->files);
	snprintf(path, sizeof(path), "%s/small", fixture->path);
	fixture->files = file_cache_open(path, 100000, &err);
	fixture->run.files = fixture->files;
	memset(data, 'd', size);
	fixture_add_file(fixture, "a", (struct str){data, size}, false);
	fixture_argument(fixture, "true");
	/* What one action takes, the next one has again. */
	for (int i = 0; i < 3; i++) {
		fixture_run_well(fixture);
		fixture->root_given = true;
	}
	fixture->root_given = false;
	merkle_builder_free(fixture->tree);
	fixture->tree = merkle_builder_new(FIXTURE_FUNCTION);
	fixture_add_file(fixture, "a", (struct str){data, size}, false);
	data[0] = 'e';
	fixture_add_file(fixture, "b", (struct str){data, size}, false);
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(fixture->error.text, "--cache-size"));
	free(data);
}

/* Bodies are below all layers, also those of files beside and in layers that
 * have others below them. */
static void
large_files_are_read_beside_directories_that_come_again(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 300000;
	char *data = xmalloc(size);
	char path[96];

	memset(data, 'd', size);
	for (int i = 0; i < 160; i++) {
		snprintf(path, sizeof(path), "%c/f%d", "ab"[i % 2], i);
		fixture_add_text(fixture, path, "small\n");
	}
	fixture_add_file(fixture, "large", (struct str){data, size}, false);
	data[0] = 'a';
	fixture_add_file(fixture, "a/large", (struct str){data, size}, false);
	data[0] = 'b';
	fixture_add_file(fixture, "b/large", (struct str){data, size}, false);
	fixture_script(fixture,
	    "for file in large a/large b/large; do head -c 1 $file; "
	    "wc -c < $file; done");
	for (int i = 0; i < 3; i++) {
		fixture_run_well(fixture);
		fixture->root_given = true;
		fixture_assert_stdout(fixture, "d300000\na300000\nb300000\n");
	}
	free(data);
}

static void
inputs_have_fixed_modes_and_times(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 300000;
	char *data = xmalloc(size);

	fixture_add_text(fixture, "dir/file", "x");
	fixture_add_file(fixture, "dir/tool", STR("#!/bin/sh\n"), true);
	memset(data, 'd', size);
	fixture_add_file(fixture, "big", (struct str){data, size}, false);
	fixture_add_file(fixture, "large", (struct str){data, size}, true);
	fixture_script(fixture, "stat -c '%n %a %u %Y' dir dir/file dir/tool; "
				"stat -c '%n %a %Y' big large");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture,
	    "dir 755 20001 946684800\ndir/file 444 20001 946684800\n"
	    "dir/tool 555 20001 946684800\n"
	    "big 444 946684800\nlarge 555 946684800\n");
	free(data);
}

static void
environment_is_exactly_the_commands(void **state)
{
	struct fixture *fixture = *state;

	fixture_argument(fixture, "/usr/bin/env");
	fixture_variable(fixture, "A", "1");
	fixture_variable(fixture, "B", "two words");
	fixture_run_well(fixture);
	fixture_assert_stdout(
	    fixture, "A=1\nB=two words\nPATH=/bin:/usr/bin\n");
}

static void
program_is_searched_in_the_commands_path(void **state)
{
	struct fixture *fixture = *state;

	fixture_add_file(
	    fixture, "tools/mine", STR("#!/bin/sh\necho found\n"), true);
	fixture_argument(fixture, "mine");
	fixture_variable(fixture, "PATH", "/nowhere:/b/tools");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "found\n");
}

static void
relative_program_is_seen_from_the_working_directory(void **state)
{
	struct fixture *fixture = *state;

	fixture_add_file(
	    fixture, "wd/tool", STR("#!/bin/sh\npwd > out\n"), true);
	fixture->command.working_directory = fixture_bytes("wd");
	fixture_argument(fixture, "./tool");
	fixture_output(fixture, "out");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_files, 1);
	fixture_assert_blob(
	    fixture, fixture->result->output_files[0]->digest, "/b/wd\n");
}

static void
absent_program_is_a_failed_precondition(void **state)
{
	struct fixture *fixture = *state;

	fixture_argument(fixture, "no-such-program");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(fixture->error.text, "no-such-program"));
	assert_null(fixture->result);
}

static void
absent_working_directory_is_an_invalid_argument(void **state)
{
	struct fixture *fixture = *state;

	fixture->command.working_directory = fixture_bytes("none");
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static void
timeout_kills_and_keeps_the_streams(void **state)
{
	struct fixture *fixture = *state;
	int64_t start;

	fixture->run.timeout_ms = 300;
	fixture_script(fixture, "echo early; (setsid sleep 60 &) ; sleep 60");
	/* A slow machine may need longer to come to the echo. */
	do {
		start = clock_monotonic_ms();
		fixture_run(fixture);
		fixture->root_given = true;
		assert_int_equal(fixture->rc, -1);
		assert_int_equal(fixture->error.code, ERROR_DEADLINE_EXCEEDED);
		assert_non_null(fixture->result);
		assert_true(clock_monotonic_ms() - start < 60000);
		fixture->run.timeout_ms *= 4;
	} while (fixture->result->stdout_digest == NULL &&
		 fixture->run.timeout_ms < 40000);
	fixture_assert_stdout(fixture, "early\n");
}

static void
cancel_ends_the_run(void **state)
{
	struct fixture *fixture = *state;

	fixture->run.cancel_fd = eventfd(1, EFD_CLOEXEC);
	fixture_script(fixture, "sleep 60");
	fixture_run(fixture);
	close(fixture->run.cancel_fd);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_CANCELLED);
}

static void
streams_are_cut_at_their_limit_and_say_so(void **state)
{
	struct fixture *fixture = *state;
	char *content;

	fixture->run.stream_limit = 1000;
	fixture_script(fixture, "head -c 3000000 /dev/zero | tr '\\0' x");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->exit_code, 0);
	content = fixture_read(fixture, fixture->result->stdout_digest);
	assert_int_equal(strspn(content, "x"), 1000);
	assert_non_null(strstr(content, "2999000 bytes more were dropped"));
	free(content);
}

static void
missing_input_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_file file = {.executable = false};
	struct error err;

	digest_compute(FIXTURE_FUNCTION, "absent", 6, &file.digest);
	assert_int_equal(
	    merkle_builder_add_file(fixture->tree, STR("f"), &file, &err), 0);
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(fixture->missing.count, 1);
	assert_true(digest_equal(&fixture->missing.items[0], &file.digest));
}

static void
input_root_can_be_elsewhere(void **state)
{
	struct fixture *fixture = *state;

	fixture_add_text(fixture, "f", "x");
	fixture_property(
	    fixture, "InputRootAbsolutePath", "/home/build/project");
	fixture_script(fixture, "pwd; ls");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "/home/build/project\nf\n");
}

static void
input_root_over_a_device_directory_is_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture_property(fixture, "InputRootAbsolutePath", "/proc/x");
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static void
metadata_has_ordered_times_and_usage(void **state)
{
	struct fixture *fixture = *state;
	const Reapi__ExecutedActionMetadata *metadata;

	fixture_script(fixture, "sleep 0.1");
	fixture_run_well(fixture);
	metadata = fixture->result->execution_metadata;
	assert_string_equal(metadata->worker, "tester");
	assert_true(metadata->execution_completed_timestamp->seconds >=
		    metadata->execution_start_timestamp->seconds);
	assert_true(metadata->virtual_execution_duration->nanos > 90000000 ||
		    metadata->virtual_execution_duration->seconds > 0);
	assert_int_equal(metadata->n_auxiliary_metadata, 2);
	assert_true(metadata->auxiliary_metadata[0]->value.len > 4);
}

static int
run_all(void)
{
#define RUN_TEST(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(command_sees_its_inputs_and_leaves_an_output),
	    RUN_TEST(exit_code_and_streams_are_returned),
	    RUN_TEST(signal_gives_128_plus_its_number),
	    RUN_TEST(missing_output_is_left_out),
	    RUN_TEST(large_inputs_are_mounted_executable_or_not),
	    RUN_TEST(changing_inputs_changes_nothing_in_the_store),
	    RUN_TEST(inputs_that_come_again_are_the_actions_own_each_time),
	    RUN_TEST(large_files_are_read_beside_directories_that_come_again),
	    RUN_TEST(a_directory_that_comes_again_takes_one_descriptor),
	    RUN_TEST(images_of_inputs_are_within_the_cache_size),
	    RUN_TEST(inputs_have_fixed_modes_and_times),
	    RUN_TEST(environment_is_exactly_the_commands),
	    RUN_TEST(program_is_searched_in_the_commands_path),
	    RUN_TEST(relative_program_is_seen_from_the_working_directory),
	    RUN_TEST(absent_program_is_a_failed_precondition),
	    RUN_TEST(absent_working_directory_is_an_invalid_argument),
	    RUN_TEST(timeout_kills_and_keeps_the_streams),
	    RUN_TEST(cancel_ends_the_run),
	    RUN_TEST(streams_are_cut_at_their_limit_and_say_so),
	    RUN_TEST(missing_input_is_named),
	    RUN_TEST(input_root_can_be_elsewhere),
	    RUN_TEST(input_root_over_a_device_directory_is_invalid),
	    RUN_TEST(metadata_has_ordered_times_and_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
	return fixture_run_stagings(run_all);
}
