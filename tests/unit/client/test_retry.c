/* SPDX-License-Identifier: Apache-2.0 */
/* What is tried again, how often and after what pause; groups of jobs. */
#include "client/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/job_group.h"

static void
only_passing_conditions_are_worth_a_try(void **state)
{
	struct error err;

	(void)state;
	for (int code = 1; code <= ERROR_UNAUTHENTICATED; code++) {
		bool worth = code == ERROR_UNAVAILABLE ||
			     code == ERROR_RESOURCE_EXHAUSTED ||
			     code == ERROR_ABORTED;

		error_set(&err, (enum error_code)code, "x");
		assert_int_equal(retry_worth(&err), worth);
	}
}

static void
tries_are_counted_and_progress_starts_anew(void **state)
{
	struct retry retry;
	struct error err;

	(void)state;
	error_set_retry(&err, ERROR_UNAVAILABLE, 1, "x");
	retry_init(&retry, 2, NULL);
	assert_true(retry_again(&retry, &err));
	assert_true(retry_again(&retry, &err));
	assert_false(retry_again(&retry, &err));
	retry_progress(&retry);
	assert_true(retry_again(&retry, &err));
}

static void
the_servers_wish_is_honoured_within_reason(void **state)
{
	struct retry retry;
	struct error err;
	int64_t start = clock_monotonic_ms();

	(void)state;
	retry_init(&retry, 2, NULL);
	error_set_retry(&err, ERROR_UNAVAILABLE, 250, "x");
	assert_true(retry_again(&retry, &err));
	assert_true(clock_monotonic_ms() - start >= 250);
	error_set_retry(&err, ERROR_UNAVAILABLE, 3600000, "x");
	assert_false(retry_again(&retry, &err));
}

static void
cancellation_ends_the_pause(void **state)
{
	atomic_bool cancelled = true;
	struct retry retry;
	struct error err;
	int64_t start = clock_monotonic_ms();

	(void)state;
	retry_init(&retry, 2, &cancelled);
	error_set_retry(&err, ERROR_UNAVAILABLE, 30000, "x");
	assert_false(retry_again(&retry, &err));
	assert_true(clock_monotonic_ms() - start < 5000);
}

struct counted_job {
	struct job job;
	atomic_int *runs;
	bool fails;
};

static int
run_counted(struct job *job, struct error *err)
{
	struct counted_job *self = (struct counted_job *)job;

	atomic_fetch_add(self->runs, 1);
	if (self->fails)
		return error_set(err, ERROR_INTERNAL, "this one fails");
	return 0;
}

static void
group_runs_every_job(void **state)
{
	struct thread_pool *pool = thread_pool_new(3);
	struct counted_job jobs[100];
	struct job_group group;
	struct error err;
	atomic_int runs = 0;

	(void)state;
	job_group_init(&group, pool);
	for (int i = 0; i < 100; i++) {
		jobs[i] = (struct counted_job){.runs = &runs};
		job_group_submit(&group, &jobs[i].job, run_counted);
	}
	assert_int_equal(job_group_wait(&group, &err), 0);
	assert_int_equal(runs, 100);
	job_group_init(&group, pool);
	assert_int_equal(job_group_wait(&group, &err), 0);
	thread_pool_free(pool);
}

static void
group_reports_a_failure_and_skips_the_rest(void **state)
{
	struct thread_pool *pool = thread_pool_new(1);
	struct counted_job jobs[10];
	struct job_group group;
	struct error err;
	atomic_int runs = 0;

	(void)state;
	job_group_init(&group, pool);
	for (int i = 0; i < 10; i++) {
		jobs[i] = (struct counted_job){.runs = &runs, .fails = i == 3};
		job_group_submit(&group, &jobs[i].job, run_counted);
	}
	assert_int_equal(job_group_wait(&group, &err), -1);
	assert_string_equal(err.text, "this one fails");
	assert_int_equal(runs, 4);
	thread_pool_free(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_passing_conditions_are_worth_a_try),
	    cmocka_unit_test(tries_are_counted_and_progress_starts_anew),
	    cmocka_unit_test(the_servers_wish_is_honoured_within_reason),
	    cmocka_unit_test(cancellation_ends_the_pause),
	    cmocka_unit_test(group_runs_every_job),
	    cmocka_unit_test(group_reports_a_failure_and_skips_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
