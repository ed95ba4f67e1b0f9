/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Condition variables whose waits end at a moment of clock_monotonic_ns, so
 * that no change of the date lengthens or cuts them. Any thread; all else is
 * pthread's.
 */
#ifndef TOOLROOT_BASE_CONDITION_H
#define TOOLROOT_BASE_CONDITION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

void condition_init(pthread_cond_t *condition);
/* Under the lock; it may return for no reason. False when the moment has
 * passed. */
bool condition_wait_until(
    pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ns);
/* The same, so many milliseconds from now. */
bool condition_wait_for(
    pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms);

#endif
