/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs that are reported while their action runs: it sleeps until the report
 * of its last output has it cancelled, so that none can be late. */
#include "run_fixture.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/clock.h"
#include "protos/early_outputs.h"
#include "worker/early_outputs.h"
#include "worker/run_command.h"

#define SLEEP "sleep 60"

static struct {
	const char *last; /* its report ends the action */
	size_t reports;
	size_t count; /* of files, in the last report */
	char paths[EARLY_OUTPUTS_FILES_MAX][64];
	bool executable[EARLY_OUTPUTS_FILES_MAX];
	char hashes[EARLY_OUTPUTS_FILES_MAX][65];
} seen;

static void
report(void *cookie, Workerapi__EarlyOutputs *message)
{
	struct fixture *fixture = cookie;
	const uint64_t one = 1;

	seen.reports++;
	seen.count = message->n_files;
	for (size_t i = 0; i < message->n_files; i++) {
		const Reapi__OutputFile *file = message->files[i];

		snprintf(seen.paths[i], sizeof(seen.paths[i]), "%.*s",
		    (int)file->path.len, (const char *)file->path.data);
		snprintf(seen.hashes[i], sizeof(seen.hashes[i]), "%.*s",
		    (int)file->digest->hash.len,
		    (const char *)file->digest->hash.data);
		seen.executable[i] = file->is_executable;
		if (strcmp(seen.paths[i], seen.last) == 0)
			assert_int_equal(
			    write(fixture->run.cancel_fd, &one, sizeof(one)),
			    sizeof(one));
	}
}

static int
early_setup(void **state)
{
	struct fixture *fixture;
	int rc = fixture_setup(state);

	memset(&seen, 0, sizeof(seen));
	seen.last = "";
	if (rc != 0)
		return rc;
	fixture = *state;
	fixture->run.early = report;
	fixture->run.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fixture->run.cancel_fd == -1 ? -1 : 0;
}

static int
early_teardown(void **state)
{
	struct fixture *fixture = *state;

	file_close(&fixture->run.cancel_fd);
	return fixture_teardown(state);
}

static void
expect_file(
    struct fixture *fixture, size_t i, const char *path, const char *text)
{
	char hash[DIGEST_TEXT_MAX];
	struct digest digest;
	struct buffer content;
	struct error err;

	digest_compute(FIXTURE_FUNCTION, text, strlen(text), &digest);
	assert_true(i < seen.count);
	assert_string_equal(seen.paths[i], path);
	assert_string_equal(seen.hashes[i], digest_format_hash(&digest, hash));
	buffer_init(&content, 1 << 20);
	assert_int_equal(
	    store_read(fixture->store, &digest, &content, &err), 1);
	assert_string_equal(content.data, text);
	buffer_clear(&content);
}

static void
run_until_last(struct fixture *fixture, const char *last)
{
	seen.last = last;
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_CANCELLED);
}

static void
a_file_is_reported_while_its_action_runs(void **state)
{
	struct fixture *fixture = *state;

	fixture_property(fixture, EARLY_OUTPUTS_PROPERTY, ".d,.rmeta");
	fixture_output(fixture, "out/a.d");
	fixture_output(fixture, "out/liba.rlib");
	fixture_output(fixture, "out/liba.rmeta");
	fixture_script(fixture,
	    "echo parts > out/a.d; echo code > out/liba.rlib; "
	    "echo meta > out/tmp; chmod 755 out/tmp; "
	    "mv out/tmp out/liba.rmeta; " SLEEP);
	run_until_last(fixture, "out/liba.rmeta");
	assert_int_equal(seen.reports, 2);
	assert_int_equal(seen.count, 2);
	expect_file(fixture, 0, "out/a.d", "parts\n");
	expect_file(fixture, 1, "out/liba.rmeta", "meta\n");
	assert_true(seen.executable[1]);
}

static void
it_may_be_large_and_below_an_input(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 300000;
	char *data = xmalloc(size + 1);

	memset(data, 'm', size);
	data[size] = '\0';
	fixture_add_file(fixture, "in/data", (struct str){data, size}, false);
	fixture_property(fixture, EARLY_OUTPUTS_PROPERTY, "in/x");
	fixture_output(fixture, "in/x");
	fixture_script(fixture, "cp in/data in/y; mv in/y in/x; " SLEEP);
	run_until_last(fixture, "in/x");
	expect_file(fixture, 0, "in/x", data);
	free(data);
}

static void
what_is_no_file_is_not_reported_and_each_file_once(void **state)
{
	struct fixture *fixture = *state;

	fixture_property(fixture, EARLY_OUTPUTS_PROPERTY, ",.m,");
	fixture_output(fixture, "link.m");
	fixture_output(fixture, "pipe.m");
	fixture_output(fixture, "directory.m");
	fixture_output(fixture, "twice.m");
	fixture_output(fixture, "gone/away.m");
	fixture_output(fixture, "z.m");
	fixture_script(fixture,
	    "ln -s /etc/passwd l; mv l link.m; "
	    "mkfifo p; mv p pipe.m; mkdir d; mv d directory.m; "
	    "echo 1 > twice.m; "
	    "mv gone moved; ln -s /tmp gone; echo x > moved/away.m; "
	    "sleep 0.05; echo 2 > twice.m; echo z > z.m; " SLEEP);
	run_until_last(fixture, "z.m");
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.paths[0], "twice.m");
	assert_string_equal(seen.paths[1], "z.m");
}

static void
the_result_is_what_it_is_without(void **state)
{
	struct fixture *fixture = *state;

	fixture_property(fixture, EARLY_OUTPUTS_PROPERTY, ".rmeta");
	fixture_output(fixture, "liba.rmeta");
	fixture_output(fixture, "liba.rlib");
	fixture_script(
	    fixture, "echo meta > liba.rmeta; echo code > liba.rlib");
	fixture_run_well(fixture);
	assert_int_equal(fixture->result->n_output_files, 2);
	fixture_assert_blob(
	    fixture, fixture->result->output_files[0]->digest, "meta\n");
}

static void
nothing_is_reported_that_is_not_asked_for(void **state)
{
	struct fixture *fixture = *state;

	fixture_output(fixture, "liba.rmeta");
	fixture_script(fixture, "echo meta > liba.rmeta; sleep 0.1");
	fixture_run_well(fixture);
	assert_int_equal(seen.reports, 0);
}

/* --- the end -------------------------------------------------------------- */

static struct {
	sem_t begun; /* the upload that is under way when all ends */
	char directory[40];
	size_t uploads;
} end;

static void
write_file(const char *name)
{
	char path[64];
	struct error err;

	snprintf(path, sizeof(path), "%s/%s", end.directory, name);
	assert_int_equal(file_replace(path, name, strlen(name), &err), 0);
}

/* Whether an event has been written that nobody has read: by /proc, which
 * tells of the counters of all eventfds. */
static bool
is_told(void)
{
	bool told = false;

	for (int fd = 0; fd < 256 && !told; fd++) {
		char path[40], line[128];
		FILE *info;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		info = fopen(path, "re");
		while (info != NULL && !told &&
		       fgets(line, sizeof(line), info) != NULL)
			told = strncmp(line, "eventfd-count:", 14) == 0 &&
			       strtoull(line + 14, NULL, 16) > 0;
		if (info != NULL)
			fclose(info);
	}
	return told;
}

/* While the first is uploaded two others come, while the second is the end. */
static int
upload_until_the_end(
    void *cookie, const struct outputs *outputs, struct error *err)
{
	int64_t until_ms = clock_monotonic_ms() + 60000;

	(void)cookie;
	(void)outputs;
	(void)err;
	end.uploads++;
	if (end.uploads == 1) {
		write_file("b.m");
		write_file("c.m");
		return 0;
	}
	sem_post(&end.begun);
	while (!is_told() && clock_monotonic_ms() < until_ms)
		usleep(1000);
	return 0;
}

static void
no_upload_begins_after_the_end(void **state)
{
	struct run_command_output list[] = {
	    {STR("a.m"), "a.m", RUN_COMMAND_OUTPUT_FILE},
	    {STR("b.m"), "b.m", RUN_COMMAND_OUTPUT_FILE},
	    {STR("c.m"), "c.m", RUN_COMMAND_OUTPUT_FILE}};
	const struct run_command command = {.outputs = list, .output_count = 3};
	struct early_outputs_options options = {.wanted = STR(".m"),
	    .command = &command,
	    .function = FIXTURE_FUNCTION,
	    .max_file_size = 1 << 20,
	    .upload = upload_until_the_end,
	    .report = report};
	struct early_outputs *early;
	struct error err;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.last = "";
	end.uploads = 0;
	strcpy(end.directory, "/tmp/toolroot-early-XXXXXX");
	assert_non_null(mkdtemp(end.directory));
	assert_int_equal(sem_init(&end.begun, 0, 0), 0);
	options.input_root = open(end.directory, O_PATH | O_CLOEXEC);
	early = early_outputs_start(&options);
	assert_non_null(early);
	write_file("a.m");
	assert_int_equal(sem_wait(&end.begun), 0);
	early_outputs_stop(early);
	assert_int_equal(end.uploads, 2);
	assert_int_equal(seen.reports, 2);
	file_close(&options.input_root);
	sem_destroy(&end.begun);
	assert_int_equal(file_remove_tree(end.directory, &err), 0);
}

/* --- an action that keeps us busy ------------------------------------------
 */

#define RENAMES 60000

static int
upload_nothing(void *cookie, const struct outputs *outputs, struct error *err)
{
	(void)outputs;
	(void)err;
	sem_post(cookie);
	return 0;
}

static int
sem_timedwait_ms(sem_t *sem, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	return sem_timedwait(sem, &until);
}

static double
cpu_seconds(int who)
{
	struct rusage usage;

	assert_int_equal(getrusage(who, &usage), 0);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Processor time of all other threads, as a part of what this one takes. */
static double
cost_of_renames(void)
{
	double ours = cpu_seconds(RUSAGE_THREAD);
	double all = cpu_seconds(RUSAGE_SELF);
	char paths[2][64];

	snprintf(paths[0], sizeof(paths[0]), "%s/noise", end.directory);
	snprintf(paths[1], sizeof(paths[1]), "%s/louder", end.directory);
	write_file("noise");
	for (size_t i = 0; i < RENAMES; i++)
		assert_int_equal(rename(paths[i % 2], paths[(i + 1) % 2]), 0);
	ours = cpu_seconds(RUSAGE_THREAD) - ours;
	all = cpu_seconds(RUSAGE_SELF) - all;
	return (all - ours) / ours;
}

static bool
is_watching(void)
{
	bool found = false;

	for (int fd = 0; fd < 256 && !found; fd++) {
		char path[40], target[64];
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		found = strstr(target, "inotify") != NULL;
	}
	return found;
}

static void
endless_renames_cost_us_little_and_nothing_once_all_is_told(void **state)
{
	struct run_command_output output = {
	    STR("a.m"), "a.m", RUN_COMMAND_OUTPUT_FILE};
	const struct run_command command = {
	    .outputs = &output, .output_count = 1};
	struct early_outputs_options options = {.wanted = STR(".m"),
	    .command = &command,
	    .function = FIXTURE_FUNCTION,
	    .max_file_size = 1 << 20,
	    .upload = upload_nothing,
	    .report = report};
	struct early_outputs *early;
	struct error err;
	sem_t told;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.last = "";
	sem_init(&told, 0, 0);
	options.cookie = &told;
	strcpy(end.directory, "/tmp/toolroot-early-XXXXXX");
	assert_non_null(mkdtemp(end.directory));
	options.input_root = open(end.directory, O_PATH | O_CLOEXEC);
	early = early_outputs_start(&options);
	assert_non_null(early);
	assert_true(cost_of_renames() < 0.15);
	/* What was lost when the kernel's queue was full comes later. */
	do
		write_file("a.m");
	while (sem_timedwait_ms(&told, 100) == -1);
	while (is_watching())
		usleep(1000);
	early_outputs_stop(early);
	assert_int_equal(seen.reports, 1);
	file_close(&options.input_root);
	sem_destroy(&told);
	assert_int_equal(file_remove_tree(end.directory, &err), 0);
}

/* --- what is asked for ---------------------------------------------------- */

/* Whether an output is watched when so many other endings stand before its. */
static bool
is_watched_after(size_t others)
{
	struct run_command_output output = {
	    STR("a.m"), "a.m", RUN_COMMAND_OUTPUT_FILE};
	const struct run_command command = {
	    .outputs = &output, .output_count = 1};
	struct early_outputs_options options = {.command = &command,
	    .input_root = open("/tmp", O_PATH | O_CLOEXEC),
	    .report = report};
	struct early_outputs *early;
	struct buffer wanted;

	buffer_init(&wanted, 1000);
	for (size_t i = 0; i < others; i++)
		assert_int_equal(buffer_printf(&wanted, ".%zu,", i), 0);
	assert_int_equal(buffer_printf(&wanted, ".m"), 0);
	options.wanted = buffer_str(&wanted);
	early = early_outputs_start(&options);
	early_outputs_stop(early);
	buffer_clear(&wanted);
	file_close(&options.input_root);
	return early != NULL;
}

static void
so_many_endings_are_looked_for_and_no_more(void **state)
{
	(void)state;
	assert_true(is_watched_after(0));
	assert_true(is_watched_after(EARLY_OUTPUTS_ENDS_MAX - 1));
	assert_false(is_watched_after(EARLY_OUTPUTS_ENDS_MAX));
}

#define EARLY_TEST(test) \
	cmocka_unit_test_setup_teardown(test, early_setup, early_teardown)

static int
run_all(void)
{
	const struct CMUnitTest tests[] = {
	    EARLY_TEST(a_file_is_reported_while_its_action_runs),
	    EARLY_TEST(it_may_be_large_and_below_an_input),
	    EARLY_TEST(what_is_no_file_is_not_reported_and_each_file_once),
	    EARLY_TEST(the_result_is_what_it_is_without),
	    EARLY_TEST(nothing_is_reported_that_is_not_asked_for),
	    cmocka_unit_test(no_upload_begins_after_the_end),
	    cmocka_unit_test(
		endless_renames_cost_us_little_and_nothing_once_all_is_told),
	    cmocka_unit_test(so_many_endings_are_looked_for_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
	return fixture_run_stagings(run_all);
}
