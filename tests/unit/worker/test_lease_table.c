/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and the leases in them: offering, cancelling, waiting. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "worker/lease_table.h"

struct fixture {
	struct lease_table *table;
	atomic_int runs;
	atomic_int idles;
};

/* A lease ends when it is cancelled. */
static void
run(void *cookie, struct held_lease *lease)
{
	struct fixture *fixture = cookie;
	struct pollfd wait = {lease->cancel_fd, POLLIN, 0};

	atomic_fetch_add(&fixture->runs, 1);
	while (poll(&wait, 1, -1) != 1)
		;
	assert_true(atomic_load(&lease->cancelled));
}

static void
answer(void *cookie, uint64_t read_id, struct str data)
{
	(void)cookie;
	(void)read_id;
	(void)data;
}

static const struct lease_readers readers = {answer, NULL};

static void
idle(void *cookie)
{
	struct fixture *fixture = cookie;

	atomic_fetch_add(&fixture->idles, 1);
}

static int
setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct lease_table_options options = {
	    .slots = 2, .run = run, .idle = idle, .cookie = fixture};

	fixture->table = lease_table_new(&options);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	lease_table_cancel_all(fixture->table);
	lease_table_wait_idle(fixture->table);
	lease_table_free(fixture->table);
	free(fixture);
	return 0;
}

static struct held_lease *
make_lease(const char *id)
{
	struct arena arena;
	Workerapi__Lease *message;

	arena_init(&arena, 65536);
	message = arena_alloc(&arena, sizeof(*message));
	workerapi__lease__init(message);
	message->lease_id = (ProtobufCBinaryData){
	    .len = strlen(id), .data = (uint8_t *)(uintptr_t)id};
	return held_lease_new(&arena, message, &readers);
}

static void
no_more_leases_than_slots(void **state)
{
	struct fixture *fixture = *state;
	struct held_lease *third = make_lease("c");

	assert_true(lease_table_offer(fixture->table, make_lease("a")));
	assert_true(lease_table_offer(fixture->table, make_lease("b")));
	assert_false(lease_table_offer(fixture->table, third));
	assert_int_equal(lease_table_count(fixture->table), 2);
	held_lease_free(third);
}

static void
cancelled_lease_frees_its_slot(void **state)
{
	struct fixture *fixture = *state;

	assert_true(lease_table_offer(fixture->table, make_lease("a")));
	assert_true(lease_table_cancel(fixture->table, STR("a")));
	lease_table_wait_idle(fixture->table);
	assert_int_equal(lease_table_count(fixture->table), 0);
	assert_int_equal(atomic_load(&fixture->runs), 1);
	assert_int_equal(atomic_load(&fixture->idles), 1);
	assert_true(lease_table_offer(fixture->table, make_lease("b")));
}

/* The server may send the next one as soon as it has the answer, before the
 * slot's thread has come back from sending it. */
static void
an_answered_lease_makes_room_for_the_next(void **state)
{
	struct fixture *fixture = *state;
	struct held_lease *first = make_lease("a");
	struct held_lease *third = make_lease("c");

	assert_true(lease_table_offer(fixture->table, first));
	assert_true(lease_table_offer(fixture->table, make_lease("b")));
	assert_false(lease_table_offer(fixture->table, third));
	atomic_store(&first->answered, true);
	assert_true(lease_table_offer(fixture->table, third));
	assert_int_equal(third->slot, first->slot);
	assert_int_equal(lease_table_count(fixture->table), 3);
	third = make_lease("d");
	assert_false(lease_table_offer(fixture->table, third));
	held_lease_free(third);
	/* It can be cancelled, and is run when its turn comes. */
	assert_true(lease_table_cancel(fixture->table, STR("c")));
	assert_true(lease_table_cancel(fixture->table, STR("a")));
	assert_true(lease_table_cancel(fixture->table, STR("b")));
	lease_table_wait_idle(fixture->table);
	assert_int_equal(atomic_load(&fixture->runs), 3);
	assert_int_equal(lease_table_count(fixture->table), 0);
}

static void
output_of_a_lease_that_comes_next_can_be_waited_for(void **state)
{
	const struct output_read read = {.id = 7, .limit = 100};
	struct fixture *fixture = *state;
	struct held_lease *first = make_lease("a");
	struct held_lease *next = make_lease("c");
	struct str data;

	assert_true(lease_table_offer(fixture->table, first));
	assert_true(lease_table_offer(fixture->table, make_lease("b")));
	atomic_store(&first->answered, true);
	assert_true(lease_table_offer(fixture->table, next));
	assert_false(
	    lease_table_read_output(fixture->table, STR("c"), &read, &data));
	lease_table_withdraw_read(fixture->table, read.id);
	assert_false(live_output_withdraw(&next->output, read.id));
}

static void
unknown_lease_cannot_be_cancelled(void **state)
{
	struct fixture *fixture = *state;

	assert_true(lease_table_offer(fixture->table, make_lease("a")));
	assert_false(lease_table_cancel(fixture->table, STR("b")));
	assert_int_equal(lease_table_count(fixture->table), 1);
}

static void
states_name_every_lease(void **state)
{
	struct fixture *fixture = *state;
	Workerapi__LeaseState **states;
	struct arena arena;
	size_t count;

	arena_init(&arena, 65536);
	assert_true(lease_table_offer(fixture->table, make_lease("a")));
	assert_true(lease_table_offer(fixture->table, make_lease("b")));
	states = lease_table_states(fixture->table, &arena, &count);
	assert_int_equal(count, 2);
	assert_int_equal(
	    states[0]->stage, WORKERAPI__LEASE_STATE__STAGE__FETCHING);
	assert_int_not_equal(
	    states[0]->lease_id.data[0], states[1]->lease_id.data[0]);
	arena_clear(&arena);
}

int
main(void)
{
#define RUN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(no_more_leases_than_slots),
	    RUN_TEST(cancelled_lease_frees_its_slot),
	    RUN_TEST(an_answered_lease_makes_room_for_the_next),
	    RUN_TEST(output_of_a_lease_that_comes_next_can_be_waited_for),
	    RUN_TEST(unknown_lease_cannot_be_cancelled),
	    RUN_TEST(states_name_every_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
