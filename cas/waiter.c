/* SPDX-License-Identifier: Apache-2.0 */
/* One event that one thread waits for. */
#include "cas/waiter.h"

void
waiter_init(struct waiter *waiter)
{
	pthread_mutex_init(&waiter->lock, NULL);
	pthread_cond_init(&waiter->changed, NULL);
	waiter->finished = false;
}

void
waiter_finish(struct waiter *waiter)
{
	/* Signalled under the lock: the waiting thread clears all this as soon
	 * as it can take the lock. */
	pthread_mutex_lock(&waiter->lock);
	waiter->finished = true;
	pthread_cond_signal(&waiter->changed);
	pthread_mutex_unlock(&waiter->lock);
}

void
waiter_wait(struct waiter *waiter)
{
	pthread_mutex_lock(&waiter->lock);
	while (!waiter->finished)
		pthread_cond_wait(&waiter->changed, &waiter->lock);
	pthread_mutex_unlock(&waiter->lock);
	pthread_cond_destroy(&waiter->changed);
	pthread_mutex_destroy(&waiter->lock);
}
