/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the index beside the writing of blobs: one function in one
 * transaction, in the order of the committer's queue, waited for. For the
 * collector, pins and the store tools.
 */
#ifndef TOOLROOT_CAS_INDEX_JOB_H
#define TOOLROOT_CAS_INDEX_JOB_H

#include <stdbool.h>

struct error;
struct index_write;
struct store;

struct index_job {
	/* In the transaction, on the committer's thread. -1 undoes all of it.
	 * It may run a second time when the transaction has to be repeated,
	 * so it starts from nothing. */
	int (*apply)(void *cookie, struct store *store,
	    struct index_write *write, struct error *err);
	/* On the same thread, before anything else changes the index: durable
	 * (done) or undone. May be NULL. */
	void (*finish)(void *cookie, struct store *store, bool done);
	void *cookie;
};

/* 0 when it is durable. Blocks; any thread but the committer's. */
int index_job_run(
    struct store *store, const struct index_job *job, struct error *err);
/* All that was acknowledged before is in the index afterwards. */
int index_job_settle(struct store *store, struct error *err);

#endif
