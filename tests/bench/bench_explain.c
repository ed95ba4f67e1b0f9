/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds of a client that only caches, in two instances of a server in turns:
 * misses of the one are explained, those of the other not (serve
 * --unexplained). Both are calls of one connection to one process, since two
 * processes of one program are not equally fast. tests/bench/explain starts it.
 *
 *	bench_explain ACTIONS EVERY SECONDS HOST:PORT PID INSTANCE INSTANCE \
 *		[control]
 *
 * A build looks for ACTIONS actions, and one in EVERY has a changed source: its
 * inputs, command and outputs are uploaded, and its result is stored. All calls
 * of a kind are made with many in flight, so that the server is busy. The
 * instances take turns of a build each, short ones, since a processor that is
 * shared with others has slow and fast moments: first second second first, then
 * second first first second, and so on, a stretch of some dozens without a
 * pause. So what the thread that explains does meanwhile meets both alike, and
 * is told by itself. After a stretch the server is asked, as `toolroot explain`
 * does, until it has explained all that happened; what that costs is told, too.
 * Then come some look-ups that are not measured, and the next stretch.
 *
 * A line "four" for each four turns, two figures of both instances: actions a
 * second; processor time by action in microseconds, of all threads but the one
 * that explains. A line "stretch" for each of these, in microseconds of
 * processor time: of the thread that explains, until the last answer; of all
 * threads; what was put off until after it. Then of how many actions. control:
 * neither instance is explained.
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
#define CONFIGURATION \
	"2f1c6a3a3f0b1d9c1a0b6a5d8ce2b14e7d30f0a4a2c9f5b87e61d2c3b4a59687"
#define ARGUMENTS 60
#define SOURCES 20
#define SOURCE_BYTES 4096
#define OUTPUT_BYTES (16 * KIB)
#define SETTLE_US 10000
#define TURNS 4
/* Of an instance in a stretch, whose notes find room to wait. */
#define BUILDS 24
/* Look-ups. */
#define WARM_UP 2000
#define PATH_SIZE 64

struct build {
	size_t number;
	struct digest *actions;
	size_t *versions; /* of the actions */
	size_t *changed;  /* numbers of actions */
	size_t changes;
};

struct server {
	struct load_client client;
	int pid;
	char schedstat[PATH_SIZE]; /* of its thread that explains */
};

/* An instance, and who builds in it. */
struct side {
	struct server *server;
	const char *instance;
	bool is_first_named; /* by the command: what its figures are */
	bool explained;
	size_t first; /* number of its content: none is the other's */
	struct build builds[1 + BUILDS]; /* the last one, those of a stretch */
	const struct build *build;       /* the one that runs, or ran last */
	size_t count;                    /* of actions */
	size_t every;
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

/* All that Bazel tells of a call. */
static grpc_slice
metadata_of(const struct side *side, size_t number)
{
	char target[64], invocation[64], hash[DIGEST_TEXT_MAX];
	struct buffer message, tool;
	grpc_slice slice;

	buffer_init(&message, KIB);
	buffer_init(&tool, KIB);
	snprintf(target, sizeof(target), "//some/package:target-%zu", number);
	snprintf(invocation, sizeof(invocation),
	    "4f0a17a5-7b1e-4c47-9d0f-%012zx", side->build->number);
	put_text(&tool, 1, "bazel");
	put_text(&tool, 2, "7.4.1");
	put_message(&message, 1, &tool);
	digest_format_hash(&side->build->actions[number], hash);
	put_text(&message, 2, hash);
	put_text(&message, 3, invocation);
	put_text(&message, 4, "b2c86f5e-0d0a-4c1b-8a57-6f1f5d1f9a10");
	put_text(&message, 5, "CppCompile");
	put_text(&message, 6, target);
	put_text(&message, 7, CONFIGURATION);
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
	const struct side *side = cookie;

	return metadata_of(side, side->build->changed[number]);
}

static grpc_byte_buffer *
get_request(size_t number, void *cookie)
{
	const struct side *side = cookie;
	struct buffer request;

	buffer_init(&request, KIB);
	put_text(&request, 1, side->instance);
	put_digest(&request, 2, &side->build->actions[number]);
	return to_request(&request);
}

static void
output_digest(const struct side *side, size_t number, struct digest *digest,
    struct buffer *batch)
{
	put_blob(batch, side->first + side->count + number,
	    side->build->versions[number], OUTPUT_BYTES, digest);
}

static grpc_byte_buffer *
upload_request(size_t number, void *cookie)
{
	const struct side *side = cookie;
	size_t action = side->build->changed[number];
	struct digest digest;
	struct buffer batch;

	buffer_init(&batch, MIB);
	put_text(&batch, 1, side->instance);
	put_action(&batch, side->first + action, side->build->versions[action],
	    &digest);
	output_digest(side, action, &digest, &batch);
	return to_request(&batch);
}

static grpc_byte_buffer *
put_request(size_t number, void *cookie)
{
	const struct side *side = cookie;
	size_t action = side->build->changed[number];
	struct buffer request, result, unused;
	struct digest digest;
	char name[32];

	buffer_init(&unused, MIB);
	output_digest(side, action, &digest, &unused);
	buffer_clear(&unused);
	snprintf(name, sizeof(name), "bin/%zu.o", side->first + action);
	buffer_init(&result, KIB);
	put_file(&result, 2, name, &digest);
	buffer_init(&request, 4 * KIB);
	put_text(&request, 1, side->instance);
	put_digest(&request, 2, &side->build->actions[action]);
	put_message(&request, 3, &result);
	return to_request(&request);
}

/* --- a build ---------------------------------------------------------------
 */

static double
run(struct side *side, const struct load_run *what)
{
	struct load_run load = *what;
	struct load_figures figures;

	load.in_flight = IN_FLIGHT;
	load.cookie = side;
	if (load.count == 0)
		return 0;
	load_many(&side->server->client, &load, &figures);
	return (double)figures.calls / figures.rate;
}

/* After the last build; the first is of new actions. */
static void
edit(struct build *build, const struct build *last, const struct side *side)
{
	build->number = last->number + 1;
	build->changes = 0;
	memcpy(build->actions, last->actions,
	    side->count * sizeof(*build->actions));
	memcpy(build->versions, last->versions,
	    side->count * sizeof(*build->versions));
	for (size_t i = 0; i < side->count; i++) {
		struct buffer unused;

		if (build->number > 1 && (i + build->number) % side->every)
			continue;
		build->versions[i]++;
		build->changed[build->changes++] = i;
		buffer_init(&unused, MIB);
		put_action(&unused, side->first + i, build->versions[i],
		    &build->actions[i]);
		buffer_clear(&unused);
	}
}

/* Returns how long it took. */
static double
look_up(struct side *side, size_t count)
{
	return run(side, &(struct load_run){.path = GET_PATH,
			     .count = count,
			     .request = get_request,
			     .metadata = any_metadata,
			     .may_miss = true});
}

static double
run_build(struct side *side, const struct build *build)
{
	double seconds;

	side->build = build;
	seconds = look_up(side, side->count);
	seconds += run(side, &(struct load_run){.path = UPDATE_PATH,
				 .count = build->changes,
				 .request = upload_request,
				 .metadata = changed_metadata,
				 .check = check_updates});
	return seconds + run(side, &(struct load_run){.path = PUT_PATH,
				       .count = build->changes,
				       .request = put_request,
				       .metadata = changed_metadata});
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

/* Of the thread that explains. */
static double
aside_us(const char *schedstat)
{
	FILE *file = fopen(schedstat, "r");
	char text[128];

	if (file == NULL || fgets(text, sizeof(text), file) == NULL)
		load_die(schedstat, "cannot be read");
	fclose(file);
	return (double)strtoull(text, NULL, 10) / 1e3;
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

/* The file of that name. */
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
	if (path[0] == '\0')
		load_die("the server", "it has no thread that explains");
}

/* --- turns ------------------------------------------------------------------
 */

/* Of some turns of an instance. */
struct figures {
	double actions;
	double seconds;
	double calls_us; /* processor time, without the thread that explains */
};

/* Processor time of the server in microseconds. */
struct clocks {
	double all;
	double aside; /* the thread that explains */
};

static struct clocks
read_clocks(const struct server *server)
{
	struct clocks now;

	now.aside = aside_us(server->schedstat);
	now.all = process_us(server->pid);
	return now;
}

static void
turn(struct side *side, const struct build *build, struct figures *sum)
{
	struct clocks begun = read_clocks(side->server), ended;

	sum->seconds += run_build(side, build);
	ended = read_clocks(side->server);
	sum->actions += (double)side->count;
	sum->calls_us += ended.all - begun.all - (ended.aside - begun.aside);
}

/* On off off on, or the other way round: two builds of each. */
static void
take_turns(struct side *sides, size_t first, size_t build)
{
	struct figures sums[2] = {{.actions = 0}, {.actions = 0}};
	const struct figures *on = &sums[sides[1].is_first_named];
	const struct figures *off = &sums[sides[0].is_first_named];

	for (size_t i = 0; i < TURNS; i++) {
		size_t which = (first + (i + 1) / 2) % 2;

		turn(&sides[which], &sides[which].builds[build + i / 2],
		    &sums[which]);
	}
	printf("four %.1f %.1f %.4f %.4f\n", on->actions / on->seconds,
	    off->actions / off->seconds, on->calls_us / on->actions,
	    off->calls_us / off->actions);
}

/* All that will be built: so the server has no peace between builds. */
static void
edit_stretch(struct side *side)
{
	struct build last = side->builds[BUILDS];

	side->builds[BUILDS] = side->builds[0];
	side->builds[0] = last;
	side->build = &side->builds[0];
	for (size_t i = 1; i <= BUILDS; i++)
		edit(&side->builds[i], &side->builds[i - 1], side);
}

struct settling {
	const struct side *side;
	uint64_t noted, explained;
};

/* Of no invocation. */
static grpc_byte_buffer *
misses_request(size_t number, void *cookie)
{
	const struct settling *settling = cookie;
	struct buffer request;

	(void)number;
	buffer_init(&request, KIB);
	put_text(&request, 1, settling->side->instance);
	put_text(&request, 2, "-");
	return to_request(&request);
}

/* ListMissesResponse: noted and explained. */
static void
read_progress(size_t number, struct str reply, void *cookie)
{
	struct settling *settling = cookie;
	struct wire_field field;

	(void)number;
	settling->noted = settling->explained = 0;
	while (wire_next(&reply, &field) > 0) {
		if (field.number == 3)
			settling->noted = field.value;
		else if (field.number == 4)
			settling->explained = field.value;
	}
}

/* Until all that happened is explained. Asked seldom: each answer goes through
 * all misses, which would be in the caches then instead of what calls need. */
static void
settle(const struct side *side)
{
	struct settling settling = {.side = side};
	struct load_figures unused;
	const struct load_run ask = {.path = MISSES_PATH,
	    .in_flight = 1,
	    .count = 1,
	    .request = misses_request,
	    .check = read_progress,
	    .cookie = &settling};

	do {
		load_many(&side->server->client, &ask, &unused);
		if (settling.explained < settling.noted)
			usleep(SETTLE_US);
	} while (settling.explained < settling.noted);
}

static void
run_stretch(struct side *sides, size_t first)
{
	const struct server *server = sides[0].server;
	struct clocks begun, ended;

	begun = read_clocks(server);
	for (size_t i = 1; i < BUILDS; i += 2)
		take_turns(sides, (first + i / 2) % 2, i);
	ended = read_clocks(server);
	for (size_t i = 0; i < 2; i++)
		if (sides[i].explained)
			settle(&sides[i]);
	printf("stretch %.1f %.1f %.1f %zu\n", ended.aside - begun.aside,
	    ended.all - begun.all, read_clocks(server).aside - ended.aside,
	    sides[0].count * BUILDS);
	fflush(stdout);
}

/* The first build, of new actions: until all of it is explained. */
static void
begin(struct side *side)
{
	edit(&side->builds[BUILDS], &side->builds[0], side);
	run_build(side, &side->builds[BUILDS]);
	if (side->explained)
		settle(side);
}

static void
side_open(struct side *side, char **argv, struct server *server, size_t which)
{
	/* In the order of their names, whichever is explained: the first and
	 * the second are not alike in all. */
	bool sorted = strcmp(argv[6], argv[7]) < 0;
	bool named_first = (which == 0) == sorted;

	*side = (struct side){.server = server,
	    .instance = argv[named_first ? 6 : 7],
	    .is_first_named = named_first,
	    .explained = named_first && argv[8] == NULL,
	    .count = strtoul(argv[1], NULL, 10),
	    .every = strtoul(argv[2], NULL, 10)};
	side->first = which * 2 * side->count;
	for (size_t i = 0; i <= BUILDS; i++) {
		struct build *build = &side->builds[i];

		build->actions = xcalloc(side->count, sizeof(*build->actions));
		build->versions =
		    xcalloc(side->count, sizeof(*build->versions));
		build->changed = xcalloc(side->count, sizeof(*build->changed));
	}
	side->build = &side->builds[0];
}

static void
side_close(struct side *side)
{
	for (size_t i = 0; i <= BUILDS; i++) {
		free(side->builds[i].actions);
		free(side->builds[i].versions);
		free(side->builds[i].changed);
	}
}

int
main(int argc, char **argv)
{
	struct server server;
	struct side sides[2];
	int64_t end;

	if (argc < 8 || argc > 9)
		load_die("usage", "bench_explain ACTIONS EVERY SECONDS "
				  "HOST:PORT PID INSTANCE INSTANCE [control]");
	rpc_init();
	server.pid = (int)strtol(argv[5], NULL, 10);
	find_schedstat(server.pid, server.schedstat);
	load_open(&server.client, argv[4], 0);
	for (size_t i = 0; i < 2; i++)
		side_open(&sides[i], argv, &server, i);
	for (size_t i = 0; i < 2; i++)
		begin(&sides[i]);
	end = clock_monotonic_ns() + (int64_t)(strtod(argv[3], NULL) * 1e9);
	for (size_t i = 0; clock_monotonic_ns() < end; i++) {
		edit_stretch(&sides[0]);
		edit_stretch(&sides[1]);
		for (size_t done = 0; done < WARM_UP; done += sides[0].count)
			for (size_t k = 0; k < 2; k++)
				look_up(&sides[k], sides[k].count);
		run_stretch(sides, i % 2);
	}
	for (size_t i = 0; i < 2; i++)
		side_close(&sides[i]);
	load_close(&server.client);
	rpc_shutdown();
	return 0;
}
