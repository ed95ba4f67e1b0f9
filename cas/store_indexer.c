/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The indexer: the one thread that changes the index and the names in blobs/.
 * It moves blobs from the log into the index, many at a time, since random keys
 * touch a page each; and it runs the jobs that are acknowledged by the index
 * itself: large files, action results, drops, collection.
 *
 * While the log grows it leaves processors and disk to those who wait for it:
 * it begins when the log rests, or when the tail is half as long as it may be.
 *
 * It may lag behind the log by LAG_BYTES and LAG_COUNT before the committer
 * waits for it. A group of the committer comes on top: that bounds the tail
 * that is read when a store opens after a crash.
 *
 * What goes into a group is in commit_group.c. All system calls of a commit are
 * in indexer_commit, blob_file.c and index_write_commit.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/store_segment.h"

/* Bounds of a group, beside index_write_keys. The more blobs and touches in
 * one, the more of them share a page of the index; but what the index
 * acknowledges waits so long. */
#define GROUP_BYTES ((size_t)32 << 20)
#define GROUP_JOBS 2048
#define GROUP_PENDING 8192
#define GROUP_TOUCHES 8192
/* So many go with a job that has to find all of them in the index. */
#define PENDING_WITH_JOB 1024
/* However many jobs there are, so much else goes on. */
#define GROUP_KEYS_MIN 256
/* Pending blobs wait so long, and then until nothing was added to the log for
 * PENDING_REST_MS; but never longer than PENDING_LONGEST_MS, nor when they are
 * many. */
#define PENDING_INTERVAL_MS 500
#define PENDING_REST_MS 50
#define PENDING_LONGEST_MS 5000
#define RETRY_INTERVAL_MS 1000
#define LAG_BYTES ((uint64_t)64 << 20)
#define LAG_COUNT 65536
#define MANY_BYTES (LAG_BYTES / 2)
#define MANY_COUNT (LAG_COUNT / 2)
/* Touches wait so long, or until there are so many. */
#define TOUCH_INTERVAL_MS 2000
#define READER_CHECK_INTERVAL_MS 60000

STAILQ_HEAD(index_queue, commit_job);

struct indexer {
	struct store *store;
	int64_t touched_at;         /* the thread's, ms */
	int64_t readers_checked_at; /* the thread's, ms */
	int64_t pending_since;      /* the thread's, ms; 0: none was there */
	int64_t retry_at;           /* the thread's, ms; 0: all is well */
	bool told; /* the thread's: it fails, and that is logged */
	/* The thread's: a group with jobs failed; is it what is pending? */
	bool doubt;
	_Atomic int64_t grown_at; /* the log, ms; the committer writes it */
	pthread_t thread;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;
	pthread_cond_t room; /* some were indexed, or could not be */
	struct index_queue queue;
	bool stopping;
	bool failed; /* pending blobs could not be indexed; set by the thread */
	struct error failure;
};

/* --- groups --------------------------------------------------------------- */

static int
indexer_commit(struct commit_group *group, struct error *err)
{
	if (blob_file_sync_directories(group, err) < 0)
		return -1;
	return index_write_commit(&group->write, err);
}

/* All is durable: what the group took in is in the index alone. */
static void
commit_group_forget(struct commit_group *group)
{
	struct store *store = group->store;

	store_set_state(
	    store, &group->write, group->pending, group->pending_count);
	if (group->files > 0)
		store_count_files(store, group->files);
	pending_forget(store->pending, group->pending_count);
	for (size_t i = 0; i < group->replaced_count; i++)
		blob_file_remove(store, &group->replaced[i].digest,
		    group->replaced[i].encoding);
}

/* What one group is to do. */
struct index_work {
	struct index_queue jobs;
	size_t job_count;
	/* All that is pending, or some job would not see what was acknowledged
	 * before it. */
	bool all;
	size_t pending; /* at most, as is touches */
	size_t touches;
	size_t touches_waiting; /* when it was decided */
};

static size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Keeps the transaction's memory in bounds. However much is stored, touches
 * have a part of it: what they promise must not wait for a rest. */
static void
commit_group_bound(const struct commit_group *group, struct index_work *work)
{
	size_t keys = index_write_keys(&group->write);
	size_t part;

	keys = keys > work->job_count ? keys - work->job_count : 0;
	if (keys < GROUP_KEYS_MIN)
		keys = GROUP_KEYS_MIN;
	work->pending =
	    smaller(work->pending, pending_count(group->store->pending));
	part = smaller(keys / 4, smaller(work->touches, work->touches_waiting));
	if (!work->all)
		work->pending = smaller(work->pending, keys - part);
	if (keys > work->pending && keys - work->pending > part)
		part = keys - work->pending;
	work->touches = smaller(work->touches, part);
}

static int
commit_group_run(
    struct commit_group *group, struct index_work *work, struct error *err)
{
	struct store *store = group->store;
	struct commit_job *job;

	if (index_write_begin(store->index, &group->write, err) < 0)
		return -1;
	commit_group_bound(group, work);
	if (commit_group_take_pending(group, work->pending, err) < 0)
		return -1;
	STAILQ_FOREACH(job, &work->jobs, link)
	{
		if (job->apply(job, group, err) < 0)
			return -1;
	}
	if (work->touches > 0 && touches_apply(store->touches, work->touches,
				     &group->write, err) < 0)
		return -1;
	if (indexer_commit(group, err) < 0)
		return -1;
	commit_group_forget(group);
	return 0;
}

static void
index_work_end(struct index_work *work, const struct error *result)
{
	struct commit_job *job;

	while ((job = STAILQ_FIRST(&work->jobs)) != NULL) {
		STAILQ_REMOVE_HEAD(&work->jobs, link);
		job->finish(job, result);
	}
}

/* Runs the work as one group and ends the jobs. */
static int
indexer_run(struct indexer *indexer, struct index_work *work, struct error *err)
{
	struct commit_group *group = xcalloc(1, sizeof(*group));
	const struct error *result = NULL;

	group->store = indexer->store;
	group->epoch = store_epoch();
	if (commit_group_run(group, work, err) < 0) {
		result = err;
		store_disk_error(indexer->store, err);
		index_write_abort(&group->write);
		if (work->touches > 0)
			touches_lost(indexer->store->touches);
		/* With nobody to tell, the log is where it stops; once, not
		 * at each new attempt. */
		if (STAILQ_EMPTY(&work->jobs) && !indexer->told) {
			log_error(
			    "index_write_failed", "error=\"%s\"", err->text);
			indexer->told = true;
		}
	} else {
		indexer->told = false;
	}
	index_write_release(&group->write);
	free(group->pending);
	free(group->replaced);
	free(group);
	index_work_end(work, result);
	return result == NULL ? 0 : -1;
}

/* --- the thread ----------------------------------------------------------- */

/* Under the lock. */
static void
indexer_take(struct indexer *indexer, struct index_work *work)
{
	size_t bytes = 0;
	struct commit_job *job;

	while (!work->all && bytes < GROUP_BYTES &&
	       work->job_count < GROUP_JOBS &&
	       (job = STAILQ_FIRST(&indexer->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&indexer->queue, link);
		STAILQ_INSERT_TAIL(&work->jobs, job, link);
		bytes += job->weight;
		work->job_count++;
		work->all = job->ends_group;
	}
}

static bool
indexer_has_many(const struct indexer *indexer)
{
	return pending_count(indexer->store->pending) >= MANY_COUNT ||
	       pending_bytes(indexer->store->pending) >= MANY_BYTES;
}

static int64_t
indexer_log_rests_at(const struct indexer *indexer)
{
	return atomic_load_explicit(&indexer->grown_at, memory_order_relaxed) +
	       PENDING_REST_MS;
}

/* When a few pending blobs are to be indexed, ms. */
static int64_t
indexer_pending_due_at(const struct indexer *indexer)
{
	int64_t at = indexer->pending_since + PENDING_INTERVAL_MS;
	int64_t latest = indexer->pending_since + PENDING_LONGEST_MS;
	int64_t rests_at = indexer_log_rests_at(indexer);

	if (at < rests_at)
		at = rests_at;
	return at < latest ? at : latest;
}

static bool
indexer_pending_due(struct indexer *indexer, int64_t now)
{
	size_t count = pending_count(indexer->store->pending);

	if (count == 0)
		indexer->pending_since = 0;
	else if (indexer->pending_since == 0)
		indexer->pending_since = now;
	if (count == 0 || now < indexer->retry_at)
		return false;
	return indexer_has_many(indexer) ||
	       now >= indexer_pending_due_at(indexer);
}

/* Under the lock: until there is a job, it is time, or the end. */
static void
indexer_wait(struct indexer *indexer)
{
	int64_t now = clock_monotonic_ms();
	int64_t at;

	while (STAILQ_EMPTY(&indexer->queue) && !indexer->stopping &&
	       !indexer_pending_due(indexer, now) &&
	       !touches_pressing(indexer->store->touches)) {
		at = now + TOUCH_INTERVAL_MS;
		if (indexer->pending_since != 0)
			at = indexer_pending_due_at(indexer);
		if (indexer->pending_since != 0 && at < indexer->retry_at)
			at = indexer->retry_at;
		if (!condition_wait_until(
			&indexer->wake, &indexer->lock, at * 1000000))
			return;
		now = clock_monotonic_ms();
	}
}

/* Whether the next group is to write touches. */
static bool
indexer_touches_due(const struct indexer *indexer, bool idle, bool stopping)
{
	int64_t waited = clock_monotonic_ms() - indexer->touched_at;

	if (touches_pressing(indexer->store->touches))
		return true;
	if (!stopping && waited < TOUCH_INTERVAL_MS)
		return false;
	/* Under load, touches join a group only when they are overdue. */
	return idle || waited >= 4 * TOUCH_INTERVAL_MS;
}

static void
indexer_check_readers(struct indexer *indexer)
{
	int64_t now = clock_monotonic_ms();

	if (now - indexer->readers_checked_at < READER_CHECK_INTERVAL_MS)
		return;
	indexer->readers_checked_at = now;
	index_check_readers(indexer->store->index);
}

/* An index that LMDB has given up is opened again: what failed is in the log,
 * or was told as failed. */
static void
indexer_mend(struct indexer *indexer)
{
	struct store *store = indexer->store;
	struct error err;

	if (!index_is_broken(store->index))
		return;
	if (index_mend(store->index, &err) == 0) {
		log_warn("index_opened_again", "reason=\"%s\"",
		    "the disk failed at the end of a commit");
		return;
	}
	store_disk_error(store, &err);
}

/* What is to be done now. True when it is the end. */
static bool
indexer_next(struct indexer *indexer, struct index_work *work)
{
	bool idle, stopping, doubt;

	STAILQ_INIT(&work->jobs);
	pthread_mutex_lock(&indexer->lock);
	work->all = false;
	work->job_count = 0;
	doubt = indexer->doubt;
	indexer->doubt = false;
	/* However many jobs come, those who wait for room must hear of it. */
	if (!doubt) {
		indexer_wait(indexer);
		indexer_take(indexer, work);
	}
	idle = STAILQ_EMPTY(&work->jobs);
	stopping = indexer->stopping && idle && !doubt;
	pthread_mutex_unlock(&indexer->lock);
	/* Counted after the jobs were taken: what was acknowledged before they
	 * came is among it. */
	work->pending = 0;
	if (work->all)
		work->pending = pending_count(indexer->store->pending);
	else if (stopping || doubt ||
		 indexer_pending_due(indexer, clock_monotonic_ms()))
		work->pending = GROUP_PENDING;
	work->touches_waiting = touches_waiting(indexer->store->touches);
	work->touches = 0;
	if (work->touches_waiting > 0 &&
	    indexer_touches_due(indexer, idle, stopping))
		work->touches = GROUP_TOUCHES;
	return stopping;
}

/* Says how it went to the committer, if pending blobs were concerned. */
static void
indexer_note(struct indexer *indexer, bool alone, int rc, struct error *err)
{
	int64_t now = clock_monotonic_ms();

	if (rc < 0 && !alone) {
		indexer->doubt = true; /* tried without the jobs next */
		return;
	}
	/* If the log rests, what is left goes on at once. */
	if (rc < 0 || now < indexer_log_rests_at(indexer))
		indexer->pending_since = 0;
	indexer->retry_at = rc < 0 ? now + RETRY_INTERVAL_MS : 0;
	pthread_mutex_lock(&indexer->lock);
	indexer->failed = rc < 0;
	if (rc < 0)
		indexer->failure = *err;
	pthread_cond_broadcast(&indexer->room);
	pthread_mutex_unlock(&indexer->lock);
}

/* What a job has to find in the index, and it is much, goes ahead of it in
 * transactions of its own. */
static int
indexer_go_ahead(
    struct indexer *indexer, struct index_work *work, struct error *err)
{
	while (work->all && work->pending > PENDING_WITH_JOB) {
		struct index_work part = {.pending = GROUP_PENDING};
		int rc;

		STAILQ_INIT(&part.jobs);
		rc = indexer_run(indexer, &part, err);
		/* Perhaps nothing is left for the job's own to tell. */
		indexer_note(indexer, true, rc, err);
		if (rc < 0)
			return -1;
		work->pending -= smaller(part.pending, work->pending);
	}
	return 0;
}

/* True when the index took it in, or there was nothing to do. */
static bool
indexer_do(struct indexer *indexer, struct index_work *work)
{
	bool idle = STAILQ_EMPTY(&work->jobs);
	struct error err;
	int rc = 0;

	if (indexer_go_ahead(indexer, work, &err) < 0) {
		/* One transaction for all of it would have no bound. */
		index_work_end(work, &err);
		return false;
	}
	if (!idle || work->pending > 0 || work->touches > 0)
		rc = indexer_run(indexer, work, &err);
	if (work->touches > 0 && work->touches >= work->touches_waiting)
		indexer->touched_at = clock_monotonic_ms();
	if (work->pending > 0)
		indexer_note(indexer, idle, rc, &err);
	return rc == 0;
}

static void *
indexer_thread(void *cookie)
{
	struct indexer *indexer = cookie;
	bool ended = false;

	while (!ended) {
		struct index_work work;
		bool stopping = indexer_next(indexer, &work);
		bool done = indexer_do(indexer, &work);

		indexer_mend(indexer);
		indexer_check_readers(indexer);
		/* What was found or read keeps its promised age. What cannot be
		 * indexed now is in the log. */
		ended =
		    stopping &&
		    (!done || (touches_waiting(indexer->store->touches) == 0 &&
				  pending_count(indexer->store->pending) == 0));
	}
	return NULL;
}

struct indexer *
indexer_new(struct store *store, struct error *err)
{
	struct indexer *indexer = xcalloc(1, sizeof(*indexer));
	int rc;

	indexer->store = store;
	indexer->touched_at = clock_monotonic_ms();
	indexer->readers_checked_at = indexer->touched_at;
	STAILQ_INIT(&indexer->queue);
	pthread_mutex_init(&indexer->lock, NULL);
	pthread_cond_init(&indexer->room, NULL);
	condition_init(&indexer->wake);
	rc = pthread_create(&indexer->thread, NULL, indexer_thread, indexer);
	if (rc == 0)
		return indexer;
	error_set_errno(err, rc, "start the indexer's thread");
	pthread_cond_destroy(&indexer->wake);
	pthread_cond_destroy(&indexer->room);
	pthread_mutex_destroy(&indexer->lock);
	free(indexer);
	return NULL;
}

void
indexer_free(struct indexer *indexer)
{
	if (indexer == NULL)
		return;
	pthread_mutex_lock(&indexer->lock);
	indexer->stopping = true;
	pthread_cond_signal(&indexer->wake);
	pthread_mutex_unlock(&indexer->lock);
	pthread_join(indexer->thread, NULL);
	pthread_cond_destroy(&indexer->wake);
	pthread_cond_destroy(&indexer->room);
	pthread_mutex_destroy(&indexer->lock);
	free(indexer);
}

void
indexer_wake(struct indexer *indexer)
{
	pthread_mutex_lock(&indexer->lock);
	pthread_cond_signal(&indexer->wake);
	pthread_mutex_unlock(&indexer->lock);
}

void
indexer_submit(struct indexer *indexer, struct commit_job *job)
{
	pthread_mutex_lock(&indexer->lock);
	STAILQ_INSERT_TAIL(&indexer->queue, job, link);
	pthread_cond_signal(&indexer->wake);
	pthread_mutex_unlock(&indexer->lock);
}

/* --- the committer's side ------------------------------------------------- */

void
indexer_notice(struct indexer *indexer, size_t added)
{
	size_t count = pending_count(indexer->store->pending);

	atomic_store_explicit(
	    &indexer->grown_at, clock_monotonic_ms(), memory_order_relaxed);
	/* It wakes by itself when it is time for the first of them. */
	if (count > added && !indexer_has_many(indexer))
		return;
	pthread_mutex_lock(&indexer->lock);
	pthread_cond_signal(&indexer->wake);
	pthread_mutex_unlock(&indexer->lock);
}

static bool
indexer_has_room(const struct indexer *indexer)
{
	return pending_count(indexer->store->pending) < LAG_COUNT &&
	       pending_bytes(indexer->store->pending) < LAG_BYTES;
}

int
indexer_wait_room(struct indexer *indexer, struct error *err)
{
	int rc = 0;

	if (indexer_has_room(indexer))
		return 0;
	pthread_mutex_lock(&indexer->lock);
	while (!indexer->failed && !indexer_has_room(indexer))
		pthread_cond_wait(&indexer->room, &indexer->lock);
	if (!indexer_has_room(indexer)) {
		*err = indexer->failure;
		rc = -1;
	}
	pthread_mutex_unlock(&indexer->lock);
	if (rc < 0)
		error_prefix(err, "the index cannot take in what was stored");
	return rc;
}
