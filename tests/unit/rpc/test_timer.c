/* SPDX-License-Identifier: Apache-2.0 */
/* Timers: the heap's order, and firing on a server's pollers. */
#include "tests/unit/rpc/fixture.h"

#include "rpc/timer.h"

#define TIMERS 500

static void
heap_gives_timers_in_order(void **state)
{
	static struct rpc_timer timers[TIMERS];
	struct rpc_timer_heap heap;
	struct rpc_timer *timer;
	int64_t last = -1;
	size_t popped = 0;
	unsigned random = 12345;

	(void)state;
	rpc_timer_heap_init(&heap);
	assert_true(rpc_timer_heap_next(&heap) == CLOCK_NEVER);
	for (size_t i = 0; i < TIMERS; i++) {
		rpc_timer_init(&timers[i], NULL);
		random = random * 1103515245u + 12345u;
		rpc_timer_heap_set(&heap, &timers[i], random >> 20);
	}
	for (size_t i = 0; i < TIMERS; i += 3) { /* moved */
		random = random * 1103515245u + 12345u;
		rpc_timer_heap_set(&heap, &timers[i], random >> 20);
	}
	for (size_t i = 0; i < TIMERS; i += 5) {
		assert_true(rpc_timer_heap_remove(&heap, &timers[i]));
		assert_false(rpc_timer_heap_remove(&heap, &timers[i]));
	}
	while ((timer = rpc_timer_heap_pop(&heap, INT64_MAX - 1)) != NULL) {
		assert_true(timer->deadline_ms >= last);
		assert_int_equal(timer->position, SIZE_MAX);
		last = timer->deadline_ms;
		popped++;
	}
	assert_int_equal(popped, TIMERS - TIMERS / 5);
	rpc_timer_heap_clear(&heap);
}

static void
heap_keeps_what_is_not_due(void **state)
{
	struct rpc_timer_heap heap;
	struct rpc_timer timer;

	(void)state;
	rpc_timer_heap_init(&heap);
	rpc_timer_init(&timer, NULL);
	rpc_timer_heap_set(&heap, &timer, 100);
	assert_null(rpc_timer_heap_pop(&heap, 99));
	assert_ptr_equal(rpc_timer_heap_pop(&heap, 100), &timer);
	rpc_timer_heap_clear(&heap);
}

static atomic_int fired;
static atomic_int order[3];
static struct rpc_timer three[3];

static void
note_fired(struct rpc_timer *timer)
{
	order[atomic_load(&fired)] = (int)(timer - three);
	atomic_fetch_add(&fired, 1);
}

/* Two could fire what is due at a time beside each other. */
static int
setup_with_one_poller(void **state)
{
	struct rpc_server_options options;

	(void)state;
	memset(&fixture, 0, sizeof(fixture));
	fixture.pool = thread_pool_new(1);
	options = fixture_options("127.0.0.1:0");
	options.pollers = 1;
	fixture_start(&options);
	fixture.channel = open_channel();
	return 0;
}

static void
timers_fire_on_time_and_in_order(void **state)
{
	int64_t start = clock_monotonic_ms();

	(void)state;
	atomic_store(&fired, 0);
	for (int i = 0; i < 3; i++)
		rpc_timer_init(&three[i], note_fired);
	/* The later ones first: the earlier must wake a poller that sleeps. */
	rpc_timer_set(fixture.server, &three[2], start + 60000);
	rpc_timer_set(fixture.server, &three[1], start + 50000);
	rpc_timer_set(fixture.server, &three[0], start + 100);
	wait_until(&fired, 1);
	assert_in_range(clock_monotonic_ms() - start, 100, 30000);
	/* So must one that is moved. It may fire before the next is set. */
	rpc_timer_set(fixture.server, &three[1], start + 200);
	rpc_timer_set(fixture.server, &three[2], start + 300);
	wait_until(&fired, 3);
	assert_in_range(clock_monotonic_ms() - start, 300, 30000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(order[i], i);
}

/* Sets it and cancels it again; false: this thread came back too late. */
static bool
cancel_in_time(int64_t delay_ms)
{
	int64_t due = clock_monotonic_ms() + delay_ms;

	atomic_store(&fired, 0);
	rpc_timer_set(fixture.server, &three[0], due);
	if (rpc_timer_cancel(fixture.server, &three[0]))
		return true;
	assert_true(clock_monotonic_ms() >= due);
	wait_until(&fired, 1);
	return false;
}

static void
cancelled_timer_does_not_fire(void **state)
{
	int64_t delay_ms = 50;

	(void)state;
	rpc_timer_init(&three[0], note_fired);
	assert_false(rpc_timer_cancel(fixture.server, &three[0]));
	while (!cancel_in_time(delay_ms))
		delay_ms *= 2;
	nanosleep(&(struct timespec){.tv_sec = (delay_ms + 50) / 1000,
		      .tv_nsec = (delay_ms + 50) % 1000 * 1000000},
	    NULL);
	assert_int_equal(fired, 0);
	rpc_timer_set(fixture.server, &three[0], clock_monotonic_ms());
	wait_until(&fired, 1);
	assert_false(rpc_timer_cancel(fixture.server, &three[0]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(heap_gives_timers_in_order),
	    cmocka_unit_test(heap_keeps_what_is_not_due),
	    cmocka_unit_test_setup_teardown(timers_fire_on_time_and_in_order,
		setup_with_one_poller, fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		cancelled_timer_does_not_fire, fixture_setup, fixture_teardown),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
