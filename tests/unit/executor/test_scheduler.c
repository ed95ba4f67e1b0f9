/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's clients' side, rule by rule: life of an operation, merging,
 * order, platforms, bounds. */
#include "tests/unit/executor/harness.h"

/* --- the plain way ---------------------------------------------------------
 */

static void
an_operation_goes_from_queue_to_worker_to_result(void **state)
{
	struct world *world = *state;
	struct operation *operation = submit(world, ACTION(1));
	struct worker_session *session;
	struct operation *found;
	char id[LEASE_ID_SIZE];

	assert_true(str_starts_with(operation->name, STR("main/operations/")));
	assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
	session = join(world, "w", 1, NULL);
	offered(world, id);
	assert_int_equal(state_of(world, operation), OPERATION_LEASED);
	beat(world, session, id, LEASE_RUNNING);
	assert_int_equal(state_of(world, operation), OPERATION_EXECUTING);
	assert_int_equal(end(world, session, id, LEASE_FINISHED), LEASE_STORE);
	assert_int_equal(state_of(world, operation), OPERATION_STORING);
	complete(world, operation);
	assert_non_null(seen(world, EVENT_OPERATION_DONE));
	assert_true(str_equal(operation->response, STR("response")));
	found = scheduler_find(world->scheduler, operation->name);
	assert_ptr_equal(found, operation);
	operation_unref(found);
	operation_unref(operation);
	worker_session_unref(session);
}

static void
a_done_operation_is_forgotten_in_time(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct operation *operation = submit(world, ACTION(1));
	char id[LEASE_ID_SIZE];

	offered(world, id);
	end(world, session, id, LEASE_FINISHED);
	complete(world, operation);
	scheduler_leave_session(world->scheduler, session, world->now);
	advance(world, 5 * 60 * 1000);
	assert_null(scheduler_find(world->scheduler, operation->name));
	assert_int_equal(
	    scheduler_next_deadline(world->scheduler), CLOCK_NEVER);
	operation_unref(operation);
	worker_session_unref(session);
	assert_int_equal(world->released, 1);
}

static void
only_so_many_done_operations_are_kept(void **state)
{
	struct world *world = *state;
	struct scheduler_statistics figures;

	for (unsigned i = 0; i < 10; i++) {
		struct operation *operation = submit(world, ACTION(i));

		scheduler_cancel(world->scheduler, operation, world->now);
		operation_unref(operation);
	}
	scheduler_statistics(world->scheduler, &figures);
	assert_int_equal(figures.kept, 4);
	assert_int_equal(figures.cancelled, 10);
	assert_int_equal(figures.queued, 0);
}

/* --- merging ---------------------------------------------------------------
 */

static void
equal_actions_in_flight_share_one_operation(void **state)
{
	struct world *world = *state;
	struct operation *a = submit(world, ACTION(1));
	struct operation *b = submit(world, ACTION(1));
	struct operation *c = submit(world, ACTION(2));

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	scheduler_cancel(world->scheduler, a, world->now);
	operation_unref(b);
	b = submit(world, ACTION(1));
	assert_ptr_not_equal(a, b);
	operation_unref(a);
	operation_unref(b);
	operation_unref(c);
}

static void
do_not_cache_is_never_merged(void **state)
{
	struct world *world = *state;
	struct wish wish = {.action = 1, .do_not_cache = true};
	struct operation *a = submit(world, &wish);
	struct operation *b = submit(world, &wish);

	assert_ptr_not_equal(a, b);
	assert_null(scheduler_join(world->scheduler,
	    &(struct operation_request){
		.instance = STR("main"), .action_digest = a->action_digest}));
	operation_unref(a);
	operation_unref(b);
}

static void
a_fresh_request_does_not_join_what_may_be_seen_already(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct wish fresh = {.action = 1, .fresh = true};
	struct operation *first = submit(world, ACTION(1));
	struct operation *same = submit(world, &fresh);
	struct operation *other;
	struct operation *latest;
	char id[LEASE_ID_SIZE];

	assert_ptr_equal(first, same);
	memcpy(id, LIST_FIRST(&session->leases)->id, LEASE_ID_SIZE);
	end(world, session, id, LEASE_FINISHED);
	other = submit(world, &fresh);
	assert_ptr_not_equal(first, other);
	complete(world, first);
	/* The end of the first has not made the other forgotten. */
	latest = submit(world, ACTION(1));
	assert_ptr_equal(latest, other);
	operation_unref(first);
	operation_unref(same);
	operation_unref(other);
	operation_unref(latest);
	worker_session_unref(session);
}

static void
an_operation_is_cancelled_when_nobody_waits_for_the_grace(void **state)
{
	struct world *world = *state;
	struct operation *operation = submit(world, ACTION(1));
	struct operation *same = submit(world, ACTION(1));
	struct worker_session *session = join(world, "w", 1, NULL);
	char id[LEASE_ID_SIZE];

	offered(world, id);
	scheduler_unwait(world->scheduler, operation, world->now);
	advance(world, 25000);
	beat(world, session, id, LEASE_RUNNING);
	scheduler_unwait(world->scheduler, operation, world->now);
	advance(world, 29999);
	beat(world, session, id, LEASE_RUNNING);
	scheduler_wait(world->scheduler, operation); /* came back */
	advance(world, 29999);
	beat(world, session, id, LEASE_RUNNING);
	assert_int_equal(state_of(world, operation), OPERATION_EXECUTING);
	scheduler_unwait(world->scheduler, operation, world->now);
	for (int i = 0; i < 3; i++) {
		advance(world, 20000);
		if (i < 2)
			beat(world, session, id, LEASE_RUNNING);
	}
	assert_int_equal(state_of(world, operation), OPERATION_DONE);
	assert_int_equal(operation->error.code, ERROR_CANCELLED);
	assert_non_null(seen(world, EVENT_LEASE_CANCELLED));
	operation_unref(operation);
	operation_unref(same);
	worker_session_unref(session);
}

/* --- order -----------------------------------------------------------------
 */

/* Runs everything on one slot, noting the invocation of each. */
static void
run_all(struct world *world, char *order, size_t count)
{
	struct worker_session *session = join(world, "w", 1, NULL);

	for (size_t i = 0; i < count; i++) {
		const struct recorded *event = seen(world, EVENT_LEASE_OFFERED);
		struct operation *operation;
		char id[LEASE_ID_SIZE];

		assert_non_null(event);
		operation = operation_ref(event->operation);
		order[i] = operation->invocation_id.data[0];
		memcpy(id, event->lease_id, LEASE_ID_SIZE);
		/* The store may be slow: the slot goes on. */
		end(world, session, id, LEASE_FINISHED);
		operation_unref(operation);
	}
	order[count] = '\0';
	scheduler_leave_session(world->scheduler, session, world->now);
	worker_session_unref(session);
}

static void
a_small_build_is_not_kept_waiting_by_a_big_one(void **state)
{
	struct world *world = *state;
	char order[16];

	for (unsigned i = 0; i < 6; i++)
		operation_unref(submit(world, ACTION_OF(i, "big")));
	operation_unref(submit(world, ACTION_OF(10, "small")));
	operation_unref(submit(world, ACTION_OF(11, "small")));
	run_all(world, order, 8);
	assert_string_equal(order, "bsbsbbbb");
}

static void
the_urgent_go_first_but_not_for_ever(void **state)
{
	struct world *world = *state;
	struct worker_session *session;
	struct operation *late;

	operation_unref(submit(world,
	    &(struct wish){.action = 1, .invocation = "x", .priority = 1}));
	advance(world, 14000);
	operation_unref(submit(world,
	    &(struct wish){.action = 2, .invocation = "x", .priority = 0}));
	advance(world, 2000);
	late = submit(world,
	    &(struct wish){.action = 3, .invocation = "x", .priority = 0});
	session = join(world, "w", 1, NULL);
	for (unsigned i = 0; i < 3; i++) {
		const unsigned expected[] = {2, 1, 3};
		char id[LEASE_ID_SIZE];
		unsigned action;

		memcpy(&action,
		    seen(world, EVENT_LEASE_OFFERED)
			->operation->action_digest.hash,
		    sizeof(action));
		assert_int_equal(action, expected[i]);
		offered(world, id);
		end(world, session, id, LEASE_FINISHED);
	}
	operation_unref(late);
	worker_session_unref(session);
}

static void
a_merge_makes_an_operation_more_urgent(void **state)
{
	struct world *world = *state;
	struct operation_status status;
	struct operation *a = submit(world, ACTION_OF(1, "x"));
	struct operation *b = submit(world,
	    &(struct wish){.action = 2, .invocation = "x", .priority = 5});
	struct operation *c = submit(world,
	    &(struct wish){.action = 2, .invocation = "y", .priority = -5});

	assert_ptr_equal(b, c);
	scheduler_status(world->scheduler, b, &status);
	assert_int_equal(status.place, 1);
	assert_int_equal(status.queued, 2);
	scheduler_status(world->scheduler, a, &status);
	assert_int_equal(status.place, 2);
	operation_unref(a);
	operation_unref(b);
	operation_unref(c);
}

static void
a_worker_that_holds_the_toolchain_is_preferred(void **state)
{
	struct world *world = *state;
	struct worker_session *plain = join(world, "plain", 4, NULL);
	struct worker_session *holder = join(world, "holder", 2, NULL);
	struct str root = STR("abcd/12");
	struct session_heartbeat heartbeat = {
	    .held_roots = &root, .held_root_count = 1};

	scheduler_heartbeat(world->scheduler, holder, &heartbeat, world->now);
	operation_unref(
	    submit(world, &(struct wish){.action = 1, .root = "abcd/12"}));
	assert_ptr_equal(seen(world, EVENT_LEASE_OFFERED)->session, holder);
	operation_unref(
	    submit(world, &(struct wish){.action = 2, .root = "ef/12"}));
	assert_ptr_equal(seen(world, EVENT_LEASE_OFFERED)->session, plain);
	worker_session_unref(plain);
	worker_session_unref(holder);
}

/* --- platforms -------------------------------------------------------------
 */

static void
an_unmatched_platform_waits_for_the_grace_then_fails_with_advice(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "near", 1, "b");
	struct operation *operation =
	    submit(world, &(struct wish){.action = 1, .pool = "a"});
	struct error err;

	advance(world, 29999);
	beat(world, session, NULL, LEASE_UNSPECIFIED);
	assert_int_equal(state_of(world, operation), OPERATION_QUEUED);
	advance(world, 1);
	assert_int_equal(state_of(world, operation), OPERATION_DONE);
	assert_int_equal(operation->error.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(operation->error.text, "pool=a"));
	assert_non_null(strstr(operation->error.text, "near, has b"));
	/* From now on at once. */
	assert_null(
	    try_submit(world, &(struct wish){.action = 2, .pool = "a"}, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	operation_unref(operation);
	worker_session_unref(session);
}

static void
a_worker_that_left_gets_the_grace_to_come_back(void **state)
{
	struct world *world = *state;
	struct worker_session *session;
	struct operation *operation;
	struct error err;

	advance(world, 100000);
	assert_null(try_submit(world, ACTION(1), &err));
	assert_non_null(strstr(err.text, "no worker is connected"));
	session = join(world, "w", 1, "a");
	scheduler_leave_session(world->scheduler, session, world->now);
	worker_session_unref(session);
	advance(world, 20000);
	operation = submit(world, &(struct wish){.action = 1, .pool = "a"});
	advance(world, 9000);
	session = join(world, "w", 1, "a");
	assert_ptr_equal(
	    seen(world, EVENT_LEASE_OFFERED)->operation, operation);
	operation_unref(operation);
	worker_session_unref(session);
}

/* --- bounds ----------------------------------------------------------------
 */

static void
the_queue_has_a_limit_and_a_timeout(void **state)
{
	struct world *world = *state;
	struct worker_session *session = join(world, "w", 1, NULL);
	struct operation *operation = NULL;
	struct error err;

	for (unsigned i = 0; i < 100; i++) {
		operation_unref(operation);
		operation = submit(world, ACTION(i));
	}
	assert_null(try_submit(world, ACTION(100), &err));
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_true(err.retry_delay_ms > 0);
	/* Merging needs no room. */
	operation_unref(try_submit(world, ACTION(99), &err));
	for (int i = 0; i < 2 * 60 * 6; i++) {
		world->now += 10000;
		beat(world, session, NULL, LEASE_UNSPECIFIED);
		world->event_count = 0;
		scheduler_tick(world->scheduler, world->now);
		deliver(world);
	}
	assert_int_equal(state_of(world, operation), OPERATION_DONE);
	assert_int_equal(operation->error.code, ERROR_UNAVAILABLE);
	operation_unref(operation);
	worker_session_unref(session);
}

static void
listing_pages_through_one_instance(void **state)
{
	struct world *world = *state;
	struct operation *page[4];
	uint64_t after = 0;
	size_t total = 0;
	size_t count;

	for (unsigned i = 0; i < 10; i++)
		operation_unref(submit(world, ACTION(i)));
	while ((count = scheduler_list(
		    world->scheduler, STR("main"), &after, page, 4)) > 0) {
		for (size_t i = 0; i < count; i++)
			operation_unref(page[i]);
		total += count;
	}
	assert_int_equal(total, 10);
	after = 0;
	assert_int_equal(
	    scheduler_list(world->scheduler, STR("other"), &after, page, 4), 0);
}

static void
only_a_done_operation_can_be_forgotten(void **state)
{
	struct world *world = *state;
	struct operation *operation = submit(world, ACTION(1));

	assert_false(scheduler_forget(world->scheduler, operation));
	scheduler_cancel(world->scheduler, operation, world->now);
	assert_true(scheduler_forget(world->scheduler, operation));
	assert_true(scheduler_forget(world->scheduler, operation));
	assert_null(scheduler_find(world->scheduler, operation->name));
	operation_unref(operation);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_operation_goes_from_queue_to_worker_to_result),
	    TEST(a_done_operation_is_forgotten_in_time),
	    TEST(only_so_many_done_operations_are_kept),
	    TEST(equal_actions_in_flight_share_one_operation),
	    TEST(do_not_cache_is_never_merged),
	    TEST(a_fresh_request_does_not_join_what_may_be_seen_already),
	    TEST(an_operation_is_cancelled_when_nobody_waits_for_the_grace),
	    TEST(a_small_build_is_not_kept_waiting_by_a_big_one),
	    TEST(the_urgent_go_first_but_not_for_ever),
	    TEST(a_merge_makes_an_operation_more_urgent),
	    TEST(a_worker_that_holds_the_toolchain_is_preferred),
	    TEST(
		an_unmatched_platform_waits_for_the_grace_then_fails_with_advice),
	    TEST(a_worker_that_left_gets_the_grace_to_come_back),
	    TEST(the_queue_has_a_limit_and_a_timeout),
	    TEST(listing_pages_through_one_instance),
	    TEST(only_a_done_operation_can_be_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
