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

static void
pieces_come_from_the_worker_and_the_rest_from_the_result(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, worker);
	const char *name = operation_name(world, client);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDOUT, 0);
	const Workerapi__ReadOutput *read = hear_read(world, worker);

	assert_int_equal(read->offset, 0);
	assert_false(read->standard_error);
	assert_true(read->limit > 0);
	tell_piece(worker, read->read_id, "one\n");
	expect_piece(world, reader, "one\n");
	read = hear_read(world, worker);
	assert_int_equal(read->offset, 4);
	tell_piece(worker, read->read_id, ""); /* it has ended */
	report_output(world, worker, lease, "one\ntwo\n");
	expect_piece(world, reader, "two\n");
	expect_piece(world, reader, "");
	reapi__execute_response__free_unpacked(finish(world, client), NULL);
	rpc_stream_free(reader);
	/* Afterwards, from any offset. */
	reader = read_output(world, name, OUTPUT_STREAM_STDOUT, 5);
	expect_piece(world, reader, "wo\n");
	expect_piece(world, reader, "");
	rpc_stream_free(reader);
	reader = read_output(world, name, OUTPUT_STREAM_STDERR, 0);
	expect_piece(world, reader, "");
	rpc_stream_free(reader);
	expect_end(read_output(world, name, OUTPUT_STREAM_STDOUT, 9),
	    ERROR_OUT_OF_RANGE);
	rpc_stream_free(worker);
}

static void
a_reader_may_come_before_the_worker(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *client = execute(world, &action, false);
	const char *name = operation_name(world, client);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDERR, 0);
	struct rpc_stream *worker = work(world, "w", 1);
	Workerapi__Lease *lease = take_lease(world, worker);
	const Workerapi__ReadOutput *read = hear_read(world, worker);

	assert_true(read->standard_error);
	assert_int_equal(read->lease_id.len, lease->lease_id.len);
	assert_memory_equal(
	    read->lease_id.data, lease->lease_id.data, lease->lease_id.len);
	tell_piece(worker, read->read_id, "oops");
	expect_piece(world, reader, "oops");
	read = hear_read(world, worker);
	assert_int_equal(read->offset, 4);
	rpc_stream_free(reader); /* which withdraws what was asked */
	read = hear_read(world, worker);
	assert_int_equal(read->limit, 0);
	report_exit(worker, lease, 0);
	reapi__execute_response__free_unpacked(finish(world, client), NULL);
	rpc_stream_free(worker);
}

static void
a_reader_is_told_when_another_worker_begins_anew(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *first = work(world, "first", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, first);
	const char *name = operation_name(world, client);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDOUT, 0);
	struct rpc_stream *fresh =
	    read_output(world, name, OUTPUT_STREAM_STDERR, 0);
	const Workerapi__ReadOutput *reads[2] = {
	    hear_read(world, first), hear_read(world, first)};
	struct rpc_stream *second;

	tell_piece(first, reads[reads[0]->standard_error ? 1 : 0]->read_id,
	    "half a li");
	expect_piece(world, reader, "half a li");
	rpc_stream_free(first); /* cancels */
	second = work(world, "second", 1);
	lease = take_lease(world, second);
	expect_end(reader, ERROR_ABORTED);
	/* One that has seen nothing goes on. */
	reads[0] = hear_read(world, second);
	assert_true(reads[0]->standard_error);
	tell_piece(second, reads[0]->read_id, "x");
	expect_piece(world, fresh, "x");
	report_exit(second, lease, 0);
	reapi__execute_response__free_unpacked(finish(world, client), NULL);
	rpc_stream_free(fresh);
	rpc_stream_free(second);
}

static void
a_worker_cannot_speak_for_another(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, worker);
	const char *name = operation_name(world, client);
	struct rpc_stream *liar = work(world, "liar", 1);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDOUT, 0);
	const Workerapi__ReadOutput *read = hear_read(world, worker);
	struct error err;

	tell_piece(liar, read->read_id, "lies");
	/* Its end comes after what it said was heard. */
	if (rpc_stream_half_close(liar, &err) < 0)
		fail_msg("%s", err.text);
	sent_away(world, liar, &err);
	tell_piece(worker, read->read_id, "truth");
	expect_piece(world, reader, "truth");
	report_exit(worker, lease, 0);
	reapi__execute_response__free_unpacked(finish(world, client), NULL);
	rpc_stream_free(reader);
	rpc_stream_free(liar);
	rpc_stream_free(worker);
}

static void
an_operation_that_ends_without_output_ends_its_readers(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, worker);
	const char *name = operation_name(world, client);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDOUT, 0);

	hear_read(world, worker);
	report(worker, lease, ERROR_INVALID_ARGUMENT, NULL);
	reapi__execute_response__free_unpacked(finish(world, client), NULL);
	expect_end(reader, ERROR_INVALID_ARGUMENT);
	rpc_stream_free(worker);
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
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, worker);
	const char *name = operation_name(world, client);
	struct rpc_stream *reader =
	    read_output(world, name, OUTPUT_STREAM_STDOUT, 0);

	assert_non_null(lease);
	hear_read(world, worker); /* the read has begun */
	rpc_server_stop(world->server, 5000);
	expect_end(reader, ERROR_UNAVAILABLE);
	rpc_stream_free(client);
	rpc_stream_free(worker);
	rpc_channel_close(world->channel);
	world->channel = NULL;
	thread_pool_free(world->pool);
	world->pool = NULL;
	rpc_server_free(world->server);
	world->server = NULL;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(pieces_come_from_the_worker_and_the_rest_from_the_result),
	    TEST(a_reader_may_come_before_the_worker),
	    TEST(a_reader_is_told_when_another_worker_begins_anew),
	    TEST(a_worker_cannot_speak_for_another),
	    TEST(an_operation_that_ends_without_output_ends_its_readers),
	    TEST(what_cannot_be_read_is_refused),
	    TEST(a_stopping_server_ends_reads),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
