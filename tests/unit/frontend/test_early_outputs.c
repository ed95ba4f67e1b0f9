/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs that a worker tells of while its action runs, on their way to those
 * who wait for it, over a real server; the worker is the test. */
#include "tests/unit/frontend/execution_harness.h"

#include "protos/arena_allocator.h"
#include "protos/early_outputs.h"

/* What is the same for all files. */
#define HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void
tell_early(struct world *world, struct rpc_stream *worker,
    const Workerapi__Lease *lease, const char *path, size_t count)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__EarlyOutputs early = WORKERAPI__EARLY_OUTPUTS__INIT;
	Reapi__OutputFile file = REAPI__OUTPUT_FILE__INIT;
	Reapi__Digest digest = REAPI__DIGEST__INIT;

	digest.hash = bytes_of(HASH);
	file.path = bytes_of(path);
	file.digest = &digest;
	early.lease_id = lease->lease_id;
	early.n_files = count;
	early.files = arena_zalloc(&world->arena, count, sizeof(*early.files));
	for (size_t i = 0; i < count; i++)
		early.files[i] = &file;
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_EARLY_OUTPUTS;
	message.early_outputs = &early;
	tell(worker, &message);
}

/* Of the operation's metadata; NULL when it has none. */
static Workerapi__EarlyOutputs *
early_of(struct world *world, const Longrunning__Operation *operation)
{
	ProtobufCBinaryData bytes = operation->metadata->value;
	Reapi__ExecutedActionMetadata *partial;
	struct error err;
	const Reapi__ExecuteOperationMetadata *metadata = protos_unpack(
	    &world->arena, &reapi__execute_operation_metadata__descriptor,
	    (struct str){(const char *)bytes.data, bytes.len}, &err);

	assert_non_null(metadata);
	partial = metadata->partial_execution_metadata;
	for (size_t i = 0; i < partial->n_auxiliary_metadata; i++) {
		const Google__Protobuf__Any *any =
		    partial->auxiliary_metadata[i];

		if (strcmp(any->type_url, EARLY_OUTPUTS_TYPE) == 0)
			return protos_unpack(&world->arena,
			    &workerapi__early_outputs__descriptor,
			    (struct str){
				(const char *)any->value.data, any->value.len},
			    &err);
	}
	return NULL;
}

/* Reads on until so many are told of; 0: until none are any more. */
static Longrunning__Operation *
wait_for_early(struct world *world, struct rpc_stream *client, size_t count)
{
	Longrunning__Operation *operation;
	Workerapi__EarlyOutputs *early;
	struct error err;

	do {
		operation = next_update(world, client, &err);
		if (operation == NULL)
			fail_msg("%s", err.text);
		early = early_of(world, operation);
	} while ((early != NULL ? early->n_files : 0) != count);
	return operation;
}

static void
a_client_hears_of_outputs_while_the_action_runs(void **state)
{
	struct world *world = *state;
	struct run run = begin_run(world);
	Longrunning__Operation *operation;
	Workerapi__EarlyOutputs *early;

	tell_early(world, run.worker, run.lease, "out/a", 1);
	operation = wait_for_early(world, run.client, 1);
	assert_false(operation->done);
	early = early_of(world, operation);
	assert_int_equal(early->lease_id.len, 0);
	assert_int_equal(early->files[0]->path.len, 5);
	assert_memory_equal(early->files[0]->path.data, "out/a", 5);
	assert_memory_equal(
	    early->files[0]->digest->hash.data, HASH, strlen(HASH));
	tell_early(world, run.worker, run.lease, "out/a", 2);
	wait_for_early(world, run.client, 2);
	report_exit(run.worker, run.lease, 0);
	end_run(world, &run);
}

static void
who_joins_late_hears_of_them_too_and_of_another_attempt_none(void **state)
{
	struct world *world = *state;
	struct run run = begin_run(world);
	struct rpc_stream *late;
	Longrunning__Operation *operation;

	tell_early(world, run.worker, run.lease, "out/a", 1);
	operation = wait_for_early(world, run.client, 1);
	late = wait_for(world, operation->name);
	wait_for_early(world, late, 1);
	rpc_stream_free(run.worker);
	run.worker = work(world, "second", 1);
	run.lease = take_lease(world, run.worker);
	wait_for_early(world, late, 0);
	report_exit(run.worker, run.lease, 0);
	assert_int_equal(status_code(finish(world, late)), 0);
	end_run(world, &run);
}

static void
of_a_lease_that_is_not_held_nothing_is_told(void **state)
{
	struct world *world = *state;
	struct run run = begin_run(world);
	Workerapi__Lease other = *run.lease;
	Longrunning__Operation *operation;
	struct error err;

	other.lease_id = bytes_of("another");
	tell_early(world, run.worker, &other, "out/a", 1);
	report_exit(run.worker, run.lease, 0);
	while ((operation = next_update(world, run.client, &err)) != NULL)
		assert_null(early_of(world, operation));
	assert_int_equal(err.code, ERROR_OK);
	rpc_stream_free(run.client);
	rpc_stream_free(run.worker);
}

static void
expect_refusal(struct world *world, const char *path, size_t count)
{
	struct run run = begin_run(world);
	struct error err;

	tell_early(world, run.worker, run.lease, path, count);
	sent_away(world, run.worker, &err);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_stream_free(run.worker);
	rpc_stream_free(run.client);
}

static void
too_many_files_end_the_workers_session(void **state)
{
	expect_refusal(*state, "a", EARLY_OUTPUTS_FILES_MAX + 1);
}

static void
too_long_paths_end_the_workers_session(void **state)
{
	char path[EARLY_OUTPUTS_BYTES_MAX + 1];

	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	expect_refusal(*state, path, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_client_hears_of_outputs_while_the_action_runs),
	    TEST(who_joins_late_hears_of_them_too_and_of_another_attempt_none),
	    TEST(of_a_lease_that_is_not_held_nothing_is_told),
	    TEST(too_many_files_end_the_workers_session),
	    TEST(too_long_paths_end_the_workers_session),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
