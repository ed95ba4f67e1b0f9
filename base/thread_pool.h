/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for work that may block: disk, hashing and compression of large
 * pieces, other servers. A task is embedded in the object it works on; its
 * function runs once, on some thread of the pool, and may free the task.
 */
#ifndef TOOLROOT_BASE_THREAD_POOL_H
#define TOOLROOT_BASE_THREAD_POOL_H

#include <stddef.h>
#include <sys/queue.h>

struct thread_pool;

struct task {
	void (*run)(struct task *task);
	STAILQ_ENTRY(task) link;
};

/* threads >= 1. */
struct thread_pool *thread_pool_new(size_t threads);
/* Runs what is queued, then joins the threads. NULL is allowed. */
void thread_pool_free(struct thread_pool *pool);
/* Any thread, never blocks. The caller bounds how much it submits. */
void thread_pool_submit(struct thread_pool *pool, struct task *task);
/* Runs run(cookie, i) once for every i below count: on this thread, and beside
 * it on threads of the pool that have nothing else to do. Returns when all have
 * ended. A task of the pool may call it. pool NULL: all on this thread. */
void thread_pool_share(struct thread_pool *pool, size_t count,
    void (*run)(void *cookie, size_t i), void *cookie);

#endif
