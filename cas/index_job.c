/* SPDX-License-Identifier: Apache-2.0 */
/* A job of the committer around a function and its waiter. */
#include "cas/index_job.h"

#include "cas/store_internal.h"
#include "cas/waiter.h"

struct waited_job {
	struct commit_job job; /* first: the committer gets its address */
	struct store *store;
	const struct index_job *work;
	struct waiter waiter;
	struct error *error; /* the waiting thread's */
	int result;
};

static int
waited_job_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct waited_job *job = (struct waited_job *)base;

	return job->work->apply(
	    job->work->cookie, job->store, &group->write, err);
}

static void
waited_job_finish(struct commit_job *base, const struct error *err)
{
	struct waited_job *job = (struct waited_job *)base;

	if (job->work->finish != NULL)
		job->work->finish(job->work->cookie, job->store, err == NULL);
	if (err != NULL)
		*job->error = *err;
	job->result = err != NULL ? -1 : 0;
	waiter_finish(&job->waiter);
}

int
index_job_run(
    struct store *store, const struct index_job *work, struct error *err)
{
	struct waited_job job = {
	    .store = store, .work = work, .error = err, .result = -1};

	if (store_check_writable(store, err) < 0)
		return -1;
	job.job.apply = waited_job_apply;
	job.job.finish = waited_job_finish;
	/* What it removes must not come back in the same group. */
	job.job.ends_group = true;
	waiter_init(&job.waiter);
	committer_submit(store->committer, &job.job);
	waiter_wait(&job.waiter);
	return job.result;
}

static int
settle_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	(void)cookie;
	(void)store;
	(void)write;
	(void)err;
	return 0;
}

int
index_job_settle(struct store *store, struct error *err)
{
	const struct index_job job = {.apply = settle_apply};

	return index_job_run(store, &job, err);
}
