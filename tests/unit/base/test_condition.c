/* SPDX-License-Identifier: Apache-2.0 */
/* Waits that end by a moment, and those that end by a signal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/condition.h"

struct box {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	bool full;
};

static void
box_init(struct box *box)
{
	pthread_mutex_init(&box->lock, NULL);
	condition_init(&box->filled);
	box->full = false;
}

static void
box_clear(struct box *box)
{
	pthread_cond_destroy(&box->filled);
	pthread_mutex_destroy(&box->lock);
}

static void *
fill(void *cookie)
{
	struct box *box = cookie;

	pthread_mutex_lock(&box->lock);
	box->full = true;
	pthread_cond_signal(&box->filled);
	pthread_mutex_unlock(&box->lock);
	return NULL;
}

static void
a_wait_ends_when_its_moment_has_passed(void **state)
{
	int64_t until_ns = clock_monotonic_ns() + 20000000;
	struct box box;

	(void)state;
	box_init(&box);
	pthread_mutex_lock(&box.lock);
	while (condition_wait_until(&box.filled, &box.lock, until_ns))
		continue;
	assert_true(clock_monotonic_ns() >= until_ns);
	/* One that has passed before is no wait. */
	assert_false(condition_wait_for(&box.filled, &box.lock, -1000));
	pthread_mutex_unlock(&box.lock);
	box_clear(&box);
}

static void
a_wait_ends_by_a_signal(void **state)
{
	struct box box;
	pthread_t thread;
	bool in_time = true;

	(void)state;
	box_init(&box);
	pthread_mutex_lock(&box.lock);
	assert_int_equal(pthread_create(&thread, NULL, fill, &box), 0);
	while (!box.full && in_time)
		in_time = condition_wait_for(&box.filled, &box.lock, 60000);
	assert_true(box.full);
	pthread_mutex_unlock(&box.lock);
	pthread_join(thread, NULL);
	box_clear(&box);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_wait_ends_when_its_moment_has_passed),
	    cmocka_unit_test(a_wait_ends_by_a_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
