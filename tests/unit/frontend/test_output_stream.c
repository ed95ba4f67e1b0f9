/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what an action writes while it runs, over a real server; the worker
 * is the test. */
#include "tests/unit/frontend/execution_harness.h"

#include <google/bytestream/bytestream.pb-c.h>

#include "frontend/output_stream.h"

/* The name of the operation that the client waits for, NUL-terminated. */
static const char *
operation_name(struct world *world, struct rpc_stream *client)
{
	struct error err;
	Longrunning__Operation *operation = next_update(world, client, &err);
	const char *name;

	assert_non_null(operation);
	name = arena_printf(&world->arena, "%.*s", (int)operation->name.len,
	    (const char *)operation->name.data);
	assert_non_null(name);
	return name;
}

static struct rpc_stream *
read_output(struct world *world, const char *operation, const char *stream,
    int64_t offset)
{
	Bytestream__ReadRequest request = BYTESTREAM__READ_REQUEST__INIT;

	request.resource_name =
	    bytes_of(arena_printf(&world->arena, "%s%s", operation, stream));
	request.read_offset = offset;
	return ask(world, "/google.bytestream.ByteStream/Read", &request.base);
}

/* The next piece is this; "" for the end with OK. */
static void
expect_piece(struct world *world, struct rpc_stream *reader, const char *text)
{
	Bytestream__ReadResponse *response;
	struct rpc_message *message;
	struct error err;
	int rc = rpc_stream_receive(reader, &message, &err);

	if (rc < 0)
		fail_msg("%s", err.text);
	if (rc == 0) {
		assert_string_equal(text, "");
		return;
	}
	response = rpc_message_unpack(message,
	    &bytestream__read_response__descriptor, &world->arena, &err);
	rpc_message_free(message);
	assert_non_null(response);
	assert_int_equal(response->data.len, strlen(text));
	assert_memory_equal(response->data.data, text, strlen(text));
}

static void
expect_end(struct rpc_stream *reader, enum error_code code)
{
	struct rpc_message *message;
	struct error err;

	assert_int_equal(rpc_stream_receive(reader, &message, &err), -1);
	assert_int_equal(err.code, code);
	rpc_stream_free(reader);
}

static const Workerapi__ReadOutput *
hear_read(struct world *world, struct rpc_stream *worker)
{
	struct error err;
	const Workerapi__ServerMessage *message = hear(world, worker, &err);

	assert_non_null(message);
	assert_int_equal(message->message_case,
	    WORKERAPI__SERVER_MESSAGE__MESSAGE_READ_OUTPUT);
	return message->read_output;
}

static void
tell_piece(struct rpc_stream *worker, uint64_t read_id, const char *text)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__OutputPiece piece = WORKERAPI__OUTPUT_PIECE__INIT;

	piece.read_id = read_id;
	piece.data = bytes_of(text);
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_OUTPUT_PIECE;
	message.output_piece = &piece;
	tell(worker, &message);
}

/* The action ends well, having written this in all. */
static void
report_output(struct world *world, struct rpc_stream *worker,
    const Workerapi__Lease *lease, const char *text)
{
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
	Reapi__Digest message = REAPI__DIGEST__INIT;
	char space[DIGEST_TEXT_MAX];
	struct digest digest;
	struct error err;

	digest_compute(DIGEST_SHA256, text, strlen(text), &digest);
	if (store_put_bytes(
		world->storage.store, &digest, str_from(text), &err) < 0)
		fail_msg("%s", err.text);
	digest_to_message(&digest, space, &message);
	result.stdout_digest = &message;
	report(worker, lease, 0, &result);
}

/* A run, and a reader of its standard output from the beginning. */
struct reading {
	struct run run;
	const char *name; /* of the operation */
	struct rpc_stream *reader;
	const Workerapi__ReadOutput *read; /* what the worker was asked */
};

static struct reading
begin_reading(struct world *world)
{
	struct reading reading = {.run = begin_run(world)};

	reading.name = operation_name(world, reading.run.client);
	reading.reader =
	    read_output(world, reading.name, OUTPUT_STREAM_STDOUT, 0);
	reading.read = hear_read(world, reading.run.worker);
	return reading;
}

static void
pieces_come_from_the_worker_and_the_rest_from_the_result(void **state)
{
	struct world *world = *state;
	struct reading r = begin_reading(world);

	assert_int_equal(r.read->offset, 0);
	assert_false(r.read->standard_error);
	assert_true(r.read->limit > 0);
	tell_piece(r.run.worker, r.read->read_id, "one\n");
	expect_piece(world, r.reader, "one\n");
	r.read = hear_read(world, r.run.worker);
	assert_int_equal(r.read->offset, 4);
	tell_piece(r.run.worker, r.read->read_id, ""); /* it has ended */
	report_output(world, r.run.worker, r.run.lease, "one\ntwo\n");
	expect_piece(world, r.reader, "two\n");
	expect_piece(world, r.reader, "");
	rpc_stream_free(r.reader);
	end_run(world, &r.run);
	/* Afterwards, from any offset. */
	r.reader = read_output(world, r.name, OUTPUT_STREAM_STDOUT, 5);
	expect_piece(world, r.reader, "wo\n");
	expect_piece(world, r.reader, "");
	rpc_stream_free(r.reader);
	r.reader = read_output(world, r.name, OUTPUT_STREAM_STDERR, 0);
	expect_piece(world, r.reader, "");
	rpc_stream_free(r.reader);
	expect_end(read_output(world, r.name, OUTPUT_STREAM_STDOUT, 9),
	    ERROR_OUT_OF_RANGE);
}

static void
output_within_the_result_is_read_as_a_blob_is(void **state)
{
	struct world *world = *state;
	struct run run = begin_run(world);
	const char *name = operation_name(world, run.client);
	struct rpc_stream *reader;

	report_exit(run.worker, run.lease, 0); /* "said" */
	end_run(world, &run);
	reader = read_output(world, name, OUTPUT_STREAM_STDOUT, 2);
	expect_piece(world, reader, "id");
	expect_piece(world, reader, "");
	rpc_stream_free(reader);
	reader = read_output(world, name, OUTPUT_STREAM_STDOUT, 4);
	expect_piece(world, reader, "");
	rpc_stream_free(reader);
	expect_end(read_output(world, name, OUTPUT_STREAM_STDOUT, 5),
	    ERROR_OUT_OF_RANGE);
	expect_end(read_output(world, name, OUTPUT_STREAM_STDERR, 1),
	    ERROR_OUT_OF_RANGE);
}

static void
a_reader_may_come_before_the_worker(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct run run = {.client = execute(world, &action, false)};
	const char *name = operation_name(world, run.client);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDERR, 0);
	const Workerapi__ReadOutput *read;

	run.worker = work(world, "w", 1);
	run.lease = take_lease(world, run.worker);
	read = hear_read(world, run.worker);
	assert_true(read->standard_error);
	assert_int_equal(read->lease_id.len, run.lease->lease_id.len);
	assert_memory_equal(read->lease_id.data, run.lease->lease_id.data,
	    run.lease->lease_id.len);
	tell_piece(run.worker, read->read_id, "oops");
	expect_piece(world, reader, "oops");
	read = hear_read(world, run.worker);
	assert_int_equal(read->offset, 4);
	rpc_stream_free(reader); /* which withdraws what was asked */
	read = hear_read(world, run.worker);
	assert_int_equal(read->limit, 0);
	report_exit(run.worker, run.lease, 0);
	end_run(world, &run);
}

enum { READERS = 50, ROUNDS = 4 };

/* Reads that begin, are asked for, and end. finished: calls, afterwards. */
static void
read_and_go(struct world *world, const char *name, unsigned finished)
{
	const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct rpc_message *request = rpc_message_new();
	struct rpc_stream *readers[READERS];
	struct rpc_message *response;
	struct error err;

	for (int i = 0; i < READERS; i++)
		readers[i] = read_output(world, name, OUTPUT_STREAM_STDOUT, 0);
	/* When this is answered (it is no name), the reads have come too. */
	assert_int_equal(rpc_channel_call(world->channel,
			     "/google.bytestream.ByteStream/QueryWriteStatus",
			     request, &options, &response, &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_message_free(request);
	for (int i = 0; i < READERS; i++)
		rpc_stream_free(readers[i]);
	world_wait_finished(world, finished);
}

static void
what_waits_for_a_worker_that_does_not_listen_is_bounded(void **state)
{
	enum { LARGE = 40 };
	struct world *world = *state;
	struct run run = begin_run(world);
	const char *name = operation_name(world, run.client);
	struct rpc_stream *others[LARGE];
	unsigned finished = atomic_load(&world->finished);
	struct rpc_stream *reader;
	unsigned heard = 0;

	/* Leases larger than what gRPC takes in ahead. */
	for (int i = 0; i < LARGE; i++) {
		const char argument[] = {(char)('b' + i), '\0'};
		struct digest large = make_action(world,
		    &(struct wish){.argument = argument, .salt = 250u << 10});

		others[i] = execute(world, &large, false);
		operation_name(world, others[i]);
	}
	for (unsigned round = 1; round <= ROUNDS; round++)
		read_and_go(world, name, finished + round * (READERS + 1));
	for (int i = 0; i < LARGE; i++) {
		take_lease(world, run.worker);
		rpc_stream_free(others[i]);
	}
	reader = read_output(world, name, OUTPUT_STREAM_STDERR, 0);
	/* None, if what gRPC took in ahead was as little as it should be. */
	while (!hear_read(world, run.worker)->standard_error)
		heard++;
	assert_true(heard < ROUNDS * READERS / 2);
	rpc_stream_free(reader);
	report_exit(run.worker, run.lease, 0);
	end_run(world, &run);
}

static void
a_reader_is_told_when_another_worker_begins_anew(void **state)
{
	struct world *world = *state;
	struct reading r = begin_reading(world);
	struct rpc_stream *fresh =
	    read_output(world, r.name, OUTPUT_STREAM_STDERR, 0);
	const Workerapi__ReadOutput *read = hear_read(world, r.run.worker);

	tell_piece(r.run.worker, r.read->read_id, "half a li");
	expect_piece(world, r.reader, "half a li");
	rpc_stream_free(r.run.worker); /* cancels */
	r.run.worker = work(world, "second", 1);
	r.run.lease = take_lease(world, r.run.worker);
	expect_end(r.reader, ERROR_ABORTED);
	/* One that has seen nothing goes on. */
	read = hear_read(world, r.run.worker);
	assert_true(read->standard_error);
	tell_piece(r.run.worker, read->read_id, "x");
	expect_piece(world, fresh, "x");
	report_exit(r.run.worker, r.run.lease, 0);
	rpc_stream_free(fresh);
	end_run(world, &r.run);
}

/* The same worker, on the same stream. */
static void
an_answer_for_the_lease_before_is_not_taken(void **state)
{
	struct world *world = *state;
	struct reading r = begin_reading(world);
	uint64_t before = r.read->read_id;

	report(r.run.worker, r.run.lease, ERROR_UNAVAILABLE, NULL);
	r.run.lease = take_lease(world, r.run.worker);
	r.read = hear_read(world, r.run.worker);
	assert_int_not_equal(r.read->read_id, before);
	tell_piece(r.run.worker, before, "of the lease before");
	tell_piece(r.run.worker, before, "");
	tell_piece(r.run.worker, r.read->read_id, "of this lease");
	expect_piece(world, r.reader, "of this lease");
	report_exit(r.run.worker, r.run.lease, 0);
	rpc_stream_free(r.reader);
	end_run(world, &r.run);
}

static void
a_worker_cannot_speak_for_another(void **state)
{
	struct world *world = *state;
	struct reading r = begin_reading(world);
	struct rpc_stream *liar = work(world, "liar", 1);
	struct error err;

	tell_piece(liar, r.read->read_id, "lies");
	/* Its end comes after what it said was heard. */
	if (rpc_stream_half_close(liar, &err) < 0)
		fail_msg("%s", err.text);
	sent_away(world, liar, &err);
	tell_piece(r.run.worker, r.read->read_id, "truth");
	expect_piece(world, r.reader, "truth");
	report_exit(r.run.worker, r.run.lease, 0);
	rpc_stream_free(r.reader);
	rpc_stream_free(liar);
	end_run(world, &r.run);
}

static void
an_operation_that_ends_without_output_ends_its_readers(void **state)
{
	struct world *world = *state;
	struct reading r = begin_reading(world);

	report(r.run.worker, r.run.lease, ERROR_INVALID_ARGUMENT, NULL);
	expect_end(r.reader, ERROR_INVALID_ARGUMENT);
	end_run(world, &r.run);
}

static void
what_cannot_be_read_is_refused(void **state)
{
	struct world *world = *state;

	expect_end(
	    read_output(world, "a/b/operations/none", OUTPUT_STREAM_STDOUT, 0),
	    ERROR_NOT_FOUND);
	expect_end(
	    read_output(world, "operations/none", OUTPUT_STREAM_STDOUT, -1),
	    ERROR_OUT_OF_RANGE);
}

static void
a_stopping_server_ends_reads(void **state)
{
	struct world *world = *state;
	struct reading r = begin_reading(world);

	rpc_server_stop(world->server, 5000);
	expect_end(r.reader, ERROR_UNAVAILABLE);
	rpc_stream_free(r.run.client);
	rpc_stream_free(r.run.worker);
	world_close(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(pieces_come_from_the_worker_and_the_rest_from_the_result),
	    TEST(output_within_the_result_is_read_as_a_blob_is),
	    TEST(a_reader_may_come_before_the_worker),
	    TEST(what_waits_for_a_worker_that_does_not_listen_is_bounded),
	    TEST(a_reader_is_told_when_another_worker_begins_anew),
	    TEST(an_answer_for_the_lease_before_is_not_taken),
	    TEST(a_worker_cannot_speak_for_another),
	    TEST(an_operation_that_ends_without_output_ends_its_readers),
	    TEST(what_cannot_be_read_is_refused),
	    TEST(a_stopping_server_ends_reads),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
