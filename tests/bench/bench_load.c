/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One figure of a server under load, as `name value` lines; tests/bench/run
 * makes a table of many and puts the bare limits beside them.
 *
 *	bench_load FIGURE HOST:PORT PID [in-flight [count [seconds]]]
 *
 * PID is the server's, whose processor time is measured too (0: not). FIGURE is
 * one of those in the table at the end of this file. What is written is new in
 * every run, so a store that is used again gives the same figures.
 */
#include <stdio.h>

#include "rpc/runtime.h"
#include "tests/bench/load_messages.h"
#include "tests/bench/old_blobs.h"

#define API "/build.bazel.remote.execution.v2."
#define FIND_PATH API "ContentAddressableStorage/FindMissingBlobs"
#define GET_ACTION_PATH API "ActionCache/GetActionResult"
#define PUT_ACTION_PATH API "ActionCache/UpdateActionResult"
#define EXECUTE_PATH API "Execution/Execute"
#define READ_PATH "/google.bytestream.ByteStream/Read"
#define WRITE_PATH "/google.bytestream.ByteStream/Write"

#define ACTIONS 1000
#define OUTPUTS 3
#define FIND 10000
#define STREAM_BYTES (256 * MIB)

struct bench {
	struct load_client client;
	size_t in_flight;
	size_t count;
	double seconds;
	uint64_t base; /* blobs of this run are numbered from here */
	grpc_byte_buffer **requests;
	size_t request_count;
	bool again;     /* requests are used in turn, else once each */
	size_t missing; /* what a FindMissingBlobs has to answer */
};

/* --- running ---------------------------------------------------------------
 */

static grpc_byte_buffer *
next_request(size_t number, void *cookie)
{
	struct bench *bench = cookie;
	grpc_byte_buffer **slot =
	    &bench->requests[number % bench->request_count];
	grpc_byte_buffer *request = *slot;

	if (bench->again)
		return grpc_byte_buffer_copy(request);
	*slot = NULL;
	return request;
}

static void
make_requests(struct bench *bench, size_t count)
{
	bench->requests = xcalloc(count, sizeof(grpc_byte_buffer *));
	bench->request_count = count;
}

static void
drop_requests(struct bench *bench)
{
	for (size_t i = 0; i < bench->request_count; i++)
		grpc_byte_buffer_destroy(bench->requests[i]);
	free(bench->requests);
}

static void
print_figures(const struct load_figures *figures)
{
	printf("rate %.1f\np50_us %.1f\np99_us %.1f\ncpu_us %.2f\ncalls %zu\n",
	    figures->rate, figures->p50_us, figures->p99_us, figures->cpu_us,
	    figures->calls);
}

static void
run_requests(struct bench *bench, const char *path,
    void (*check)(size_t, struct str, void *), struct load_figures *figures)
{
	struct load_run run = {
	    .path = path,
	    .in_flight = bench->in_flight,
	    .count = bench->count,
	    .seconds = bench->seconds,
	    .request = next_request,
	    .check = check,
	    .cookie = bench,
	};

	if (!bench->again && run.count > bench->request_count)
		run.count = bench->request_count;
	load_many(&bench->client, &run, figures);
}

/* A short run first, so that threads, caches and connections are warm. */
static void
run_repeated(struct bench *bench, const char *path,
    void (*check)(size_t, struct str, void *))
{
	struct load_figures figures;
	size_t count = bench->count;

	bench->again = true;
	bench->count =
	    count < 10 * bench->in_flight ? count : 10 * bench->in_flight;
	run_requests(bench, path, check, &figures);
	bench->count = count;
	run_requests(bench, path, check, &figures);
	print_figures(&figures);
	drop_requests(bench);
}

static void
run_once(struct bench *bench, const char *path,
    void (*check)(size_t, struct str, void *))
{
	struct load_figures figures;

	bench->again = false;
	run_requests(bench, path, check, &figures);
	print_figures(&figures);
	drop_requests(bench);
}

/* One unary call outside of any measurement. */
static void
call_once(struct bench *bench, const char *path, grpc_byte_buffer *request,
    void (*check)(size_t, struct str, void *))
{
	struct bench once = {.client = bench->client,
	    .in_flight = 1,
	    .count = 1,
	    .request_count = 1,
	    .requests = &request};
	struct load_figures figures;

	once.client.server_pid = 0;
	run_requests(&once, path, check, &figures);
}

/* --- figures ---------------------------------------------------------------
 */

static void
figure_echo(struct bench *bench)
{
	struct buffer request;
	char bytes[76] = "";

	buffer_init(&request, KIB);
	put(&request, bytes, sizeof(bytes));
	make_requests(bench, 1);
	bench->requests[0] = to_request(&request);
	run_repeated(bench, "/b.B/Echo", NULL);
}

/* FindMissingBlobs of count digests, every second one absent when half. */
static void
find_requests(struct bench *bench, size_t digests, bool half)
{
	struct digest digest;
	struct buffer request;

	for (size_t i = 0; i < digests; i += BATCH)
		call_once(bench, UPDATE_PATH, batch_request(bench->base + i),
		    check_updates);
	buffer_init(&request, MESSAGE_MAX);
	for (size_t i = 0; i < digests; i++) {
		bool absent = half && i % 2 == 1;

		blob_digest(bench->base + i + (absent ? FIND : 0), &digest);
		bench->missing += absent ? 1 : 0;
		put_digest(&request, 2, &digest);
	}
	make_requests(bench, 1);
	bench->requests[0] = to_request(&request);
}

static void
check_find(size_t number, struct str reply, void *cookie)
{
	const struct bench *bench = cookie;
	struct wire_field field;
	size_t missing = 0;

	(void)number;
	while (wire_next(&reply, &field) > 0)
		missing += field.number == 2 ? 1 : 0;
	if (missing != bench->missing)
		load_die(FIND_PATH, "another number of blobs is missing");
}

static void
figure_find(struct bench *bench)
{
	find_requests(bench, 1, false);
	run_repeated(bench, FIND_PATH, check_find);
}

static void
figure_find_many(struct bench *bench)
{
	find_requests(bench, FIND, true);
	run_repeated(bench, FIND_PATH, check_find);
}

/* Calls for FIND digests each of a store that bench_fill made, every second one
 * absent; no call asks for what another did. seconds: how many blobs the store
 * has, in millions. */
static void
figure_find_old(struct bench *bench)
{
	size_t blobs = (size_t)(bench->seconds * 1e6);
	size_t step = blobs / (bench->count * FIND / 2);
	struct buffer request;
	char data[OLD_BLOB_SIZE];

	bench->seconds = 0;
	if (step == 0)
		load_die("find-old", "too many calls for so few blobs");
	make_requests(bench, bench->count);
	for (size_t call = 0; call < bench->count; call++) {
		buffer_init(&request, MESSAGE_MAX);
		for (size_t i = call * FIND; i < (call + 1) * FIND; i++) {
			struct digest digest =
			    old_blob(i / 2 * step + i % 2 * blobs, data);

			put_digest(&request, 2, &digest);
		}
		bench->requests[call] = to_request(&request);
	}
	bench->missing = FIND / 2;
	run_once(bench, FIND_PATH, check_find);
}

/* An action result with OUTPUTS files among the blobs from first on. */
static void
put_result(struct buffer *out, uint32_t field, uint64_t first)
{
	struct buffer result, file;
	struct digest digest;

	buffer_init(&result, KIB);
	for (size_t i = 0; i < OUTPUTS; i++) {
		char path[32];

		snprintf(path, sizeof(path), "out/%zu.o", i);
		blob_digest(first + i, &digest);
		buffer_init(&file, KIB);
		put_text(&file, 1, path);
		put_digest(&file, 2, &digest);
		put_message(&result, 2, &file);
	}
	put_message(out, field, &result);
}

static void
check_some(size_t number, struct str reply, void *cookie)
{
	(void)number;
	(void)cookie;
	if (reply.len == 0)
		load_die("reply", "empty");
}

static void
figure_get_action(struct bench *bench)
{
	struct digest action;
	struct buffer request;

	for (size_t i = 0; i < ACTIONS * OUTPUTS; i += BATCH)
		call_once(bench, UPDATE_PATH, batch_request(bench->base + i),
		    check_updates);
	make_requests(bench, ACTIONS);
	for (size_t i = 0; i < ACTIONS; i++) {
		blob_digest(bench->base + 1000000 + i, &action);
		buffer_init(&request, 4 * KIB);
		put_digest(&request, 2, &action);
		put_result(&request, 3, bench->base + i * OUTPUTS);
		call_once(bench, PUT_ACTION_PATH, to_request(&request), NULL);
		buffer_init(&request, KIB);
		put_digest(&request, 2, &action);
		bench->requests[i] = to_request(&request);
	}
	run_repeated(bench, GET_ACTION_PATH, check_some);
}

/* Batches of new blobs, count of them. */
static void
figure_batch(struct bench *bench)
{
	make_requests(bench, bench->count);
	for (size_t i = 0; i < bench->count; i++)
		bench->requests[i] = batch_request(bench->base + i * BATCH);
	run_once(bench, UPDATE_PATH, check_updates);
}

static grpc_byte_buffer *
fill_request(size_t number, void *cookie)
{
	const struct bench *bench = cookie;

	return batch_request(bench->base + number * BATCH);
}

/* The same, too many to be made before. */
static void
figure_fill(struct bench *bench)
{
	const struct load_run run = {
	    .path = UPDATE_PATH,
	    .in_flight = bench->in_flight,
	    .count = bench->count,
	    .request = fill_request,
	    .check = check_updates,
	    .cookie = bench,
	};
	struct load_figures figures;

	load_many(&bench->client, &run, &figures);
	print_figures(&figures);
}

static void
put_upload_name(
    struct buffer *out, const struct bench *bench, const struct digest *digest)
{
	char name[DIGEST_TEXT_MAX + 80], text[DIGEST_TEXT_MAX];

	snprintf(name, sizeof(name),
	    "uploads/%08" PRIx32 "-0000-4000-8000-%012" PRIx64 "/blobs/%s",
	    (uint32_t)bench->base, bench->base >> 16,
	    digest_format(digest, text));
	put_text(out, 1, name);
}

/* Whole blobs of 1 KiB in one message each. */
static void
figure_write_small(struct bench *bench)
{
	char content[KIB];
	struct digest digest;
	struct buffer request;

	make_requests(bench, bench->count);
	for (size_t i = 0; i < bench->count; i++) {
		fill(content, sizeof(content), bench->base + i);
		digest_compute(
		    DIGEST_SHA256, content, sizeof(content), &digest);
		buffer_init(&request, 4 * KIB);
		put_upload_name(&request, bench, &digest);
		put_number(&request, 3, 1);
		put_bytes(&request, 10, content, sizeof(content));
		bench->requests[i] = to_request(&request);
	}
	run_once(bench, WRITE_PATH, check_some);
}

/* What the bare server can do of the same: it counts no bytes. */
static void
figure_bare_write(struct bench *bench)
{
	struct buffer request;
	char bytes[KIB] = "";

	buffer_init(&request, 4 * KIB);
	put(&request, bytes, sizeof(bytes));
	make_requests(bench, 1);
	bench->requests[0] = to_request(&request);
	run_repeated(bench, "/b.B/Write", NULL);
}

/* --- streams ---------------------------------------------------------------
 */

static void
keep(void *cookie)
{
	(void)cookie;
}

/* A WriteRequest: its head is copied, the data is borrowed. */
static grpc_byte_buffer *
write_message(struct buffer *head, const char *data, size_t len)
{
	uint8_t field[2 * WIRE_VARINT_MAX];
	grpc_byte_buffer *message;
	grpc_slice slices[2];

	put(head, field, wire_put_bytes_header(field, 10, len));
	slices[0] = grpc_slice_from_copied_buffer(head->data, head->len);
	slices[1] = grpc_slice_new_with_user_data(
	    (void *)(uintptr_t)data, len, keep, NULL);
	message = grpc_raw_byte_buffer_create(slices, 2);
	grpc_slice_unref(slices[0]);
	grpc_slice_unref(slices[1]);
	buffer_clear(head);
	return message;
}

static void
write_blob(
    struct bench *bench, const char *content, const struct digest *digest)
{
	struct load_stream stream;
	struct buffer head;

	load_stream_open(&stream, &bench->client, WRITE_PATH);
	for (size_t offset = 0; offset < digest->size; offset += MIB) {
		bool last = offset + MIB >= digest->size;

		buffer_init(&head, KIB);
		if (offset == 0)
			put_upload_name(&head, bench, digest);
		put_number(&head, 2, offset);
		put_number(&head, 3, last ? 1 : 0);
		load_stream_send(
		    &stream, write_message(&head, content + offset, MIB), last);
	}
	if (!load_stream_receive(&stream))
		load_die(WRITE_PATH, "no answer");
	load_stream_close(&stream);
}

static size_t
read_blob(struct bench *bench, const struct digest *digest)
{
	char text[DIGEST_TEXT_MAX], name[DIGEST_TEXT_MAX + 8];
	struct load_stream stream;
	struct buffer request;
	size_t received = 0;

	buffer_init(&request, KIB);
	snprintf(name, sizeof(name), "blobs/%s", digest_format(digest, text));
	put_text(&request, 1, name);
	load_stream_open(&stream, &bench->client, READ_PATH);
	load_stream_send(&stream, to_request(&request), true);
	while (load_stream_receive(&stream))
		received += grpc_byte_buffer_length(stream.call.reply);
	load_stream_close(&stream);
	return received;
}

/* The best of some rounds: other work on the machine only ever slows. */
struct rounds {
	struct bench *bench;
	int64_t began_ns, cpu_ns; /* of the round that runs */
	int64_t best_ns, best_cpu_ns;
};

static void
round_begin(struct rounds *rounds)
{
	rounds->cpu_ns = load_server_cpu(&rounds->bench->client);
	rounds->began_ns = clock_monotonic_ns();
}

static void
round_end(struct rounds *rounds)
{
	int64_t took = clock_monotonic_ns() - rounds->began_ns;
	int64_t cpu = load_server_cpu(&rounds->bench->client) - rounds->cpu_ns;

	if (rounds->best_ns == 0 || took < rounds->best_ns)
		rounds->best_ns = took;
	if (rounds->best_cpu_ns == 0 || cpu < rounds->best_cpu_ns)
		rounds->best_cpu_ns = cpu;
}

static void
print_rounds(const struct rounds *rounds)
{
	double mib = (double)STREAM_BYTES / (double)MIB;

	printf("mib_s %.1f\ncpu_us_mib %.2f\n",
	    mib * 1e9 / (double)rounds->best_ns,
	    (double)rounds->best_cpu_ns / 1e3 / mib);
}

static void
figure_read(struct bench *bench)
{
	struct rounds rounds = {.bench = bench};
	char *content = xmalloc(STREAM_BYTES);
	struct digest digest;

	fill(content, STREAM_BYTES, bench->base);
	digest_compute(DIGEST_SHA256, content, STREAM_BYTES, &digest);
	write_blob(bench, content, &digest);
	for (size_t i = 0; i < bench->count; i++) {
		round_begin(&rounds);
		if (read_blob(bench, &digest) < STREAM_BYTES)
			load_die(READ_PATH, "too short");
		round_end(&rounds);
	}
	print_rounds(&rounds);
	free(content);
}

static void
figure_write(struct bench *bench)
{
	struct rounds rounds = {.bench = bench};
	char *content = xmalloc(STREAM_BYTES);
	struct digest digest;

	fill(content, STREAM_BYTES, bench->base);
	for (size_t i = 0; i < bench->count; i++) {
		memcpy(content, &i, sizeof(i));
		digest_compute(DIGEST_SHA256, content, STREAM_BYTES, &digest);
		round_begin(&rounds);
		write_blob(bench, content, &digest);
		round_end(&rounds);
	}
	print_rounds(&rounds);
	free(content);
}

/* --- execution -------------------------------------------------------------
 */

/* Stores the message as a blob; takes it. */
static void
store_message(
    struct bench *bench, struct buffer *message, struct digest *digest)
{
	struct buffer request;

	digest_compute(DIGEST_SHA256, message->data, message->len, digest);
	buffer_init(&request, MESSAGE_MAX);
	put_update(&request, message->data, message->len);
	buffer_clear(message);
	call_once(bench, UPDATE_PATH, to_request(&request), check_updates);
}

/* An action that runs /bin/true; number makes it another one. */
static void
store_action(struct bench *bench, const struct digest *command,
    const struct digest *root, uint64_t number, struct digest *digest)
{
	struct buffer action;

	buffer_init(&action, KIB);
	put_digest(&action, 1, command);
	put_digest(&action, 2, root);
	put_bytes(&action, 9, &number, sizeof(number));
	store_message(bench, &action, digest);
}

/* The last Operation has a response, whose status is OK. */
static void
check_operation(struct str operation)
{
	struct wire_field field, any, response, status;
	bool done = false;

	while (wire_next(&operation, &field) > 0) {
		while (field.number == 5 && wire_next(&field.bytes, &any) > 0) {
			while (any.number == 2 &&
			       wire_next(&any.bytes, &response) > 0) {
				done = done || response.number == 1;
				while (response.number == 3 &&
				       wire_next(&response.bytes, &status) > 0)
					if (status.number == 1 &&
					    status.value != 0)
						load_die(EXECUTE_PATH,
						    "the action failed");
			}
		}
	}
	if (!done)
		load_die(EXECUTE_PATH, "no result");
}

static void
execute(struct bench *bench, const struct digest *action)
{
	struct load_stream stream;
	struct buffer request, last;
	grpc_byte_buffer_reader reader;
	grpc_slice slice;

	buffer_init(&request, KIB);
	put_digest(&request, 6, action);
	buffer_init(&last, MESSAGE_MAX);
	load_stream_open(&stream, &bench->client, EXECUTE_PATH);
	load_stream_send(&stream, to_request(&request), true);
	while (load_stream_receive(&stream)) {
		grpc_byte_buffer_reader_init(&reader, stream.call.reply);
		slice = grpc_byte_buffer_reader_readall(&reader);
		buffer_reset(&last);
		put(&last, GRPC_SLICE_START_PTR(slice),
		    GRPC_SLICE_LENGTH(slice));
		grpc_slice_unref(slice);
		grpc_byte_buffer_reader_destroy(&reader);
	}
	load_stream_close(&stream);
	check_operation(buffer_str(&last));
	buffer_clear(&last);
}

/* Execute -> result of trivial actions, one after the other. */
static void
figure_execute(struct bench *bench)
{
	int64_t *times = xcalloc(bench->count, sizeof(*times));
	struct digest *actions = xcalloc(bench->count, sizeof(*actions));
	struct load_figures figures = {.calls = bench->count};
	struct digest command, root;
	struct buffer message;
	int64_t cpu, start;

	digest_empty(DIGEST_SHA256, &root);
	buffer_init(&message, KIB);
	put_text(&message, 1, "/bin/true");
	store_message(bench, &message, &command);
	for (size_t i = 0; i < bench->count; i++)
		store_action(
		    bench, &command, &root, bench->base + i, &actions[i]);
	cpu = load_server_cpu(&bench->client);
	start = clock_monotonic_ns();
	for (size_t i = 0; i < bench->count; i++) {
		times[i] = clock_monotonic_ns();
		execute(bench, &actions[i]);
		times[i] = clock_monotonic_ns() - times[i];
	}
	load_summary(&figures, times, clock_monotonic_ns() - start,
	    load_server_cpu(&bench->client) - cpu);
	print_figures(&figures);
	free(actions);
	free(times);
}

/* --- the program -----------------------------------------------------------
 */

static const struct figure {
	const char *name;
	void (*run)(struct bench *bench);
	size_t count; /* calls, blobs or rounds, unless another is given */
} table[] = {
    {"echo", figure_echo, 1000000},
    {"bare-write", figure_bare_write, 1000000},
    {"find", figure_find, 1000000},
    {"find-many", figure_find_many, 300},
    {"find-old", figure_find_old, 20},
    {"get-action", figure_get_action, 1000000},
    {"batch", figure_batch, 60},
    {"fill", figure_fill, 1000},
    {"write-small", figure_write_small, 50000},
    {"read", figure_read, 8},
    {"write", figure_write, 4},
    {"execute", figure_execute, 200},
};

static const struct figure *
figure_find_name(const char *name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	fprintf(stderr, "bench_load: no figure \"%s\"; there are", name);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		fprintf(stderr, " %s", table[i].name);
	fputc('\n', stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	const struct figure *figure;
	struct bench bench = {0};

	if (argc < 4)
		load_die("usage", "bench_load FIGURE HOST:PORT PID "
				  "[in-flight [count [seconds]]]");
	figure = figure_find_name(argv[1]);
	bench.in_flight = argc > 4 ? strtoul(argv[4], NULL, 10) : 1;
	bench.count = argc > 5 && strcmp(argv[5], "0") != 0
			  ? strtoul(argv[5], NULL, 10)
			  : figure->count;
	bench.seconds = argc > 6 ? atof(argv[6]) : 0;
	bench.base = (uint64_t)clock_wall_ns();
	rpc_init();
	load_open(&bench.client, argv[2], atoi(argv[3]));
	figure->run(&bench);
	load_close(&bench.client);
	rpc_shutdown();
	return 0;
}
