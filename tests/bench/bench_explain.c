/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds of a client that only caches, on two servers in turns: one explains
 * misses, the other does not. tests/bench/explain starts them.
 *
 *	bench_explain ACTIONS EVERY ROUNDS HOST:PORT PID HOST:PORT PID
 *
 * A build looks for ACTIONS actions, and one in EVERY has a changed source: its
 * inputs, command and outputs are uploaded, and its result is stored. All calls
 * of a kind are made with many in flight, so that the server is busy; then it
 * is left alone until it rests. The servers take turns: first second, second
 * first. A line for each round but the first, three figures of both servers:
 * actions a second; processor time by action in microseconds until the last
 * answer; and until the server rests.
 */
#include <stdio.h>
#include <unistd.h>

#include "rpc/runtime.h"
#include "tests/bench/load_messages.h"

#define API "/build.bazel.remote.execution.v2."
#define GET_PATH API "ActionCache/GetActionResult"
#define PUT_PATH API "ActionCache/UpdateActionResult"
#define IN_FLIGHT 64
#define ARGUMENTS 60
#define SOURCES 20
#define SOURCE_BYTES 4096
#define OUTPUT_BYTES (16 * KIB)
/* Longer than anything waits to be done in peace, and when it rests. */
#define REST_US 300000
#define REST_NS 5000000
#define RESTS 20

struct build {
	struct load_client client;
	struct digest *actions; /* as they are now */
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

/* Until what is done aside is done. */
static void
rest(const struct build *build)
{
	int64_t before, now = load_server_cpu(&build->client);

	for (int i = 0; i < RESTS; i++) {
		before = now;
		usleep(REST_US);
		now = load_server_cpu(&build->client);
		if (now - before < REST_NS)
			return;
	}
}

struct figures {
	double rate;      /* actions a second */
	double loaded_us; /* processor time by action, until the last answer */
	double all_us;    /* until the server rests */
};

static double
cpu_since(const struct build *build, int64_t before)
{
	return (double)(load_server_cpu(&build->client) - before) / 1e3 /
	       (double)build->count;
}

static void
build_run(struct build *build, struct figures *figures)
{
	double seconds;
	int64_t cpu;

	edit(build);
	cpu = load_server_cpu(&build->client);
	seconds = run(build, &(struct load_run){.path = GET_PATH,
				 .count = build->count,
				 .request = get_request,
				 .metadata = any_metadata,
				 .may_miss = true});
	seconds += run(build, &(struct load_run){.path = UPDATE_PATH,
				  .count = build->changes,
				  .request = upload_request,
				  .metadata = changed_metadata,
				  .check = check_updates});
	seconds += run(build, &(struct load_run){.path = PUT_PATH,
				  .count = build->changes,
				  .request = put_request,
				  .metadata = changed_metadata});
	figures->rate = (double)build->count / seconds;
	figures->loaded_us = cpu_since(build, cpu);
	rest(build);
	figures->all_us = cpu_since(build, cpu);
}

static void
build_open(struct build *build, char **argv, const char *address, int pid)
{
	*build = (struct build){.count = strtoul(argv[1], NULL, 10),
	    .every = strtoul(argv[2], NULL, 10)};
	build->actions = xcalloc(build->count, sizeof(*build->actions));
	build->versions = xcalloc(build->count, sizeof(*build->versions));
	build->changed = xcalloc(build->count, sizeof(*build->changed));
	load_open(&build->client, address, pid);
}

static void
build_close(struct build *build)
{
	load_close(&build->client);
	free(build->actions);
	free(build->versions);
	free(build->changed);
}

int
main(int argc, char **argv)
{
	struct build builds[2];
	struct figures on, off, *figures[] = {&on, &off};
	size_t rounds;

	if (argc != 8)
		load_die("usage", "bench_explain ACTIONS EVERY ROUNDS "
				  "HOST:PORT PID HOST:PORT PID");
	rounds = strtoul(argv[3], NULL, 10);
	rpc_init();
	for (size_t i = 0; i < 2; i++)
		build_open(
		    &builds[i], argv, argv[4 + 2 * i], atoi(argv[5 + 2 * i]));
	for (size_t round = 0; round <= rounds; round++) {
		for (size_t i = 0; i < 2; i++) {
			size_t which = (i + round) % 2;

			build_run(&builds[which], figures[which]);
		}
		if (round > 0)
			printf("%.1f %.1f %.3f %.3f %.3f %.3f\n", on.rate,
			    off.rate, on.loaded_us, off.loaded_us, on.all_us,
			    off.all_us);
		fflush(stdout);
	}
	for (size_t i = 0; i < 2; i++)
		build_close(&builds[i]);
	rpc_shutdown();
	return 0;
}
