/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks that may wait for each other, and those that may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <semaphore.h>

#include "base/thread_pool.h"

#define THREADS 3
#define OUTER 200
#define INNER 50

struct outer {
	struct task task; /* first */
	struct thread_pool *pool;
	atomic_uint done[INNER];
};

static void
count_inner(void *cookie, size_t i)
{
	struct outer *outer = cookie;

	atomic_fetch_add(&outer->done[i], 1);
}

static void
outer_run(struct task *task)
{
	struct outer *outer = (struct outer *)task;

	thread_pool_share(outer->pool, INNER, count_inner, outer);
	/* All have ended when it returns. */
	for (size_t i = 0; i < INNER; i++)
		atomic_fetch_add(&outer->done[i], 10);
}

static void
shared_work_of_many_tasks_is_done_once_each(void **state)
{
	static struct outer outers[OUTER];
	struct thread_pool *pool = thread_pool_new(THREADS);

	(void)state;
	for (size_t i = 0; i < OUTER; i++) {
		outers[i].task.run = outer_run;
		outers[i].pool = pool;
		thread_pool_submit(pool, &outers[i].task);
	}
	thread_pool_free(pool);
	for (size_t i = 0; i < OUTER * INNER; i++)
		assert_int_equal(
		    atomic_load(&outers[i / INNER].done[i % INNER]), 11);
}

static void
without_a_pool_one_thread_does_it_all(void **state)
{
	static struct outer outer;

	(void)state;
	thread_pool_share(NULL, INNER, count_inner, &outer);
	for (size_t i = 0; i < INNER; i++)
		assert_int_equal(atomic_load(&outer.done[i]), 1);
}

struct held {
	struct task task; /* first */
	sem_t entered;
	sem_t leave;
};

static void
held_run(struct task *task)
{
	struct held *held = (struct held *)task;

	sem_post(&held->entered);
	sem_wait(&held->leave);
}

static void
threads_that_are_busy_are_not_waited_for(void **state)
{
	static struct outer outer;
	struct thread_pool *pool = thread_pool_new(1);
	struct held held = {.task = {.run = held_run}};

	(void)state;
	sem_init(&held.entered, 0, 0);
	sem_init(&held.leave, 0, 0);
	thread_pool_submit(pool, &held.task);
	sem_wait(&held.entered);
	thread_pool_share(pool, INNER, count_inner, &outer);
	for (size_t i = 0; i < INNER; i++)
		assert_int_equal(atomic_load(&outer.done[i]), 1);
	sem_post(&held.leave);
	thread_pool_free(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shared_work_of_many_tasks_is_done_once_each),
	    cmocka_unit_test(without_a_pool_one_thread_does_it_all),
	    cmocka_unit_test(threads_that_are_busy_are_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
