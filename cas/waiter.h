/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the committer, for those functions of the store that block until
 * their job is done. The waiting thread owns the waiter.
 */
#ifndef TOOLROOT_CAS_WAITER_H
#define TOOLROOT_CAS_WAITER_H

#include <pthread.h>
#include <stdbool.h>

struct waiter {
	pthread_mutex_t lock; /* guards finished */
	pthread_cond_t changed;
	bool finished;
};

void waiter_init(struct waiter *waiter);
/* The last thing that the job does with it. */
void waiter_finish(struct waiter *waiter);
/* Returns when finished, and clears the waiter. */
void waiter_wait(struct waiter *waiter);

#endif
