/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer: the one thread that makes writes durable. It takes all that
 * waits, up to a bound, as one group: data first (one sync for the segment, one
 * for each directory that got a name), then one index transaction, then the
 * callbacks. While it syncs, the next group gathers by itself.
 *
 * All system calls of a commit are in commit_group_sync, segment_writer.c,
 * blob_file.c and index_write_commit.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/crc32c.h"
#include "cas/store_segment.h"

/* Bounds of a group: what is reached first ends it. */
#define GROUP_BYTES ((size_t)32 << 20)
#define GROUP_JOBS 4096
/* Touches wait so long, or until there are so many. */
#define TOUCH_INTERVAL_MS 2000
#define TOUCHES_A_GROUP 16384
#define READER_CHECK_INTERVAL_MS 60000

STAILQ_HEAD(commit_queue, commit_job);

struct committer {
	struct store *store;
	struct segment_writer *segment; /* the thread's */
	int64_t touched_at;             /* the thread's, ms */
	int64_t readers_checked_at;     /* the thread's, ms */
	pthread_t thread;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;
	struct commit_queue queue;
	bool stopping;
};

/* --- blobs ---------------------------------------------------------------- */

void
commit_blob_seal(struct commit_blob *blob)
{
	uint32_t crc = 0;

	for (size_t i = 0; i < blob->part_count; i++)
		crc = crc32c(
		    crc, blob->parts[i].iov_base, blob->parts[i].iov_len);
	record_encode(blob, crc, blob->header);
}

void
commit_blob_clear(struct store *store, struct commit_blob *blob, bool failed)
{
	if (blob->incoming[0] != '\0' && !blob->placed)
		(void)unlinkat(store->incoming, blob->incoming, 0);
	else if (blob->placed && failed)
		blob_file_remove(store, &blob->digest, blob->encoding);
	blob->incoming[0] = '\0';
	free(blob->owned.iov_base);
	blob->owned.iov_base = NULL;
	store_release(store, blob->reserved);
	blob->reserved = 0;
}

static int
commit_group_place_file(
    struct commit_group *group, struct commit_blob *blob, struct error *err)
{
	if (blob_file_place(group->store, blob, &group->shard_made, err) < 0)
		return -1;
	blob->placed = true;
	group->directories[blob->digest.function][blob->digest.hash[0]] = true;
	group->directories_any = true;
	return 0;
}

int
commit_group_add(
    struct commit_group *group, struct commit_blob *blob, struct error *err)
{
	struct place place = {.size = blob->digest.size,
	    .stored_size = blob->stored_size,
	    .epoch = store_epoch(),
	    .encoding = blob->encoding,
	    .kind = blob->incoming[0] != '\0' ? PLACE_FILE : PLACE_SEGMENT};
	struct place present;
	int added;

	if (place.kind == PLACE_SEGMENT &&
	    segment_writer_reserve(group->segment,
		RECORD_HEADER_SIZE + blob->stored_size, &place, err) < 0)
		return -1;
	added = index_add(&group->write, &blob->digest, &place, &present, err);
	if (added == 0 &&
	    !store_place_exists(group->store, &blob->digest, &present)) {
		/* The file was deleted behind our back. */
		if (index_remove(&group->write, &blob->digest, &present, err) <
		    0)
			return -1;
		added = index_add(
		    &group->write, &blob->digest, &place, &present, err);
	}
	if (added != 1)
		return added;
	group->blobs++;
	if (place.kind == PLACE_FILE)
		return commit_group_place_file(group, blob, err);
	segment_writer_add(group->segment, blob);
	return index_grow_segment(&group->write, place.segment,
	    RECORD_HEADER_SIZE + blob->stored_size, err);
}

/* --- groups --------------------------------------------------------------- */

static int
commit_group_sync(struct commit_group *group, struct error *err)
{
	struct index_state *state = &group->write.state;

	if (segment_writer_sync(group->segment, err) < 0 ||
	    blob_file_sync_directories(group, err) < 0)
		return -1;
	segment_writer_position(
	    group->segment, &state->active_segment, &state->active_length);
	return index_write_commit(&group->write, err);
}

static int
commit_group_run(struct commit_group *group, struct commit_queue *jobs,
    size_t touches, struct error *err)
{
	struct store *store = group->store;
	struct commit_job *job;

	if (index_write_begin(store->index, &group->write, err) < 0)
		return -1;
	STAILQ_FOREACH(job, jobs, link)
	{
		if (job->apply(job, group, err) < 0)
			return -1;
	}
	if (touches > 0 &&
	    touches_apply(store->touches, touches, &group->write, err) < 0)
		return -1;
	if (commit_group_sync(group, err) < 0)
		return -1;
	store_set_state(store, &group->write.state, group->blobs);
	return 0;
}

/* Runs the jobs as one group and ends them. */
static void
committer_run(
    struct committer *committer, struct commit_queue *jobs, size_t touches)
{
	struct commit_group *group = xcalloc(1, sizeof(*group));
	const struct error *result = NULL;
	struct commit_job *job;
	struct error err;
	uint64_t length;
	uint32_t number;

	group->store = committer->store;
	group->segment = committer->segment;
	segment_writer_position(committer->segment, &number, &length);
	if (commit_group_run(group, jobs, touches, &err) < 0) {
		result = &err;
		store_disk_error(committer->store, &err);
		index_write_abort(&group->write);
		segment_writer_rollback(committer->segment, number, length,
		    err.code != ERROR_RESOURCE_EXHAUSTED);
		if (touches > 0)
			touches_lost(committer->store->touches);
		/* With nobody to tell, the log is where it stops. */
		if (STAILQ_EMPTY(jobs))
			log_error(
			    "store_touch_failed", "error=\"%s\"", err.text);
	}
	free(group);
	while ((job = STAILQ_FIRST(jobs)) != NULL) {
		STAILQ_REMOVE_HEAD(jobs, link);
		job->finish(job, result);
	}
}

/* --- the thread ----------------------------------------------------------- */

/* Under the lock. */
static void
committer_take(struct committer *committer, struct commit_queue *jobs)
{
	size_t bytes = 0, count = 0;
	bool last = false;
	struct commit_job *job;

	while (!last && bytes < GROUP_BYTES && count < GROUP_JOBS &&
	       (job = STAILQ_FIRST(&committer->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&committer->queue, link);
		STAILQ_INSERT_TAIL(jobs, job, link);
		bytes += job->weight;
		count++;
		last = job->ends_group;
	}
}

/* Under the lock: until there is a job, it is time, or the end. */
static void
committer_wait(struct committer *committer)
{
	struct timespec until;

	if (!STAILQ_EMPTY(&committer->queue) || committer->stopping)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += TOUCH_INTERVAL_MS / 1000;
	pthread_cond_timedwait(&committer->wake, &committer->lock, &until);
}

/* How many touches the next group is to write. */
static size_t
committer_due_touches(struct committer *committer, bool idle, bool stopping)
{
	size_t waiting = touches_waiting(committer->store->touches);
	int64_t now = clock_monotonic_ms();

	if (waiting == 0)
		return 0;
	if (!stopping && now - committer->touched_at < TOUCH_INTERVAL_MS &&
	    waiting < 4 * TOUCHES_A_GROUP)
		return 0;
	/* Under load, touches join a group only when they are overdue. */
	if (!idle && now - committer->touched_at < 4 * TOUCH_INTERVAL_MS)
		return 0;
	if (waiting <= TOUCHES_A_GROUP)
		committer->touched_at = now;
	return TOUCHES_A_GROUP;
}

static void
committer_check_readers(struct committer *committer)
{
	int64_t now = clock_monotonic_ms();

	if (now - committer->readers_checked_at < READER_CHECK_INTERVAL_MS)
		return;
	committer->readers_checked_at = now;
	index_check_readers(committer->store->index);
}

static void *
committer_thread(void *cookie)
{
	struct committer *committer = cookie;
	bool stopping = false;

	while (!stopping) {
		struct commit_queue jobs = STAILQ_HEAD_INITIALIZER(jobs);
		size_t touches;
		bool idle;

		pthread_mutex_lock(&committer->lock);
		committer_wait(committer);
		committer_take(committer, &jobs);
		idle = STAILQ_EMPTY(&jobs);
		stopping = committer->stopping && idle;
		pthread_mutex_unlock(&committer->lock);
		touches = committer_due_touches(committer, idle, stopping);
		if (!idle || touches > 0)
			committer_run(committer, &jobs, touches);
		committer_check_readers(committer);
		/* What was found or read keeps its promised age. */
		stopping = stopping && (touches == 0);
	}
	return NULL;
}

struct committer *
committer_new(struct store *store, struct error *err)
{
	struct committer *committer = xcalloc(1, sizeof(*committer));
	pthread_condattr_t attributes;
	int rc;

	committer->store = store;
	committer->touched_at = clock_monotonic_ms();
	committer->readers_checked_at = committer->touched_at;
	STAILQ_INIT(&committer->queue);
	pthread_mutex_init(&committer->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&committer->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	committer->segment = segment_writer_open(store,
	    store->state.active_segment, store->state.active_length, err);
	if (committer->segment == NULL)
		goto fail;
	rc = pthread_create(
	    &committer->thread, NULL, committer_thread, committer);
	if (rc == 0)
		return committer;
	error_set_errno(err, rc, "start the committer's thread");
	segment_writer_close(committer->segment);
fail:
	pthread_cond_destroy(&committer->wake);
	pthread_mutex_destroy(&committer->lock);
	free(committer);
	return NULL;
}

void
committer_free(struct committer *committer)
{
	if (committer == NULL)
		return;
	pthread_mutex_lock(&committer->lock);
	committer->stopping = true;
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
	pthread_join(committer->thread, NULL);
	segment_writer_close(committer->segment);
	pthread_cond_destroy(&committer->wake);
	pthread_mutex_destroy(&committer->lock);
	free(committer);
}

void
committer_submit(struct committer *committer, struct commit_job *job)
{
	pthread_mutex_lock(&committer->lock);
	STAILQ_INSERT_TAIL(&committer->queue, job, link);
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
}
