/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of one larger work, run on a pool's threads while the owner waits.
 * The first failure is kept, and pieces that have not begun then do not run.
 * The owner's thread must not belong to the pool.
 */
#ifndef TOOLROOT_CLIENT_JOB_GROUP_H
#define TOOLROOT_CLIENT_JOB_GROUP_H

#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/thread_pool.h"

struct job_group {
	struct thread_pool *pool;
	/* Guards all below. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t running; /* submitted and not ended */
	bool failed;
	struct error error; /* the first, when failed */
};

struct job {
	struct task task; /* first: the pool hands this back */
	struct job_group *group;
	int (*run)(struct job *job, struct error *err);
};

void job_group_init(struct job_group *group, struct thread_pool *pool);
/* The job lives until job_group_wait has returned. */
void job_group_submit(struct job_group *group, struct job *job,
    int (*run)(struct job *job, struct error *err));
/* Waits for all, tells what came out of them, and ends the group. */
int job_group_wait(struct job_group *group, struct error *err);

/* --- one event -------------------------------------------------------------
 * For interfaces that call back: the owner waits, the callback signals. */
struct completion {
	/* Guards the rest. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
};

void completion_init(struct completion *completion);
void completion_signal(struct completion *completion);
/* Waits for the signal and ends the completion. */
void completion_wait(struct completion *completion);

#endif
