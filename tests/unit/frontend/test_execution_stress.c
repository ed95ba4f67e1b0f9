/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The execution services under load, for the sanitizers: clients that come,
 * leave in the middle, re-attach and read what is written, workers that fail
 * and vanish, all at once now and then, or answer for others. Whatever
 * happens, a client that stays gets an answer. Threads count what went wrong
 * instead of asserting.
 */
#include "tests/unit/frontend/execution_harness.h"

#include <google/bytestream/bytestream.pb-c.h>
#include <pthread.h>
#include <stdatomic.h>

#include "frontend/output_stream.h"

#define ACTIONS 12
#define CLIENTS 4
#define WORKERS 3
#define ROUNDS 40

struct stress {
	struct world *world;
	struct digest actions[ACTIONS];
	atomic_bool stopping;
	atomic_uint wrong;
	atomic_uint answered;
};

struct player {
	struct stress *stress;
	unsigned random;
};

static unsigned
draw(struct player *player, unsigned below)
{
	return (unsigned)rand_r(&player->random) % below;
}

/* --- workers ---------------------------------------------------------------
 */

static int
send_message(struct rpc_stream *stream, const Workerapi__WorkerMessage *message)
{
	struct error err;

	return rpc_stream_send(stream, rpc_message_pack(&message->base), &err);
}

static int
send_result(struct player *player, struct rpc_stream *stream,
    const Workerapi__Lease *lease)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__LeaseResult lease_result = WORKERAPI__LEASE_RESULT__INIT;
	GrpcStatus__Status status = GRPC_STATUS__STATUS__INIT;
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;

	if (draw(player, 6) == 0)
		status.code = ERROR_UNAVAILABLE;
	else
		lease_result.result = &result;
	result.exit_code = (int32_t)draw(player, 2);
	lease_result.lease_id = lease->lease_id;
	lease_result.status = &status;
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_LEASE_RESULT;
	message.lease_result = &lease_result;
	return send_message(stream, &message);
}

/* Now and then for a read that another worker was asked for. */
static int
send_piece(struct player *player, struct rpc_stream *stream,
    const Workerapi__ReadOutput *read)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__OutputPiece piece = WORKERAPI__OUTPUT_PIECE__INIT;

	piece.read_id = read->read_id - draw(player, 2);
	piece.data = bytes_of(draw(player, 4) == 0 ? "" : "some output");
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_OUTPUT_PIECE;
	message.output_piece = &piece;
	return send_message(stream, &message);
}

/* One session: ends when the stream does, or in the middle of it all. */
static void
run_session(struct player *player, struct rpc_stream *stream)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Hello hello = WORKERAPI__HELLO__INIT;
	struct rpc_message *received;
	struct error err;

	hello.worker_name = bytes_of("w");
	hello.slots = 2;
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO;
	message.hello = &hello;
	if (send_message(stream, &message) < 0)
		return;
	while (draw(player, 50) > 0 &&
	       rpc_stream_receive(stream, &received, &err) > 0) {
		Workerapi__ServerMessage *heard;
		struct arena arena;

		arena_init(&arena, 1 << 20);
		heard = rpc_message_unpack(received,
		    &workerapi__server_message__descriptor, &arena, &err);
		if (heard != NULL &&
		    heard->message_case ==
			WORKERAPI__SERVER_MESSAGE__MESSAGE_LEASE)
			send_result(player, stream, heard->lease);
		if (heard != NULL &&
		    heard->message_case ==
			WORKERAPI__SERVER_MESSAGE__MESSAGE_READ_OUTPUT)
			send_piece(player, stream, heard->read_output);
		rpc_message_free(received);
		arena_clear(&arena);
	}
}

static void *
run_worker(void *cookie)
{
	struct player *player = cookie;
	struct stress *stress = player->stress;

	while (!atomic_load(&stress->stopping)) {
		const struct rpc_call_options options = {
		    .timeout_ms = TIMEOUT_MS};
		struct rpc_stream *stream;
		struct error err;

		stream = rpc_stream_open(stress->world->channel,
		    "/toolroot.worker.v1.Workers/Serve", &options, &err);
		if (stream == NULL)
			break;
		run_session(player, stream);
		rpc_stream_free(stream);
	}
	return NULL;
}

/* --- clients ---------------------------------------------------------------
 */

/* A piece of the operation's output, or none. */
static void
look_on(struct player *player, struct world *mine, ProtobufCBinaryData name)
{
	Bytestream__ReadRequest request = BYTESTREAM__READ_REQUEST__INIT;
	struct rpc_message *message;
	struct rpc_stream *stream;
	struct error err;

	request.resource_name = bytes_of(arena_printf(&mine->arena, "%.*s%s",
	    (int)name.len, (const char *)name.data, OUTPUT_STREAM_STDOUT));
	stream = ask(mine, "/google.bytestream.ByteStream/Read", &request.base);
	if (draw(player, 2) == 0 &&
	    rpc_stream_receive(stream, &message, &err) > 0)
		rpc_message_free(message);
	rpc_stream_free(stream);
}

/* 1 done, 0 the client left, with the operation's name if it heard it, -1. */
static int
follow(struct player *player, struct world *mine, struct rpc_stream *stream,
    ProtobufCBinaryData *name)
{
	Longrunning__Operation *operation;
	struct error err = {.code = ERROR_OK};
	int rc = -1;

	while ((operation = next_update(mine, stream, &err)) != NULL) {
		*name = operation->name;
		if (draw(player, 2) == 0)
			look_on(player, mine, *name);
		if (operation->done)
			rc = 1;
		else if (draw(player, 6) == 0)
			break;
	}
	if (operation != NULL)
		rc = 0;
	rpc_stream_free(stream);
	return rc;
}

static void *
run_client(void *cookie)
{
	struct player *player = cookie;
	struct stress *stress = player->stress;
	struct world mine = {.channel = stress->world->channel};

	arena_init(&mine.arena, 64 << 20);
	for (int i = 0; i < ROUNDS; i++) {
		const struct digest *action =
		    &stress->actions[draw(player, ACTIONS)];
		ProtobufCBinaryData name = {0, NULL};
		int rc;

		rc = follow(player, &mine,
		    execute(&mine, action, draw(player, 2) == 0), &name);
		while (rc == 0 && draw(player, 4) > 0)
			rc =
			    follow(player, &mine, wait_for(&mine, name), &name);
		if (rc > 0)
			atomic_fetch_add(&stress->answered, 1);
		if (rc < 0)
			atomic_fetch_add(&stress->wrong, 1);
	}
	arena_clear(&mine.arena);
	return NULL;
}

static void
every_client_that_stays_is_answered(void **state)
{
	struct stress stress = {.world = *state};
	struct player players[CLIENTS + WORKERS];
	pthread_t threads[CLIENTS + WORKERS];
	char argument[] = "a";

	for (int i = 0; i < ACTIONS; i++) {
		argument[0] = (char)('a' + i);
		stress.actions[i] = make_action(
		    stress.world, &(struct wish){.argument = argument,
				      .do_not_cache = i % 4 == 0});
	}
	for (unsigned i = 0; i < CLIENTS + WORKERS; i++) {
		players[i] = (struct player){&stress, i + 1};
		pthread_create(&threads[i], NULL,
		    i < CLIENTS ? run_client : run_worker, &players[i]);
	}
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stress.stopping, true);
	rpc_server_stop(stress.world->server, 5000);
	for (int i = CLIENTS; i < CLIENTS + WORKERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&stress.wrong), 0);
	assert_true(atomic_load(&stress.answered) > CLIENTS * ROUNDS / 4);
	print_message("%u answers\n", atomic_load(&stress.answered));
	world_close(stress.world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(every_client_that_stays_is_answered),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
