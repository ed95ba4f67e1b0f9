/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's workers' side, rule by rule: what workers that die, fall
 * silent, fail, overrun or leave do to the operations they have. */
#include "tests/unit/executor/harness.h"

static struct scheduler_statistics
figures_of(const struct world *world)
{
	struct scheduler_statistics figures;

	scheduler_statistics(world->scheduler, &figures);
	return figures;
}

/* --- workers that fail -----------------------------------------------------
 */

static void
a_lost_worker_sends_its_lease_to_another_first(void **state)
{
	struct world *world = *state;
	struct worker_session *first = join(world, "first", 1, NULL);
	struct operation *operation = submit(world, ACTION_OF(1, "x"));
	struct operation *waiting = submit(world, ACTION_OF(2, "y"));
	struct worker_session *second;

	assert_false(
	    scheduler_leave_session(world->scheduler, first, world->now));
	assert_false(
	    scheduler_leave_session(world->scheduler, first, world->now));
	assert_int_equal(figures_of(world).sessions_lost, 1);
	deliver(world);
	assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
	second = join(world, "second", 1, NULL);
	assert_ptr_equal(
	    seen(world, EVENT_LEASE_OFFERED)->operation, operation);
	assert_int_equal(seen(world, EVENT_LEASE_OFFERED)->attempt, 2);
	operation_unref(operation);
	operation_unref(waiting);
	worker_session_unref(first);
	worker_session_unref(second);
}

static void
attempts_are_bounded_and_the_error_has_their_history(void **state)
{
	struct world *world = *state;
	struct operation *operation = submit(world, ACTION(1));

	for (unsigned i = 0; i < 3; i++) {
		char name[] = "worker-0";
		struct worker_session *session;

		name[7] = (char)('0' + i);
		assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
		session = join(world, name, 1, NULL);
		scheduler_leave_session(world->scheduler, session, world->now);
		worker_session_unref(session);
	}
	assert_int_equal(state_of(world, operation), OPERATION_DONE);
	assert_int_equal(operation->error.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(operation->error.text, "worker-0"));
	assert_non_null(strstr(operation->error.text, "worker-2"));
	operation_unref(operation);
}

static void
a_silent_session_is_lost(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct operation *operation = submit(world, ACTION(1));

	advance(world, 29000);
	beat(world, session, NULL, LEASE_UNSPECIFIED);
	advance(world, 29000);
	assert_null(seen(world, EVENT_SESSION_LOST));
	advance(world, 1000);
	assert_ptr_equal(seen(world, EVENT_SESSION_LOST)->session, session);
	assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
	/* Its stream ends then; it has said nothing of that. */
	assert_false(
	    scheduler_leave_session(world->scheduler, session, world->now));
	assert_int_equal(figures_of(world).sessions_lost, 1);
	operation_unref(operation);
	worker_session_unref(session);
	deliver(world);
	assert_int_equal(world->released, 1);
}

static void
a_lease_left_out_of_a_heartbeat_is_lost_once_it_was_named(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct operation *operation = submit(world, ACTION(1));
	char id[LEASE_ID_SIZE];

	offered(world, id);
	/* The heartbeat was on its way before the lease arrived. */
	beat(world, session, NULL, LEASE_UNSPECIFIED);
	assert_int_equal(state_of(world, operation), OPERATION_LEASED);
	beat(world, session, id, LEASE_STAGING);
	beat(world, session, NULL, LEASE_UNSPECIFIED);
	/* It is alone, so it gets it again. */
	assert_int_equal(seen(world, EVENT_LEASE_OFFERED)->attempt, 2);
	assert_string_not_equal(seen(world, EVENT_LEASE_OFFERED)->lease_id, id);
	assert_int_equal(
	    end(world, session, id, LEASE_FINISHED), LEASE_UNKNOWN);
	operation_unref(operation);
	worker_session_unref(session);
}

static void
trouble_of_a_worker_goes_to_another_even_if_that_is_busy(void **state)
{
	struct world *world = *state;
	struct worker_session *bad = join(world, "bad", 1, NULL);
	struct operation *operation = submit(world, ACTION_OF(1, "x"));
	struct operation *other;
	struct worker_session *good;
	char bad_id[LEASE_ID_SIZE];
	char good_id[LEASE_ID_SIZE];

	offered(world, bad_id);
	good = join(world, "good", 1, NULL);
	other = submit(world, ACTION_OF(2, "x"));
	offered(world, good_id);
	end(world, bad, bad_id, LEASE_TROUBLE);
	assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
	end(world, good, good_id, LEASE_FINISHED);
	assert_ptr_equal(seen(world, EVENT_LEASE_OFFERED)->session, good);
	assert_ptr_equal(
	    seen(world, EVENT_LEASE_OFFERED)->operation, operation);
	operation_unref(operation);
	operation_unref(other);
	worker_session_unref(bad);
	worker_session_unref(good);
}

static void
a_command_that_overruns_is_taken_for_lost(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct operation *operation = submit(world, ACTION(1));
	char id[LEASE_ID_SIZE];
	int64_t end_ms = world->now + 60000 + 15 * 60 * 1000;

	offered(world, id);
	beat(world, session, id, LEASE_RUNNING);
	while (world->now + 20000 < end_ms) {
		advance(world, 20000);
		beat(world, session, id, LEASE_RUNNING);
		assert_int_equal(
		    state_of(world, operation), OPERATION_EXECUTING);
	}
	advance(world, end_ms - world->now);
	assert_string_equal(seen(world, EVENT_LEASE_CANCELLED)->lease_id, id);
	/* Its slot is not free before the worker has let go. */
	assert_null(seen(world, EVENT_LEASE_OFFERED));
	assert_int_equal(end(world, session, id, LEASE_RETURNED), LEASE_TAKEN);
	assert_non_null(seen(world, EVENT_LEASE_OFFERED));
	operation_unref(operation);
	worker_session_unref(session);
}

static void
a_draining_worker_ends_its_leases_and_gets_none(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 2, NULL);
	struct operation *a = submit(world, ACTION(1));
	struct operation *b;
	char id[LEASE_ID_SIZE];

	offered(world, id);
	scheduler_drain_session(world->scheduler, session, world->now);
	b = submit(world, ACTION(2));
	assert_null(seen(world, EVENT_LEASE_OFFERED));
	assert_int_equal(end(world, session, id, LEASE_FINISHED), LEASE_STORE);
	assert_null(seen(world, EVENT_LEASE_OFFERED));
	assert_int_equal(state_of(world, b), OPERATION_QUEUED);
	operation_unref(a);
	operation_unref(b);
	worker_session_unref(session);
}

static void
a_lease_that_crossed_a_drain_costs_no_attempt(void **state)
{
	struct world *world = *state;
	struct operation *operation = submit(world, ACTION(1));

	for (unsigned i = 0; i < 5; i++) {
		struct worker_session *session = join(world, "w", 1, NULL);
		char id[LEASE_ID_SIZE];

		offered(world, id);
		assert_int_equal(seen(world, EVENT_LEASE_OFFERED)->attempt, 1);
		scheduler_drain_session(world->scheduler, session, world->now);
		end(world, session, id, LEASE_RETURNED);
		assert_true(scheduler_leave_session(
		    world->scheduler, session, world->now));
		worker_session_unref(session);
	}
	assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
	operation_unref(operation);
}

static void
a_result_that_cannot_be_stored_is_tried_again(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct operation *operation = submit(world, ACTION(1));
	struct error err;

	error_set(&err, ERROR_INTERNAL, "output blob is missing");
	for (unsigned i = 0; i < 3; i++) {
		char id[LEASE_ID_SIZE];

		offered(world, id);
		end(world, session, id, LEASE_FINISHED);
		scheduler_retry(world->scheduler, operation, &err, world->now);
		deliver(world);
	}
	assert_int_equal(state_of(world, operation), OPERATION_DONE);
	assert_int_equal(operation->error.code, ERROR_INTERNAL);
	complete(world, operation); /* too late: ignored */
	assert_null(operation->response.data);
	operation_unref(operation);
	worker_session_unref(session);
}

/* --- early outputs ---------------------------------------------------------
 */

static bool
report_early(struct world *world, struct worker_session *session,
    const char *lease_id, const char *outputs)
{
	/* As many files as there are words, and as many bytes as letters. */
	struct early_report report = {.outputs = str_from(outputs),
	    .files = 1 + (strchr(outputs, ',') != NULL),
	    .bytes = strlen(outputs)};
	bool held = scheduler_report_early(
	    world->scheduler, session, str_from(lease_id), &report);

	deliver(world);
	return held;
}

static void
expect_early(
    struct world *world, struct operation *operation, const char *outputs)
{
	struct str early =
	    scheduler_operation_early(world->scheduler, operation);

	assert_int_equal(early.len, strlen(outputs));
	if (early.len > 0)
		assert_memory_equal(early.data, outputs, early.len);
	free((char *)(uintptr_t)early.data);
}

/* By the metrics: each once for each attempt. */
static void
expect_early_counted(struct world *world, uint64_t files, uint64_t bytes)
{
	struct scheduler_statistics statistics;

	scheduler_statistics(world->scheduler, &statistics);
	assert_int_equal(statistics.early_outputs, files);
	assert_int_equal(statistics.early_bytes, bytes);
}

static void
early_outputs_are_those_of_the_present_lease(void **state)
{
	struct world *world = *state;
	struct worker_session *first = join(world, "first", 1, NULL);
	struct operation *operation = submit(world, ACTION(1));
	struct worker_session *second;
	char lease[LEASE_ID_SIZE], next[LEASE_ID_SIZE];

	offered(world, lease);
	expect_early(world, operation, "");
	assert_true(report_early(world, first, lease, "one"));
	assert_ptr_equal(
	    seen(world, EVENT_OPERATION_CHANGED)->operation, operation);
	assert_true(report_early(world, first, lease, "one, two"));
	expect_early(world, operation, "one, two");
	expect_early_counted(world, 2, strlen("one, two"));
	scheduler_leave_session(world->scheduler, first, world->now);
	expect_early(world, operation, "");
	second = join(world, "second", 1, NULL);
	offered(world, next);
	assert_false(report_early(world, second, lease, "three"));
	assert_false(report_early(world, first, lease, "three"));
	expect_early(world, operation, "");
	assert_true(report_early(world, second, next, "four"));
	expect_early(world, operation, "four");
	expect_early_counted(world, 3, strlen("one, two") + strlen("four"));
	assert_int_equal(end(world, second, next, LEASE_FINISHED), LEASE_STORE);
	expect_early(world, operation, "");
	complete(world, operation);
	operation_unref(operation);
	worker_session_unref(first);
	worker_session_unref(second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_lost_worker_sends_its_lease_to_another_first),
	    TEST(attempts_are_bounded_and_the_error_has_their_history),
	    TEST(a_silent_session_is_lost),
	    TEST(a_lease_left_out_of_a_heartbeat_is_lost_once_it_was_named),
	    TEST(trouble_of_a_worker_goes_to_another_even_if_that_is_busy),
	    TEST(a_command_that_overruns_is_taken_for_lost),
	    TEST(a_draining_worker_ends_its_leases_and_gets_none),
	    TEST(a_lease_that_crossed_a_drain_costs_no_attempt),
	    TEST(a_result_that_cannot_be_stored_is_tried_again),
	    TEST(early_outputs_are_those_of_the_present_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
