/* SPDX-License-Identifier: Apache-2.0 */
/* No state. */
#include "base/condition.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

void
condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attributes);
	pthread_condattr_destroy(&attributes);
}

bool
condition_wait_until(
    pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ns)
{
	const struct timespec until = {
	    until_ns / 1000000000, until_ns % 1000000000};

	return pthread_cond_timedwait(condition, lock, &until) != ETIMEDOUT;
}

bool
condition_wait_for(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms)
{
	return condition_wait_until(
	    condition, lock, clock_monotonic_ns() + ms * 1000000);
}
