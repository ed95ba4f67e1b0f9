/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server with the execution services over a store in a temporary directory,
 * clients and a worker played by the test. One thread, which blocks on the
 * streams; every wait is bounded by the streams' deadline.
 */
#ifndef TOOLROOT_TESTS_EXECUTION_HARNESS_H
#define TOOLROOT_TESTS_EXECUTION_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <google/longrunning/operations.pb-c.h>
#include <google/protobuf/empty.pb-c.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "frontend/execution.h"
#include "frontend/method_table.h"
#include "frontend/storage.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"

#define TIMEOUT_MS 20000
#define EXECUTION "/build.bazel.remote.execution.v2.Execution/"
#define OPERATIONS "/google.longrunning.Operations/"

struct world {
	char path[64];
	struct storage storage;
	struct execution_options options;
	struct execution_service *execution;
	struct method_table table;
	struct thread_pool *pool;
	struct rpc_server *server;
	struct rpc_channel *channel;
	struct arena arena;
	atomic_uint finished; /* calls */
};

static inline void
world_stopping(void *cookie)
{
	execution_service_stopping(((struct world *)cookie)->execution);
}

static inline void
world_finished(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie)
{
	(void)call;
	(void)status;
	(void)duration_ns;
	atomic_fetch_add(&((struct world *)cookie)->finished, 1);
}

static inline void
world_wait_finished(struct world *world, unsigned calls)
{
	for (int i = 0; i < TIMEOUT_MS; i++) {
		if (atomic_load(&world->finished) >= calls)
			return;
		usleep(1000);
	}
	fail_msg(
	    "%u of %u calls have ended", atomic_load(&world->finished), calls);
}

static inline void
world_serve(struct world *world)
{
	struct rpc_server_options options = {.listen = "127.0.0.1:0",
	    .methods = world->table.items,
	    .method_count = world->table.count,
	    .pollers = 4, /* as with 16 cores */
	    .max_receive_bytes = 8 << 20,
	    .max_call_memory = 8 << 20,
	    .max_streams = 100,
	    .transport_memory = 256 << 20,
	    .pool = world->pool,
	    .finished = world_finished,
	    .stopping = world_stopping,
	    .cookie = world};
	struct rpc_channel_options channel = {.address = NULL};
	struct error err;
	char *address;

	world->server = rpc_server_new(&options, &err);
	if (world->server == NULL)
		fail_msg("%s", err.text);
	rpc_server_start(world->server);
	address = xasprintf("grpc://%s", rpc_server_address(world->server));
	channel.address = address;
	world->channel = rpc_channel_open(&channel, &err);
	if (world->channel == NULL)
		fail_msg("%s", err.text);
	free(address);
}

static inline int
set_up(void **state)
{
	struct world *world = xcalloc(1, sizeof(*world));
	struct store_options store = {.path = world->path, .max_size = 1 << 30};
	struct error err;

	strcpy(world->path, "/tmp/toolroot-execution-XXXXXX");
	if (mkdtemp(world->path) == NULL)
		fail();
	world->storage.store = store_open(&store, &err);
	if (world->storage.store == NULL)
		fail_msg("%s", err.text);
	world->storage.digest_functions = 1u << DIGEST_SHA256;
	world->storage.execution = true;
	execution_options_init(&world->options);
	world->options.update_ms = 200;
	world->options.scheduler.heartbeat_ms = 8000;
	world->execution =
	    execution_service_new(&world->options, &world->storage);
	execution_service_add(&world->table, world->execution);
	world->storage.executions = world->execution;
	byte_stream_add(&world->table, &world->storage);
	world->pool = thread_pool_new(3);
	arena_init(&world->arena, 64 << 20);
	world_serve(world);
	*state = world;
	return 0;
}

/* After rpc_server_stop. */
static inline void
world_close(struct world *world)
{
	rpc_channel_close(world->channel);
	world->channel = NULL;
	thread_pool_free(world->pool);
	world->pool = NULL;
	rpc_server_free(world->server);
	world->server = NULL;
}

static inline int
tear_down(void **state)
{
	struct world *world = *state;
	struct error err;

	if (world->server != NULL)
		rpc_server_stop(world->server, 1000);
	world_close(world);
	execution_service_free(world->execution);
	store_close(world->storage.store);
	file_remove_tree(world->path, &err);
	arena_clear(&world->arena);
	free(world);
	return 0;
}

static inline int
group_set_up(void **state)
{
	(void)state;
	rpc_init();
	return 0;
}

static inline int
group_tear_down(void **state)
{
	(void)state;
	rpc_shutdown();
	return 0;
}

static inline ProtobufCBinaryData
bytes_of(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* --- blobs -----------------------------------------------------------------
 */

static inline struct digest
put(struct world *world, const ProtobufCMessage *message, bool stored)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = xmalloc(size + 1);
	struct digest digest;
	struct error err;

	protobuf_c_message_pack(message, bytes);
	digest_compute(DIGEST_SHA256, bytes, size, &digest);
	if (stored && store_put_bytes(world->storage.store, &digest,
			  (struct str){(char *)bytes, size}, &err) < 0)
		fail_msg("%s", err.text);
	free(bytes);
	return digest;
}

struct wish {
	const char *argument; /* makes the action distinct */
	size_t salt;          /* bytes, which make it large */
	const char *pool;
	int64_t timeout_s;
	bool do_not_cache;
	bool without_inputs;
	bool without_command;
};

/* Stores an action and returns its digest. */
static inline struct digest
make_action(struct world *world, const struct wish *wish)
{
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Command command = REAPI__COMMAND__INIT;
	Reapi__Directory root = REAPI__DIRECTORY__INIT;
	Reapi__FileNode file = REAPI__FILE_NODE__INIT;
	Reapi__FileNode *files = &file;
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property property = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *properties = &property;
	Reapi__Digest digests[3];
	char texts[3][DIGEST_TEXT_MAX];
	ProtobufCBinaryData argument = bytes_of(wish->argument);
	Google__Protobuf__Duration timeout = GOOGLE__PROTOBUF__DURATION__INIT;
	struct digest digest;
	struct error err;

	action.salt = (ProtobufCBinaryData){
	    wish->salt, arena_zalloc(&world->arena, 1, wish->salt + 1)};
	for (int i = 0; i < 3; i++)
		reapi__digest__init(&digests[i]);
	command.n_arguments = 1;
	command.arguments = &argument;
	digest = put(world, &command.base, !wish->without_command);
	digest_to_message(&digest, texts[0], &digests[0]);
	digest_compute(DIGEST_SHA256, "input", 5, &digest);
	if (!wish->without_inputs && store_put_bytes(world->storage.store,
					 &digest, STR("input"), &err) < 0)
		fail_msg("%s", err.text);
	digest_to_message(&digest, texts[1], &digests[1]);
	file.name = bytes_of("file");
	file.digest = &digests[1];
	root.n_files = 1;
	root.files = &files;
	digest = put(world, &root.base, true);
	digest_to_message(&digest, texts[2], &digests[2]);
	action.command_digest = &digests[0];
	action.input_root_digest = &digests[2];
	action.do_not_cache = wish->do_not_cache;
	if (wish->timeout_s != 0) {
		timeout.seconds = wish->timeout_s;
		action.timeout = &timeout;
	}
	if (wish->pool != NULL) {
		property.name = bytes_of("pool");
		property.value = bytes_of(wish->pool);
		platform.n_properties = 1;
		platform.properties = &properties;
		action.platform = &platform;
	}
	return put(world, &action.base, true);
}

/* --- clients ---------------------------------------------------------------
 */

static inline struct rpc_stream *
open_stream(struct world *world, const char *path)
{
	const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct rpc_stream *stream;
	struct error err;

	stream = rpc_stream_open(world->channel, path, &options, &err);
	if (stream == NULL)
		fail_msg("%s", err.text);
	return stream;
}

static inline struct rpc_stream *
ask(struct world *world, const char *path, const ProtobufCMessage *request)
{
	struct rpc_stream *stream = open_stream(world, path);
	struct error err;

	if (rpc_stream_send(stream, rpc_message_pack(request), &err) < 0 ||
	    rpc_stream_half_close(stream, &err) < 0)
		fail_msg("%s", err.text);
	return stream;
}

static inline struct rpc_stream *
execute(struct world *world, const struct digest *action, bool skip_cache)
{
	Reapi__ExecuteRequest request = REAPI__EXECUTE_REQUEST__INIT;
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	char text[DIGEST_TEXT_MAX];

	digest_to_message(action, text, &digest);
	request.instance_name = bytes_of("a/b");
	request.action_digest = &digest;
	request.skip_cache_lookup = skip_cache;
	return ask(world, EXECUTION "Execute", &request.base);
}

static inline struct rpc_stream *
wait_for(struct world *world, ProtobufCBinaryData name)
{
	Reapi__WaitExecutionRequest request =
	    REAPI__WAIT_EXECUTION_REQUEST__INIT;

	request.name = name;
	return ask(world, EXECUTION "WaitExecution", &request.base);
}

/* The next operation of the stream. NULL: it ended, err says how. */
static inline Longrunning__Operation *
next_update(struct world *world, struct rpc_stream *stream, struct error *err)
{
	struct rpc_message *message = NULL;
	Longrunning__Operation *operation;
	int more = rpc_stream_receive(stream, &message, err);

	if (more == 0)
		err->code = ERROR_OK;
	if (more <= 0)
		return NULL;
	operation = rpc_message_unpack(
	    message, &longrunning__operation__descriptor, &world->arena, err);
	rpc_message_free(message);
	assert_non_null(operation);
	return operation;
}

static inline Reapi__ExecutionStage__Value
stage_of(struct world *world, const Longrunning__Operation *operation)
{
	ProtobufCBinaryData bytes = operation->metadata->value;
	Reapi__ExecuteOperationMetadata *metadata;
	Reapi__ExecutionStage__Value stage;

	(void)world;
	metadata = reapi__execute_operation_metadata__unpack(
	    NULL, bytes.len, bytes.data);
	assert_non_null(metadata);
	stage = metadata->stage;
	reapi__execute_operation_metadata__free_unpacked(metadata, NULL);
	return stage;
}

/* The response of a done operation; free_unpacked by the caller. */
static inline Reapi__ExecuteResponse *
response_of(const Longrunning__Operation *operation)
{
	Reapi__ExecuteResponse *response;

	assert_true(operation->done);
	assert_int_equal(
	    operation->result_case, LONGRUNNING__OPERATION__RESULT_RESPONSE);
	response = reapi__execute_response__unpack(NULL,
	    operation->response->value.len, operation->response->value.data);
	assert_non_null(response);
	return response;
}

/* Reads to the end; the stream is freed. */
static inline Reapi__ExecuteResponse *
finish(struct world *world, struct rpc_stream *stream)
{
	Longrunning__Operation *last = NULL;
	Longrunning__Operation *operation;
	struct error err;

	while ((operation = next_update(world, stream, &err)) != NULL)
		last = operation;
	if (err.code != ERROR_OK)
		fail_msg("%s: %s", error_code_name(err.code), err.text);
	rpc_stream_free(stream);
	assert_non_null(last);
	assert_int_equal(
	    stage_of(world, last), REAPI__EXECUTION_STAGE__VALUE__COMPLETED);
	return response_of(last);
}

static inline int
status_code(Reapi__ExecuteResponse *response)
{
	int code = response->status != NULL ? response->status->code : 0;

	reapi__execute_response__free_unpacked(response, NULL);
	return code;
}

/* How a stream that is refused ends; it is freed. */
static inline enum error_code
refusal(struct world *world, struct rpc_stream *stream, struct error *err)
{
	while (next_update(world, stream, err) != NULL)
		;
	rpc_stream_free(stream);
	return err->code;
}

/* --- a worker --------------------------------------------------------------
 */

static inline void
tell(struct rpc_stream *stream, const Workerapi__WorkerMessage *message)
{
	struct error err;

	if (rpc_stream_send(stream, rpc_message_pack(&message->base), &err) < 0)
		fail_msg("%s", err.text);
}

/* NULL: the stream ended. */
static inline Workerapi__ServerMessage *
hear(struct world *world, struct rpc_stream *stream, struct error *err)
{
	struct rpc_message *message = NULL;
	Workerapi__ServerMessage *unpacked;

	if (rpc_stream_receive(stream, &message, err) <= 0)
		return NULL;
	unpacked = rpc_message_unpack(message,
	    &workerapi__server_message__descriptor, &world->arena, err);
	rpc_message_free(message);
	assert_non_null(unpacked);
	return unpacked;
}

static inline struct rpc_stream *
work(struct world *world, const char *name, uint32_t slots)
{
	struct rpc_stream *stream =
	    open_stream(world, "/toolroot.worker.v1.Workers/Serve");
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Hello hello = WORKERAPI__HELLO__INIT;
	Workerapi__ServerMessage *welcome;
	struct error err;

	hello.worker_name = bytes_of(name);
	hello.slots = slots;
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO;
	message.hello = &hello;
	tell(stream, &message);
	welcome = hear(world, stream, &err);
	assert_non_null(welcome);
	assert_int_equal(
	    welcome->message_case, WORKERAPI__SERVER_MESSAGE__MESSAGE_WELCOME);
	assert_int_equal(welcome->welcome->lease_timeout->seconds, 8);
	assert_int_equal(welcome->welcome->heartbeat_interval->seconds, 2);
	return stream;
}

/* Reads to the end: at most a Shutdown, which the end may overtake. */
static inline void
sent_away(struct world *world, struct rpc_stream *stream, struct error *err)
{
	Workerapi__ServerMessage *message = hear(world, stream, err);

	if (message == NULL)
		return;
	assert_int_equal(
	    message->message_case, WORKERAPI__SERVER_MESSAGE__MESSAGE_SHUTDOWN);
	assert_null(hear(world, stream, err));
}

static inline Workerapi__Lease *
take_lease(struct world *world, struct rpc_stream *stream)
{
	struct error err;
	Workerapi__ServerMessage *message = hear(world, stream, &err);

	if (message == NULL)
		fail_msg("%s", err.text);
	assert_int_equal(
	    message->message_case, WORKERAPI__SERVER_MESSAGE__MESSAGE_LEASE);
	return message->lease;
}

static inline void
beat(struct rpc_stream *stream, const Workerapi__Lease *lease,
    Workerapi__LeaseState__Stage stage)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Heartbeat heartbeat = WORKERAPI__HEARTBEAT__INIT;
	Workerapi__LeaseState lease_state = WORKERAPI__LEASE_STATE__INIT;
	Workerapi__LeaseState *states = &lease_state;

	lease_state.lease_id = lease->lease_id;
	lease_state.stage = stage;
	heartbeat.n_leases = 1;
	heartbeat.leases = &states;
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HEARTBEAT;
	message.heartbeat = &heartbeat;
	tell(stream, &message);
}

/* result NULL: only a status. */
static inline void
report(struct rpc_stream *stream, const Workerapi__Lease *lease, int code,
    Reapi__ActionResult *result)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__LeaseResult lease_result = WORKERAPI__LEASE_RESULT__INIT;
	GrpcStatus__Status status = GRPC_STATUS__STATUS__INIT;

	status.code = code;
	status.message = (char *)(uintptr_t)(code != 0 ? "a reason" : "");
	lease_result.lease_id = lease->lease_id;
	lease_result.status = &status;
	lease_result.result = result;
	lease_result.message = (char *)(uintptr_t) "ran on a test";
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_LEASE_RESULT;
	message.lease_result = &lease_result;
	tell(stream, &message);
}

static inline void
report_exit(
    struct rpc_stream *stream, const Workerapi__Lease *lease, int exit_code)
{
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;

	result.exit_code = exit_code;
	result.stdout_raw = bytes_of("said");
	report(stream, lease, 0, &result);
}

/* An action that a worker has the lease of, and its client. */
struct run {
	struct rpc_stream *worker;
	struct rpc_stream *client;
	Workerapi__Lease *lease;
};

static inline struct run
begin_run(struct world *world)
{
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct run run = {.worker = work(world, "w", 60)};

	run.client = execute(world, &action, false);
	run.lease = take_lease(world, run.worker);
	return run;
}

/* The client hears of the end. */
static inline void
end_run(struct world *world, struct run *run)
{
	reapi__execute_response__free_unpacked(
	    finish(world, run->client), NULL);
	rpc_stream_free(run->worker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
