/* SPDX-License-Identifier: Apache-2.0 */
/* Execution and Operations over a real server, with a worker that the test
 * plays. */
#include "tests/unit/frontend/execution_harness.h"

static void
an_action_runs_once_and_is_cached_afterwards(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *client = execute(world, &action, false);
	struct execution_statistics statistics;
	Reapi__ExecuteResponse *response;
	Workerapi__Lease *lease = take_lease(world, worker);

	assert_int_equal(lease->attempt, 1);
	assert_int_equal(lease->timeout->seconds, 900);
	assert_int_equal(lease->digest_function, DIGEST_SHA256);
	assert_memory_equal(lease->instance_name.data, "a/b", 3);
	assert_int_equal(lease->action->command_digest->hash.len, 64);
	report_exit(worker, lease, 0);
	response = finish(world, client);
	assert_false(response->cached_result);
	assert_string_equal(response->message, "ran on a test");
	assert_memory_equal(response->result->stdout_raw.data, "said", 4);
	assert_int_equal(status_code(response), 0);

	response = finish(world, execute(world, &action, false));
	assert_true(response->cached_result);
	assert_int_equal(status_code(response), 0);
	execution_service_statistics(world->execution, &statistics);
	assert_int_equal(statistics.cache_hits, 1);
	assert_int_equal(statistics.scheduler.submitted, 1);

	/* Asked for afresh, it runs again. */
	client = execute(world, &action, true);
	report_exit(worker, take_lease(world, worker), 0);
	response = finish(world, client);
	assert_false(response->cached_result);
	assert_int_equal(status_code(response), 0);
	rpc_stream_free(worker);
}

static void
a_failed_action_is_answered_but_not_cached(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);

	for (int i = 0; i < 2; i++) {
		struct rpc_stream *client = execute(world, &action, false);
		Reapi__ExecuteResponse *response;

		report_exit(worker, take_lease(world, worker), 3);
		response = finish(world, client);
		assert_int_equal(response->result->exit_code, 3);
		assert_false(response->cached_result);
		assert_int_equal(status_code(response), 0);
	}
	rpc_stream_free(worker);
}

static void
do_not_cache_is_not_cached(void **state)
{
	struct world *world = *state;
	struct wish wish = {.argument = "a", .do_not_cache = true};
	struct digest action = make_action(world, &wish);
	struct rpc_stream *worker = work(world, "w", 1);

	for (int i = 0; i < 2; i++) {
		struct rpc_stream *client = execute(world, &action, false);

		report_exit(worker, take_lease(world, worker), 0);
		assert_int_equal(status_code(finish(world, client)), 0);
	}
	rpc_stream_free(worker);
}

static void
a_timed_out_action_has_its_status_and_partial_result(void **state)
{
	struct world *world = *state;
	struct wish wish = {.argument = "a", .timeout_s = 7};
	struct digest action = make_action(world, &wish);
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
	Workerapi__Lease *lease = take_lease(world, worker);
	Reapi__ExecuteResponse *response;

	assert_int_equal(lease->timeout->seconds, 7);
	result.stderr_raw = bytes_of("so far");
	report(worker, lease, ERROR_DEADLINE_EXCEEDED, &result);
	response = finish(world, client);
	assert_memory_equal(response->result->stderr_raw.data, "so far", 6);
	assert_int_equal(status_code(response), ERROR_DEADLINE_EXCEEDED);
	rpc_stream_free(worker);
}

static void
missing_blobs_are_refused_before_queueing(void **state)
{
	struct world *world = *state;
	struct digest action;
	struct error err;

	digest_compute(DIGEST_SHA256, "nothing", 7, &action);
	assert_int_equal(refusal(world, execute(world, &action, false), &err),
	    ERROR_FAILED_PRECONDITION);
	action = make_action(world, &(struct wish){.argument = "a",
					.without_inputs = true,
					.without_command = true});
	assert_int_equal(refusal(world, execute(world, &action, false), &err),
	    ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, "2 blobs"));
}

static void
what_cannot_be_run_is_an_invalid_argument(void **state)
{
	struct world *world = *state;
	struct wish too_long = {.argument = "a", .timeout_s = 3601};
	struct wish negative = {.argument = "a", .timeout_s = -1};
	struct digest action = make_action(world, &too_long);
	struct error err;

	assert_int_equal(refusal(world, execute(world, &action, false), &err),
	    ERROR_INVALID_ARGUMENT);
	action = make_action(world, &negative);
	assert_int_equal(refusal(world, execute(world, &action, false), &err),
	    ERROR_INVALID_ARGUMENT);
	/* A blob that is no Action. */
	digest_compute(DIGEST_SHA256, "\xff\xff", 2, &action);
	assert_int_equal(store_put_bytes(world->storage.store, &action,
			     (struct str){"\xff\xff", 2}, &err),
	    0);
	assert_int_equal(refusal(world, execute(world, &action, false), &err),
	    ERROR_INVALID_ARGUMENT);
}

static void
equal_actions_share_an_operation_and_its_end(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 2);
	struct rpc_stream *first = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, worker);
	struct rpc_stream *second = execute(world, &action, true);
	struct rpc_stream *third;
	Longrunning__Operation *a;
	Longrunning__Operation *b;
	struct error err;

	a = next_update(world, first, &err);
	b = next_update(world, second, &err);
	assert_int_equal(a->name.len, b->name.len);
	assert_memory_equal(a->name.data, b->name.data, a->name.len);
	third = wait_for(world, a->name);
	assert_non_null(next_update(world, third, &err));
	report_exit(worker, lease, 0);
	assert_int_equal(status_code(finish(world, first)), 0);
	assert_int_equal(status_code(finish(world, second)), 0);
	assert_int_equal(status_code(finish(world, third)), 0);
	/* It is kept for those who come late. */
	assert_int_equal(
	    status_code(finish(world, wait_for(world, a->name))), 0);
	rpc_stream_free(worker);
}

static struct rpc_stream *
execute_inline(struct world *world, const struct digest *action)
{
	Reapi__ExecuteRequest request = REAPI__EXECUTE_REQUEST__INIT;
	ProtobufCBinaryData path = bytes_of("out");
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	char text[DIGEST_TEXT_MAX];

	digest_to_message(action, text, &digest);
	request.instance_name = bytes_of("a/b");
	request.action_digest = &digest;
	request.inline_stdout = true;
	request.n_inline_output_files = 1;
	request.inline_output_files = &path;
	return ask(world, EXECUTION "Execute", &request.base);
}

static void
contents_are_inlined_for_those_who_ask_alone(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "w", 1);
	struct rpc_stream *plain = execute(world, &action, false);
	Workerapi__Lease *lease = take_lease(world, worker);
	struct rpc_stream *asking = execute_inline(world, &action);
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
	Reapi__OutputFile file = REAPI__OUTPUT_FILE__INIT;
	Reapi__OutputFile *files = &file;
	Reapi__Digest message = REAPI__DIGEST__INIT;
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	struct error err;

	digest_compute(DIGEST_SHA256, "input", 5, &digest); /* it is there */
	digest_to_message(&digest, text, &message);
	result.stdout_digest = &message;
	result.stdout_raw = bytes_of("input");
	file.path = bytes_of("out");
	file.digest = &message;
	result.n_output_files = 1;
	result.output_files = &files;
	assert_non_null(next_update(world, asking, &err));
	report(worker, lease, 0, &result);
	for (int i = 0; i < 4; i++) {
		struct rpc_stream *streams[] = {plain, asking, NULL, NULL};
		size_t expected = i % 2 == 0 ? 0 : 5;
		Reapi__ExecuteResponse *response;

		/* The last two come from the cache. */
		if (i == 2)
			streams[2] = execute(world, &action, false);
		if (i == 3)
			streams[3] = execute_inline(world, &action);
		response = finish(world, streams[i]);
		assert_int_equal(response->cached_result, i >= 2);
		assert_int_equal(response->result->stdout_raw.len, expected);
		assert_int_equal(
		    response->result->output_files[0]->contents.len, expected);
		assert_int_equal(status_code(response), 0);
	}
	rpc_stream_free(worker);
}

static void
stages_are_told_and_repeated(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *client = execute(world, &action, false);
	Longrunning__Operation *operation;
	struct rpc_stream *worker;
	Workerapi__Lease *lease;
	struct error err;

	/* Twice: the second one since time has passed. */
	for (int i = 0; i < 2; i++) {
		operation = next_update(world, client, &err);
		assert_int_equal(stage_of(world, operation),
		    REAPI__EXECUTION_STAGE__VALUE__QUEUED);
		assert_false(operation->done);
	}
	worker = work(world, "w", 1);
	lease = take_lease(world, worker);
	beat(worker, lease, WORKERAPI__LEASE_STATE__STAGE__RUNNING);
	do
		operation = next_update(world, client, &err);
	while (stage_of(world, operation) !=
	       REAPI__EXECUTION_STAGE__VALUE__EXECUTING);
	report_exit(worker, lease, 0);
	assert_int_equal(status_code(finish(world, client)), 0);
	rpc_stream_free(worker);
}

static void
unknown_operations_are_not_found_at_once(void **state)
{
	struct world *world = *state;
	const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	Longrunning__GetOperationRequest get =
	    LONGRUNNING__GET_OPERATION_REQUEST__INIT;
	struct rpc_message *request;
	struct rpc_message *response = NULL;
	struct error err;

	assert_int_equal(
	    refusal(world, wait_for(world, bytes_of("operations/x")), &err),
	    ERROR_NOT_FOUND);
	get.name = bytes_of("operations/x");
	request = rpc_message_pack(&get.base);
	assert_int_equal(
	    rpc_channel_call(world->channel, OPERATIONS "GetOperation", request,
		&options, &response, &err),
	    -1);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	rpc_message_free(request);
}

/* One unary call; the answer unpacked, or NULL with err. */
static void *
call(struct world *world, const char *path, const ProtobufCMessage *message,
    const ProtobufCMessageDescriptor *descriptor, struct error *err)
{
	const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct rpc_message *request = rpc_message_pack(message);
	struct rpc_message *response = NULL;
	void *unpacked = NULL;

	if (rpc_channel_call(
		world->channel, path, request, &options, &response, err) == 0)
		unpacked = rpc_message_unpack(
		    response, descriptor, &world->arena, err);
	rpc_message_free(request);
	rpc_message_free(response);
	return unpacked;
}

static void
cancelling_ends_it_for_all_and_tells_the_worker(void **state)
{
	struct world *world = *state;
	struct run run = begin_run(world);
	Longrunning__CancelOperationRequest cancel =
	    LONGRUNNING__CANCEL_OPERATION_REQUEST__INIT;
	Workerapi__ServerMessage *message;
	struct error err;

	cancel.name = next_update(world, run.client, &err)->name;
	assert_non_null(call(world, OPERATIONS "CancelOperation", &cancel.base,
	    &google__protobuf__empty__descriptor, &err));
	assert_int_equal(
	    status_code(finish(world, run.client)), ERROR_CANCELLED);
	message = hear(world, run.worker, &err);
	assert_int_equal(message->message_case,
	    WORKERAPI__SERVER_MESSAGE__MESSAGE_CANCEL_LEASE);
	assert_memory_equal(message->cancel_lease->lease_id.data,
	    run.lease->lease_id.data, run.lease->lease_id.len);
	rpc_stream_free(run.worker);
}

static void
operations_can_be_listed_got_awaited_and_deleted(void **state)
{
	struct world *world = *state;
	Longrunning__ListOperationsRequest list =
	    LONGRUNNING__LIST_OPERATIONS_REQUEST__INIT;
	Longrunning__WaitOperationRequest wait =
	    LONGRUNNING__WAIT_OPERATION_REQUEST__INIT;
	Longrunning__DeleteOperationRequest delete =
	    LONGRUNNING__DELETE_OPERATION_REQUEST__INIT;
	Google__Protobuf__Duration timeout = GOOGLE__PROTOBUF__DURATION__INIT;
	const char *arguments[] = {"a", "b", "c"};
	Longrunning__ListOperationsResponse *page;
	Longrunning__Operation *operation;
	struct rpc_stream *clients[3];
	struct rpc_stream *worker;
	size_t seen = 0;
	struct error err;

	for (int i = 0; i < 3; i++) {
		struct digest action = make_action(
		    world, &(struct wish){.argument = arguments[i]});

		clients[i] = execute(world, &action, false);
		next_update(world, clients[i], &err);
	}
	list.name = bytes_of("a/b/operations");
	list.page_size = 2;
	do {
		page = call(world, OPERATIONS "ListOperations", &list.base,
		    &longrunning__list_operations_response__descriptor, &err);
		assert_non_null(page);
		seen += page->n_operations;
		if (page->n_operations > 0)
			wait.name = page->operations[0]->name;
		list.page_token = page->next_page_token;
	} while (page->next_page_token.len > 0);
	assert_int_equal(seen, 3);
	list.page_token = bytes_of("nonsense");
	assert_null(call(world, OPERATIONS "ListOperations", &list.base,
	    &longrunning__list_operations_response__descriptor, &err));
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);

	timeout.nanos = 1000000;
	wait.timeout = &timeout;
	operation = call(world, OPERATIONS "WaitOperation", &wait.base,
	    &longrunning__operation__descriptor, &err);
	assert_non_null(operation);
	assert_false(operation->done);
	delete.name = wait.name;
	assert_null(call(world, OPERATIONS "DeleteOperation", &delete.base,
	    &google__protobuf__empty__descriptor, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);

	worker = work(world, "w", 3);
	for (int i = 0; i < 3; i++)
		report_exit(worker, take_lease(world, worker), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(status_code(finish(world, clients[i])), 0);
	wait.timeout = NULL;
	operation = call(world, OPERATIONS "WaitOperation", &wait.base,
	    &longrunning__operation__descriptor, &err);
	assert_true(operation->done);
	assert_non_null(call(world, OPERATIONS "DeleteOperation", &delete.base,
	    &google__protobuf__empty__descriptor, &err));
	assert_int_equal(
	    refusal(world, wait_for(world, wait.name), &err), ERROR_NOT_FOUND);
	rpc_stream_free(worker);
}

static void
a_stopping_server_sends_clients_and_workers_away(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *client = execute(world, &action, false);
	struct rpc_stream *worker = work(world, "w", 1);
	struct error err;

	take_lease(world, worker);
	rpc_server_stop(world->server, 5000);
	sent_away(world, worker, &err);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_int_equal(refusal(world, client, &err), ERROR_UNAVAILABLE);
	rpc_stream_free(worker);
	world_close(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_action_runs_once_and_is_cached_afterwards),
	    TEST(a_failed_action_is_answered_but_not_cached),
	    TEST(do_not_cache_is_not_cached),
	    TEST(a_timed_out_action_has_its_status_and_partial_result),
	    TEST(missing_blobs_are_refused_before_queueing),
	    TEST(what_cannot_be_run_is_an_invalid_argument),
	    TEST(equal_actions_share_an_operation_and_its_end),
	    TEST(contents_are_inlined_for_those_who_ask_alone),
	    TEST(stages_are_told_and_repeated),
	    TEST(unknown_operations_are_not_found_at_once),
	    TEST(cancelling_ends_it_for_all_and_tells_the_worker),
	    TEST(operations_can_be_listed_got_awaited_and_deleted),
	    TEST(a_stopping_server_sends_clients_and_workers_away),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
