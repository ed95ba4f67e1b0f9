/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job that waits, which holds the indexer still: what is stored meanwhile is
 * in the log only. It lies with the test, from stall_begin to stall_end. And
 * copies of a store: what a crash would leave of it at that moment.
 */
#ifndef TOOLROOT_TESTS_UNIT_CAS_STORE_STALL_H
#define TOOLROOT_TESTS_UNIT_CAS_STORE_STALL_H

#include "store_fixture.h"

#include <semaphore.h>

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

/* --- crashes ------------------------------------------------------------- */

static inline void
run(const char *format, const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof(command), format, from, to);
	assert_int_equal(system(command), 0);
}

/* The store as a crash would leave it now, opened. */
static inline struct store *
open_copy(const struct fixture *fixture, char path[static 80])
{
	struct store_options options = fixture->options;
	struct store *copy;
	struct error err;

	snprintf(path, 80, "%s-copy", fixture->path);
	run("rm -rf %2$s; cp -a %1$s %2$s", fixture->path, path);
	options.path = path;
	copy = store_open(&options, &err);
	if (copy == NULL)
		fail_msg("open of the copy: %s", err.text);
	return copy;
}

static inline void
close_copy(struct store *copy, const char *path)
{
	struct error err;

	store_close(copy);
	assert_int_equal(file_remove_tree(path, &err), 0);
}

#endif
