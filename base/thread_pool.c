/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One queue, one lock, n threads. Of those that wait, the one that worked last
 * is woken: its stack, its part of the heap and what it keeps for itself are
 * still in the caches, or in memory at all.
 */
#include "base/thread_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/thread.h"

/* A thread that has nothing to do, on its own stack. */
struct sleeper {
	pthread_cond_t wake;
	bool woken; /* and taken off the list */
	SLIST_ENTRY(sleeper) link;
};

struct thread_pool {
	/* Guards what follows but count. Held for a few instructions only;
	 * never while a task runs. */
	pthread_mutex_t lock;
	SLIST_HEAD(, sleeper) sleepers; /* the latest first */
	STAILQ_HEAD(, task) tasks;
	size_t queued; /* of them */
	size_t idle;   /* threads that wait, those that were woken included */
	bool ending;
	size_t count;
	pthread_t threads[];
};

/* Under the lock: until a task was queued for this thread, or the end. */
static void
thread_pool_sleep(struct thread_pool *pool, struct sleeper *sleeper)
{
	sleeper->woken = false;
	SLIST_INSERT_HEAD(&pool->sleepers, sleeper, link);
	pool->idle++;
	while (!sleeper->woken)
		pthread_cond_wait(&sleeper->wake, &pool->lock);
	pool->idle--;
}

/* Under the lock: wakes a thread, if one sleeps. */
static bool
thread_pool_wake(struct thread_pool *pool)
{
	struct sleeper *sleeper = SLIST_FIRST(&pool->sleepers);

	if (sleeper == NULL)
		return false;
	SLIST_REMOVE_HEAD(&pool->sleepers, link);
	sleeper->woken = true;
	pthread_cond_signal(&sleeper->wake);
	return true;
}

static void *
thread_pool_run(void *argument)
{
	struct sleeper sleeper = {.wake = PTHREAD_COND_INITIALIZER};
	struct thread_pool *pool = argument;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct task *task = STAILQ_FIRST(&pool->tasks);

		if (task == NULL && pool->ending)
			break;
		if (task == NULL) {
			thread_pool_sleep(pool, &sleeper);
			continue;
		}
		STAILQ_REMOVE_HEAD(&pool->tasks, link);
		pool->queued--;
		pthread_mutex_unlock(&pool->lock);
		task->run(task);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	pthread_cond_destroy(&sleeper.wake);
	return NULL;
}

struct thread_pool *
thread_pool_new(size_t threads)
{
	struct thread_pool *pool =
	    xcalloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));

	pthread_mutex_init(&pool->lock, NULL);
	SLIST_INIT(&pool->sleepers);
	STAILQ_INIT(&pool->tasks);
	for (; pool->count < threads; pool->count++)
		thread_start(
		    &pool->threads[pool->count], thread_pool_run, pool);
	return pool;
}

void
thread_pool_free(struct thread_pool *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	while (thread_pool_wake(pool))
		continue;
	pthread_mutex_unlock(&pool->lock);
	for (size_t i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* Under the lock. */
static void
thread_pool_queue(struct thread_pool *pool, struct task *task)
{
	STAILQ_INSERT_TAIL(&pool->tasks, task, link);
	pool->queued++;
	(void)thread_pool_wake(pool);
}

void
thread_pool_submit(struct thread_pool *pool, struct task *task)
{
	pthread_mutex_lock(&pool->lock);
	thread_pool_queue(pool, task);
	pthread_mutex_unlock(&pool->lock);
}

/* --- sharing ---------------------------------------------------------------*/

/* More threads than this gain nothing for what is shared here: memory and disk
 * are its limits. */
#define HELPERS_MAX 3

struct sharing {
	void (*run)(void *cookie, size_t i);
	void *cookie;
	size_t count;
	atomic_size_t next;
	pthread_mutex_t lock; /* guards helpers */
	pthread_cond_t left;
	size_t helpers; /* that work, or may begin to */
};

struct helper {
	struct task task; /* first: the pool gets its address */
	struct sharing *sharing;
};

static void
sharing_work(struct sharing *sharing)
{
	size_t i;

	while ((i = atomic_fetch_add(&sharing->next, 1)) < sharing->count)
		sharing->run(sharing->cookie, i);
}

static void
sharing_leave(struct sharing *sharing)
{
	pthread_mutex_lock(&sharing->lock);
	sharing->helpers--;
	pthread_cond_signal(&sharing->left);
	pthread_mutex_unlock(&sharing->lock);
}

static void
helper_run(struct task *task)
{
	struct sharing *sharing = ((struct helper *)task)->sharing;

	sharing_work(sharing);
	sharing_leave(sharing);
}

/* Only if a thread has nothing else to do. False: it was not submitted. */
static bool
thread_pool_submit_idle(struct thread_pool *pool, struct task *task)
{
	bool idle;

	pthread_mutex_lock(&pool->lock);
	/* Every task that is queued before it has a thread of its own. */
	idle = pool->idle > pool->queued;
	if (idle)
		thread_pool_queue(pool, task);
	pthread_mutex_unlock(&pool->lock);
	return idle;
}

/* True when no thread had begun it, and none will. */
static bool
thread_pool_recall(struct thread_pool *pool, struct task *task)
{
	struct task *queued;

	pthread_mutex_lock(&pool->lock);
	STAILQ_FOREACH(queued, &pool->tasks, link)
	{
		if (queued == task)
			break;
	}
	if (queued != NULL) {
		STAILQ_REMOVE(&pool->tasks, task, task, link);
		pool->queued--;
	}
	pthread_mutex_unlock(&pool->lock);
	return queued != NULL;
}

void
thread_pool_share(struct thread_pool *pool, size_t count,
    void (*run)(void *cookie, size_t i), void *cookie)
{
	struct sharing sharing = {.run = run,
	    .cookie = cookie,
	    .count = count,
	    .lock = PTHREAD_MUTEX_INITIALIZER,
	    .left = PTHREAD_COND_INITIALIZER,
	    .helpers = HELPERS_MAX};
	struct helper helpers[HELPERS_MAX];
	size_t used = 0;

	if (pool == NULL || count < 2) {
		for (size_t i = 0; i < count; i++)
			run(cookie, i);
		return;
	}
	for (; used < HELPERS_MAX && used + 1 < count; used++) {
		helpers[used] = (struct helper){{.run = helper_run}, &sharing};
		if (!thread_pool_submit_idle(pool, &helpers[used].task))
			break;
	}
	sharing_work(&sharing);
	for (size_t i = 0; i < HELPERS_MAX; i++) {
		if (i >= used || thread_pool_recall(pool, &helpers[i].task))
			sharing_leave(&sharing);
	}
	pthread_mutex_lock(&sharing.lock);
	while (sharing.helpers > 0)
		pthread_cond_wait(&sharing.left, &sharing.lock);
	pthread_mutex_unlock(&sharing.lock);
	pthread_cond_destroy(&sharing.left);
	pthread_mutex_destroy(&sharing.lock);
}
