/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job that waits, which holds the indexer still: what is stored meanwhile is
 * in the log only. It lies with the test, from stall_begin to stall_end.
 */
#ifndef TOOLROOT_TESTS_UNIT_CAS_STORE_STALL_H
#define TOOLROOT_TESTS_UNIT_CAS_STORE_STALL_H

#include <semaphore.h>
#include <string.h>

#include "cas/store_internal.h"

struct stall {
	struct commit_job job;
	sem_t entered;
	sem_t leave;
	sem_t left;
};

static inline int
stall_apply(
    struct commit_job *job, struct commit_group *group, struct error *err)
{
	struct stall *stall = (struct stall *)job;

	(void)group;
	(void)err;
	sem_post(&stall->entered);
	sem_wait(&stall->leave);
	return 0;
}

static inline void
stall_finish(struct commit_job *job, const struct error *err)
{
	struct stall *stall = (struct stall *)job;

	(void)err;
	sem_post(&stall->left);
}

static inline void
stall_begin(struct stall *stall, struct store *store)
{
	memset(stall, 0, sizeof(*stall));
	stall->job.apply = stall_apply;
	stall->job.finish = stall_finish;
	sem_init(&stall->entered, 0, 0);
	sem_init(&stall->leave, 0, 0);
	sem_init(&stall->left, 0, 0);
	committer_submit(store->committer, &stall->job);
	sem_wait(&stall->entered);
}

static inline void
stall_end(struct stall *stall)
{
	sem_post(&stall->leave);
	sem_wait(&stall->left);
}

#endif
