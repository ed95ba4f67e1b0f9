/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds of a client that only caches, on two servers in turns: one explains
 * misses, the other does not. tests/bench/explain starts them.
 *
 *	bench_explain ACTIONS EVERY SECONDS HOST:PORT PID HOST:PORT PID
 *
 * A build looks for ACTIONS actions, and one in EVERY has a changed source: its
 * inputs, command and outputs are uploaded, and its result is stored. All calls
 * of a kind are made with many in flight, so that the server is busy. The
 * servers take turns of one build each, first second second first, then second
 * first first second, so that what slowly changes meets both alike. After its
 * turn the one that explains is asked, as `toolroot explain` does, until it has
 * explained all that happened, so that this takes nothing from the other.
 *
 * A line for each four turns but the first, three figures of both servers:
 * actions a second; processor time by action in microseconds, until the last
 * answer, of all threads but the one that explains; and of all threads. At the
 * end a line with one figure of both: processor time by action of all that
 * happened, until the servers rest.
 */
#include <dirent.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "rpc/runtime.h"
#include "tests/bench/load_messages.h"

#define API "/build.bazel.remote.execution.v2."
#define GET_PATH API "ActionCache/GetActionResult"
#define PUT_PATH API "ActionCache/UpdateActionResult"
#define MISSES_PATH "/toolroot.explain.v1.Explanations/ListMisses"
#define IN_FLIGHT 64
#define ARGUMENTS 60
#define SOURCES 20
#define SOURCE_BYTES 4096
#define OUTPUT_BYTES (16 * KIB)
/* Longer than anything waits to be done in peace. */
#define REST_US 3000000
#define TURNS 4
#define PATH_SIZE 64

struct build {
	struct load_client client;
	int pid;                   /* of the server */
	char schedstat[PATH_SIZE]; /* of its thread that explains; or "" */
	double begun_us;           /* processor time of the server */
	struct digest *actions;    /* as they are now */
	size_t *versions;
	size_t count;
	size_t every;
	size_t number;   /* of the build */
	size_t *changed; /* numbers of actions */
	size_t changes;
};

/* --- actions ---------------------------------------------------------------
 */

/* The same number and version are the same content. */
static void
put_blob(struct buffer *batch, uint64_t number, uint64_t version, size_t len,
    struct digest *digest)
{
	char content[OUTPUT_BYTES];

	fill(content, len, number << 20 | version);
	digest_compute(DIGEST_SHA256, content, len, digest);
	put_update(batch, content, len);
}

static void
put_file(struct buffer *directory, uint32_t field, const char *name,
    const struct digest *digest)
{
	struct buffer node;

	buffer_init(&node, KIB);
	put_text(&node, 1, name);
	put_digest(&node, 2, digest);
	put_message(directory, field, &node);
}

/* Uploads it, too; takes the message. */
static void
put_stored(struct buffer *batch, struct buffer *message, struct digest *digest)
{
	digest_compute(DIGEST_SHA256, message->data, message->len, digest);
	put_update(batch, message->data, message->len);
	buffer_clear(message);
}

/* "src" with some files, of which the first has the version. */
static void
put_inputs(
    struct buffer *batch, size_t number, size_t version, struct digest *root)
{
	struct buffer directory;
	struct digest digest;
	char name[32];

	buffer_init(&directory, MIB);
	for (size_t i = 0; i < SOURCES; i++) {
		snprintf(name, sizeof(name), "file-%02zu.c", i);
		if (i == 0)
			put_blob(batch, number, version, SOURCE_BYTES, &digest);
		else
			blob_digest(i, &digest);
		put_file(&directory, 1, name, &digest);
	}
	put_stored(batch, &directory, &digest);
	buffer_init(&directory, MIB);
	put_file(&directory, 2, "src", &digest);
	put_stored(batch, &directory, root);
}

static void
put_command(struct buffer *batch, size_t number, struct digest *digest)
{
	struct buffer command, variable;
	char text[64];

	buffer_init(&command, MIB);
	for (size_t i = 0; i < ARGUMENTS; i++) {
		snprintf(text, sizeof(text), "-Dsome_argument=%zu", i);
		put_text(&command, 1, text);
	}
	buffer_init(&variable, KIB);
	put_text(&variable, 1, "PATH");
	put_text(&variable, 2, "/bin:/usr/bin");
	put_message(&command, 2, &variable);
	snprintf(text, sizeof(text), "bin/%zu.o", number);
	put_text(&command, 7, text);
	put_stored(batch, &command, digest);
}

/* All blobs of it in one batch. */
static void
put_action(
    struct buffer *batch, size_t number, size_t version, struct digest *digest)
{
	struct digest command, root;
	struct buffer action;

	put_inputs(batch, number, version, &root);
	put_command(batch, number, &command);
	buffer_init(&action, KIB);
	put_digest(&action, 1, &command);
	put_digest(&action, 2, &root);
	put_stored(batch, &action, digest);
}

/* --- requests; load_run calls them ----------------------------------------
 */

static grpc_slice
metadata_of(const struct build *build, size_t number)
{
	char target[64], invocation[64];
	struct buffer message;
	grpc_slice slice;

	buffer_init(&message, KIB);
	snprintf(target, sizeof(target), "//some/package:target-%zu", number);
	snprintf(invocation, sizeof(invocation),
	    "4f0a17a5-7b1e-4c47-9d0f-%012zx", build->number);
	put_text(&message, 3, invocation);
	put_text(&message, 5, "CppCompile");
	put_text(&message, 6, target);
	slice = grpc_slice_from_copied_buffer(message.data, message.len);
	buffer_clear(&message);
	return slice;
}

static grpc_slice
any_metadata(size_t number, void *cookie)
{
	return metadata_of(cookie, number);
}

static grpc_slice
changed_metadata(size_t number, void *cookie)
{
	const struct build *build = cookie;

	return metadata_of(build, build->changed[number]);
}

static grpc_byte_buffer *
get_request(size_t number, void *cookie)
{
	const struct build *build = cookie;
	struct buffer request;

	buffer_init(&request, KIB);
	put_digest(&request, 2, &build->actions[number]);
	return to_request(&request);
}

static void
output_digest(const struct build *build, size_t number, struct digest *digest,
    struct buffer *batch)
{
	put_blob(batch, number + build->count, build->versions[number],
	    OUTPUT_BYTES, digest);
}

static grpc_byte_buffer *
upload_request(size_t number, void *cookie)
{
	const struct build *build = cookie;
	size_t action = build->changed[number];
	struct digest digest;
	struct buffer batch;

	buffer_init(&batch, MIB);
	put_action(&batch, action, build->versions[action], &digest);
	output_digest(build, action, &digest, &batch);
	return to_request(&batch);
}

static grpc_byte_buffer *
put_request(size_t number, void *cookie)
{
	const struct build *build = cookie;
	size_t action = build->changed[number];
	struct buffer request, result, unused;
	struct digest digest;
	char name[32];

	buffer_init(&unused, MIB);
	output_digest(build, action, &digest, &unused);
	buffer_clear(&unused);
	snprintf(name, sizeof(name), "bin/%zu.o", action);
	buffer_init(&result, KIB);
	put_file(&result, 2, name, &digest);
	buffer_init(&request, 4 * KIB);
	put_digest(&request, 2, &build->actions[action]);
	put_message(&request, 3, &result);
	return to_request(&request);
}

/* --- a build ---------------------------------------------------------------
 */

static double
run(struct build *build, const struct load_run *what)
{
	struct load_run load = *what;
	struct load_figures figures;

	load.in_flight = IN_FLIGHT;
	load.cookie = build;
	if (load.count == 0)
		return 0;
	load_many(&build->client, &load, &figures);
	return (double)figures.calls / figures.rate;
}

/* The first build is of new actions. */
static void
edit(struct build *build)
{
	build->number++;
	build->changes = 0;
	for (size_t i = 0; i < build->count; i++) {
		struct buffer unused;

		if (build->number > 1 && (i + build->number) % build->every)
			continue;
		build->versions[i]++;
		build->changed[build->changes++] = i;
		buffer_init(&unused, MIB);
		put_action(&unused, i, build->versions[i], &build->actions[i]);
		buffer_clear(&unused);
	}
}

/* --- clocks of the server ---------------------------------------------------
 */

static double
process_us(int pid)
{
	struct timespec time;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 ||
	    clock_gettime(clock, &time) == -1)
		load_die("clock_gettime", "the server has ended");
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* Of the thread that explains; 0 where there is none. */
static double
aside_us(const char *schedstat)
{
	FILE *file = schedstat[0] != '\0' ? fopen(schedstat, "r") : NULL;
	double ns = 0;

	if (file == NULL)
		return 0;
	if (fscanf(file, "%lf", &ns) != 1)
		load_die(schedstat, "cannot be read");
	fclose(file);
	return ns / 1e3;
}

static bool
is_named(int pid, const char *thread, const char *name)
{
	char path[PATH_SIZE], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/comm", pid, thread);
	file = fopen(path, "r");
	if (file == NULL)
		return false;
	if (fscanf(file, "%31s", text) != 1)
		text[0] = '\0';
	fclose(file);
	return strcmp(text, name) == 0;
}

/* Its file of that name, "" when the server does not explain. */
static void
find_schedstat(int pid, char path[static PATH_SIZE])
{
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, PATH_SIZE, "/proc/%d/task", pid);
	tasks = opendir(path);
	if (tasks == NULL)
		load_die(path, "no such process");
	path[0] = '\0';
	while ((entry = readdir(tasks)) != NULL) {
		if (is_named(pid, entry->d_name, "explain"))
			snprintf(path, PATH_SIZE,
			    "/proc/%d/task/%.20s/schedstat", pid,
			    entry->d_name);
	}
	closedir(tasks);
}

/* --- turns ------------------------------------------------------------------
 */

/* Of some turns of a server. */
struct figures {
	double actions;
	double seconds;
	double calls_us; /* processor time, without the thread that explains */
	double loaded_us;
};

static void
turn(struct build *build, struct figures *sum)
{
	double cpu, aside;

	edit(build);
	cpu = process_us(build->pid);
	aside = aside_us(build->schedstat);
	sum->seconds += run(build, &(struct load_run){.path = GET_PATH,
				       .count = build->count,
				       .request = get_request,
				       .metadata = any_metadata,
				       .may_miss = true});
	sum->seconds += run(build, &(struct load_run){.path = UPDATE_PATH,
				       .count = build->changes,
				       .request = upload_request,
				       .metadata = changed_metadata,
				       .check = check_updates});
	sum->seconds += run(build, &(struct load_run){.path = PUT_PATH,
				       .count = build->changes,
				       .request = put_request,
				       .metadata = changed_metadata});
	aside = aside_us(build->schedstat) - aside;
	cpu = process_us(build->pid) - cpu;
	sum->actions += (double)build->count;
	sum->loaded_us += cpu;
	sum->calls_us += cpu - aside;
}

/* Of no invocation. */
static grpc_byte_buffer *
misses_request(size_t number, void *cookie)
{
	struct buffer request;

	(void)number;
	(void)cookie;
	buffer_init(&request, KIB);
	put_text(&request, 2, "-");
	return to_request(&request);
}

/* ListMissesResponse: noted and explained. */
static void
read_progress(size_t number, struct str reply, void *cookie)
{
	uint64_t *progress = cookie;
	struct wire_field field;

	(void)number;
	progress[0] = progress[1] = 0;
	while (wire_next(&reply, &field) > 0)
		if (field.number == 3 || field.number == 4)
			progress[field.number - 3] = field.value;
}

/* Until all that happened is explained. */
static void
settle(struct build *build)
{
	uint64_t progress[2];
	struct load_figures unused;
	const struct load_run ask = {.path = MISSES_PATH,
	    .in_flight = 1,
	    .count = 1,
	    .request = misses_request,
	    .check = read_progress,
	    .cookie = progress};

	do {
		load_many(&build->client, &ask, &unused);
		if (progress[1] < progress[0])
			usleep(1000);
	} while (progress[1] < progress[0]);
}

/* On off off on, or the other way round. The other's peace after its turn lasts
 * as long as the first needs to explain. */
static void
take_turns(struct build *builds, size_t first, struct figures *sums)
{
	int64_t peace_us = 0, begun;

	for (size_t i = 0; i < TURNS; i++) {
		size_t which = (first + (i + 1) / 2) % 2;

		turn(&builds[which], &sums[which]);
		begun = clock_monotonic_ns();
		if (builds[which].schedstat[0] != '\0') {
			settle(&builds[which]);
			peace_us = (clock_monotonic_ns() - begun) / 1000;
		} else if (peace_us > 0) {
			usleep((useconds_t)peace_us);
		}
	}
}

static void
print_turns(const struct figures *sums)
{
	printf("%.1f %.1f %.4f %.4f %.4f %.4f\n",
	    sums[0].actions / sums[0].seconds,
	    sums[1].actions / sums[1].seconds,
	    sums[0].calls_us / sums[0].actions,
	    sums[1].calls_us / sums[1].actions,
	    sums[0].loaded_us / sums[0].actions,
	    sums[1].loaded_us / sums[1].actions);
	fflush(stdout);
}

static void
build_open(struct build *build, char **argv, const char *address, int pid)
{
	*build = (struct build){.count = strtoul(argv[1], NULL, 10),
	    .every = strtoul(argv[2], NULL, 10),
	    .pid = pid,
	    .begun_us = process_us(pid)};
	find_schedstat(pid, build->schedstat);
	build->actions = xcalloc(build->count, sizeof(*build->actions));
	build->versions = xcalloc(build->count, sizeof(*build->versions));
	build->changed = xcalloc(build->count, sizeof(*build->changed));
	load_open(&build->client, address, 0);
}

static void
build_close(struct build *build)
{
	load_close(&build->client);
	free(build->actions);
	free(build->versions);
	free(build->changed);
}

/* All that happened, also what is done aside. */
static void
print_all(const struct build *builds, const struct figures *all)
{
	usleep(REST_US);
	printf("all");
	for (size_t i = 0; i < 2; i++)
		printf(
		    " %.4f", (process_us(builds[i].pid) - builds[i].begun_us) /
				 all[i].actions);
	printf("\n");
}

int
main(int argc, char **argv)
{
	struct figures all[2] = {{.actions = 0}, {.actions = 0}};
	struct build builds[2];
	int64_t end;

	if (argc != 8)
		load_die("usage", "bench_explain ACTIONS EVERY SECONDS "
				  "HOST:PORT PID HOST:PORT PID");
	rpc_init();
	for (size_t i = 0; i < 2; i++)
		build_open(
		    &builds[i], argv, argv[4 + 2 * i], atoi(argv[5 + 2 * i]));
	/* Everything is new at first. */
	take_turns(builds, 0, all);
	end = clock_monotonic_ns() + (int64_t)(atof(argv[3]) * 1e9);
	for (size_t i = 0; clock_monotonic_ns() < end; i++) {
		struct figures sums[2] = {{.actions = 0}, {.actions = 0}};

		take_turns(builds, i % 2, sums);
		print_turns(sums);
		for (size_t k = 0; k < 2; k++)
			all[k].actions += sums[k].actions;
	}
	print_all(builds, all);
	for (size_t i = 0; i < 2; i++)
		build_close(&builds[i]);
	rpc_shutdown();
	return 0;
}
