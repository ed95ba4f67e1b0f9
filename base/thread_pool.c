/* SPDX-License-Identifier: Apache-2.0 */
/* One queue, one lock, n threads. */
#include "base/thread_pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

struct thread_pool {
	/* Guards tasks and ending. Held for a few instructions only; never
	 * while a task runs. */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* a task was queued, or the end came */
	STAILQ_HEAD(, task) tasks;
	bool ending;
	size_t count;
	pthread_t threads[];
};

static void *
thread_pool_run(void *argument)
{
	struct thread_pool *pool = argument;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct task *task = STAILQ_FIRST(&pool->tasks);

		if (task == NULL && pool->ending)
			break;
		if (task == NULL) {
			pthread_cond_wait(&pool->wake, &pool->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&pool->tasks, link);
		pthread_mutex_unlock(&pool->lock);
		task->run(task);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct thread_pool *
thread_pool_new(size_t threads)
{
	struct thread_pool *pool =
	    xcalloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));

	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	STAILQ_INIT(&pool->tasks);
	for (; pool->count < threads; pool->count++) {
		/* Without its threads a server is of no use: as with memory,
		 * the supervisor starts it anew. */
		if (pthread_create(&pool->threads[pool->count], NULL,
			thread_pool_run, pool) != 0)
			abort();
	}
	return pool;
}

void
thread_pool_free(struct thread_pool *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (size_t i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void
thread_pool_submit(struct thread_pool *pool, struct task *task)
{
	pthread_mutex_lock(&pool->lock);
	STAILQ_INSERT_TAIL(&pool->tasks, task, link);
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
}
