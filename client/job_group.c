/* SPDX-License-Identifier: Apache-2.0 */
/* Counting what runs, under one lock. */
#include "client/job_group.h"

void
job_group_init(struct job_group *group, struct thread_pool *pool)
{
	*group = (struct job_group){.pool = pool};
	pthread_mutex_init(&group->lock, NULL);
	pthread_cond_init(&group->changed, NULL);
}

static void
job_run(struct task *task)
{
	struct job *job = (struct job *)task;
	struct job_group *group = job->group;
	struct error err;
	bool skip;
	int rc = 0;

	pthread_mutex_lock(&group->lock);
	skip = group->failed;
	pthread_mutex_unlock(&group->lock);
	if (!skip)
		rc = job->run(job, &err);
	pthread_mutex_lock(&group->lock);
	if (rc < 0 && !group->failed) {
		group->failed = true;
		group->error = err;
	}
	/* The waiter may destroy the group as soon as the lock is free. */
	if (--group->running == 0)
		pthread_cond_signal(&group->changed);
	pthread_mutex_unlock(&group->lock);
}

void
job_group_submit(struct job_group *group, struct job *job,
    int (*run)(struct job *job, struct error *err))
{
	job->task.run = job_run;
	job->group = group;
	job->run = run;
	pthread_mutex_lock(&group->lock);
	group->running++;
	pthread_mutex_unlock(&group->lock);
	thread_pool_submit(group->pool, &job->task);
}

int
job_group_wait(struct job_group *group, struct error *err)
{
	pthread_mutex_lock(&group->lock);
	while (group->running > 0)
		pthread_cond_wait(&group->changed, &group->lock);
	pthread_mutex_unlock(&group->lock);
	pthread_cond_destroy(&group->changed);
	pthread_mutex_destroy(&group->lock);
	if (group->failed)
		*err = group->error;
	return group->failed ? -1 : 0;
}

void
completion_init(struct completion *completion)
{
	completion->done = false;
	pthread_mutex_init(&completion->lock, NULL);
	pthread_cond_init(&completion->changed, NULL);
}

void
completion_signal(struct completion *completion)
{
	pthread_mutex_lock(&completion->lock);
	completion->done = true;
	pthread_cond_signal(&completion->changed);
	pthread_mutex_unlock(&completion->lock);
}

void
completion_wait(struct completion *completion)
{
	pthread_mutex_lock(&completion->lock);
	while (!completion->done)
		pthread_cond_wait(&completion->changed, &completion->lock);
	pthread_mutex_unlock(&completion->lock);
	pthread_cond_destroy(&completion->changed);
	pthread_mutex_destroy(&completion->lock);
}
