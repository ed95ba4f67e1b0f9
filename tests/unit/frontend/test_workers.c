/* SPDX-License-Identifier: Apache-2.0 */
/* Workers.Serve over a real server: workers that break, lie, or speak out of
 * turn. */
#include "tests/unit/frontend/execution_harness.h"

static void
the_lease_of_a_broken_stream_goes_to_another_worker(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *first = work(world, "first", 1);
	struct rpc_stream *client = execute(world, &action, false);
	struct rpc_stream *second;
	Workerapi__Lease *lease = take_lease(world, first);

	assert_int_equal(lease->attempt, 1);
	rpc_stream_free(first); /* cancels */
	second = work(world, "second", 1);
	lease = take_lease(world, second);
	assert_int_equal(lease->attempt, 2);
	report_exit(second, lease, 0);
	assert_int_equal(status_code(finish(world, client)), 0);
	rpc_stream_free(second);
}

static void
trouble_of_a_worker_is_retried_then_told_with_its_history(void **state)
{
	struct world *world = *state;
	struct digest action =
	    make_action(world, &(struct wish){.argument = "a"});
	struct rpc_stream *worker = work(world, "poor", 1);
	struct rpc_stream *client = execute(world, &action, false);
	Reapi__ExecuteResponse *response;

	for (unsigned i = 1; i <= 3; i++) {
		Workerapi__Lease *lease = take_lease(world, worker);

		assert_int_equal(lease->attempt, i);
		report(worker, lease, ERROR_RESOURCE_EXHAUSTED, NULL);
	}
	response = finish(world, client);
	assert_non_null(strstr(response->status->message, "poor"));
	assert_int_equal(status_code(response), ERROR_RESOURCE_EXHAUSTED);
	rpc_stream_free(worker);
}

static void
a_result_that_names_absent_blobs_is_never_answered(void **state)
{
	struct world *world = *state;
	struct rpc_stream *worker = work(world, "liar", 1);
	const int exits[] = {0, 1};

	for (int i = 0; i < 2; i++) {
		const char *argument = i == 0 ? "good" : "bad";
		struct digest action =
		    make_action(world, &(struct wish){.argument = argument});
		struct rpc_stream *client = execute(world, &action, false);

		for (int attempt = 0; attempt < 3; attempt++) {
			Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
			Reapi__Digest message = REAPI__DIGEST__INIT;
			char text[DIGEST_TEXT_MAX];
			struct digest digest;

			digest_compute(DIGEST_SHA256, "gone", 4, &digest);
			digest_to_message(&digest, text, &message);
			result.exit_code = exits[i];
			result.stdout_digest = &message;
			report(worker, take_lease(world, worker), 0, &result);
		}
		assert_int_equal(
		    status_code(finish(world, client)), ERROR_INTERNAL);
	}
	rpc_stream_free(worker);
}

static void
a_worker_must_greet_first_and_once(void **state)
{
	struct world *world = *state;
	struct rpc_stream *worker =
	    open_stream(world, "/toolroot.worker.v1.Workers/Serve");
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Drain drain = WORKERAPI__DRAIN__INIT;
	Workerapi__Hello hello = WORKERAPI__HELLO__INIT;
	struct error err;

	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_DRAIN;
	message.drain = &drain;
	tell(worker, &message);
	while (hear(world, worker, &err) != NULL)
		;
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_stream_free(worker);

	worker = work(world, "w", 1);
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO;
	message.hello = &hello;
	tell(worker, &message);
	while (hear(world, worker, &err) != NULL)
		;
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_stream_free(worker);
}

static void
a_worker_without_slots_is_refused(void **state)
{
	struct world *world = *state;
	struct rpc_stream *worker =
	    open_stream(world, "/toolroot.worker.v1.Workers/Serve");
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Hello hello = WORKERAPI__HELLO__INIT;
	struct error err;

	hello.worker_name = bytes_of("w");
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO;
	message.hello = &hello;
	tell(worker, &message);
	while (hear(world, worker, &err) != NULL)
		;
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_stream_free(worker);
}

static void
an_unknown_lease_changes_nothing(void **state)
{
	struct world *world = *state;
	struct run run = begin_run(world);
	struct execution_statistics statistics;
	Workerapi__Lease other = *run.lease;

	other.lease_id = bytes_of("another");
	report_exit(run.worker, &other, 7);
	report_exit(run.worker, run.lease, 0);
	assert_int_equal(status_code(finish(world, run.client)), 0);
	execution_service_statistics(world->execution, &statistics);
	assert_int_equal(statistics.scheduler.unknown_results, 1);
	rpc_stream_free(run.worker);
}

static void
a_worker_that_half_closes_leaves_in_peace(void **state)
{
	struct world *world = *state;
	struct rpc_stream *worker = work(world, "w", 1);
	struct execution_statistics statistics;
	struct error err = {.code = ERROR_OK};

	execution_service_statistics(world->execution, &statistics);
	assert_int_equal(statistics.scheduler.workers, 1);
	assert_int_equal(rpc_stream_half_close(worker, &err), 0);
	assert_null(hear(world, worker, &err));
	assert_int_equal(err.code, ERROR_OK);
	rpc_stream_free(worker);
	for (int i = 0; i < TIMEOUT_MS / 10; i++) {
		execution_service_statistics(world->execution, &statistics);
		if (statistics.scheduler.workers == 0)
			break;
		usleep(10000);
	}
	assert_int_equal(statistics.scheduler.workers, 0);
}

static void
a_silent_worker_is_sent_away(void **state)
{
	struct world *world = *state;
	struct rpc_stream *worker = work(world, "w", 1);
	struct error err;

	sent_away(world, worker, &err);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_stream_free(worker);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_lease_of_a_broken_stream_goes_to_another_worker),
	    TEST(trouble_of_a_worker_is_retried_then_told_with_its_history),
	    TEST(a_result_that_names_absent_blobs_is_never_answered),
	    TEST(a_worker_must_greet_first_and_once),
	    TEST(a_worker_without_slots_is_refused),
	    TEST(an_unknown_lease_changes_nothing),
	    TEST(a_worker_that_half_closes_leaves_in_peace),
	    TEST(a_silent_worker_is_sent_away),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
