/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer: the one thread that writes the log. It takes all that waits,
 * up to a bound, as one group: records, one sync of the segment, then the blobs
 * are pending and the callbacks run. While it syncs, the next group gathers by
 * itself. Jobs for the index go on to the indexer.
 *
 * All system calls of a commit to the log are in segment_writer.c.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "cas/crc32c.h"
#include "cas/store_segment.h"

/* Bounds of a group: what is reached first ends it. */
#define GROUP_BYTES ((size_t)32 << 20)
#define GROUP_JOBS 4096

STAILQ_HEAD(commit_queue, commit_job);

struct committer {
	struct store *store;
	struct segment_writer *segment; /* the thread's */
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

size_t
commit_blob_weight(const struct commit_blob *blob)
{
	/* What a large one writes here is a name. */
	if (blob->incoming[0] != '\0')
		return RECORD_HEADER_SIZE;
	return RECORD_HEADER_SIZE + (size_t)blob->stored_size;
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
	store_end_upload(store, blob);
	/* A copy is paid for by nobody. */
	store_release(store, blob->moves ? 0 : blob->owner, blob->reserved);
	blob->reserved = 0;
}

/* --- groups --------------------------------------------------------------- */

void
log_group_expect(struct log_group *group, size_t count)
{
	map_reserve(&group->digests, count);
}

/* Is it pending already? Not asked again when nothing was added since it was
 * looked for. While something is being dropped, it may be what is pending. */
static bool
log_group_is_pending(
    const struct log_group *group, const struct commit_blob *blob)
{
	struct store *store = group->store;
	struct place place;

	return pending_generation(store->pending) != blob->looked_at &&
	       atomic_load(&store->drops) == 0 &&
	       store_find_pending(store, &blob->digest, &place);
}

int
log_group_add(
    struct log_group *group, struct commit_blob *blob, struct error *err)
{
	struct pending_blob *fresh;

	/* The key is the caller's until the group has ended. */
	if (!blob->moves &&
	    map_put(&group->digests, digest_key(&blob->digest), blob) != NULL)
		return 0;
	if (!blob->moves && log_group_is_pending(group, blob))
		return 0;
	fresh = xcalloc(1, sizeof(*fresh));
	fresh->digest = blob->digest;
	fresh->source = blob;
	fresh->moves = blob->moves;
	fresh->from = blob->from;
	fresh->place = (struct place){.size = blob->digest.size,
	    .stored_size = blob->stored_size,
	    .epoch = group->epoch,
	    .owner = blob->owner,
	    .encoding = blob->encoding,
	    .kind = PLACE_SEGMENT};
	if (segment_writer_reserve(group->segment, pending_blob_length(fresh),
		&fresh->place, err) < 0) {
		free(fresh);
		return -1;
	}
	segment_writer_add(group->segment, blob);
	STAILQ_INSERT_TAIL(&group->blobs, fresh, link);
	group->count++;
	return 0;
}

/* All of it is durable: from now on it is found. */
static void
log_group_publish(struct log_group *group)
{
	struct store *store = group->store;
	struct pending_blob *blob;
	struct log_position end;

	STAILQ_FOREACH(blob, &group->blobs, link)
	{
		/* Kept until the index accounts for it. */
		blob->reserved = blob->source->reserved;
		blob->source->reserved = 0;
		blob->source = NULL;
	}
	segment_writer_position(group->segment, &end.segment, &end.offset);
	store_count_records(store, group->count, end.segment);
	pending_add(store->pending, &group->blobs);
	indexer_notice(store->indexer, group->count);
}

static int
log_group_write(
    struct log_group *group, struct commit_queue *jobs, struct error *err)
{
	struct commit_job *job;

	STAILQ_FOREACH(job, jobs, link)
	{
		if (job->append(job, group, err) < 0)
			return -1;
	}
	return segment_writer_sync(group->segment, err);
}

static int
log_group_run(
    struct log_group *group, struct commit_queue *jobs, struct error *err)
{
	struct log_position before;
	int rc;

	if (indexer_wait_room(group->store->indexer, err) < 0)
		return -1;
	segment_writer_position(
	    group->segment, &before.segment, &before.offset);
	rc = log_group_write(group, jobs, err);
	if (rc == 0) {
		log_group_publish(group);
		return 0;
	}
	store_disk_error(group->store, err);
	segment_writer_rollback(group->segment, before.segment, before.offset,
	    err->code != ERROR_RESOURCE_EXHAUSTED);
	pending_list_free(&group->blobs);
	return -1;
}

static void
committer_observe(const struct store *store, uint64_t blobs, int64_t begun_ns)
{
	metric_observe(store->commit_blobs, (int64_t)blobs);
	metric_observe(store->commit_duration, clock_monotonic_ns() - begun_ns);
}

/* Runs the jobs as one group, and ends them or hands them on. */
static void
committer_run(struct committer *committer, struct commit_queue *jobs)
{
	struct log_group group = {.store = committer->store,
	    .segment = committer->segment,
	    .epoch = store_epoch()};
	const struct error *result = NULL;
	int64_t begun_ns = clock_monotonic_ns();
	struct commit_job *job;
	struct error err;

	STAILQ_INIT(&group.blobs);
	map_init(&group.digests);
	if (log_group_run(&group, jobs, &err) < 0)
		result = &err;
	else
		committer_observe(committer->store, group.count, begun_ns);
	map_clear(&group.digests);
	while ((job = STAILQ_FIRST(jobs)) != NULL) {
		STAILQ_REMOVE_HEAD(jobs, link);
		if (result == NULL && job->apply != NULL)
			indexer_submit(committer->store->indexer, job);
		else
			job->finish(job, result);
	}
}

/* --- the thread ----------------------------------------------------------- */

/* Under the lock. */
static void
committer_take(struct committer *committer, struct commit_queue *jobs)
{
	size_t bytes = 0, count = 0;
	struct commit_job *job;

	while (bytes < GROUP_BYTES && count < GROUP_JOBS &&
	       (job = STAILQ_FIRST(&committer->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&committer->queue, link);
		STAILQ_INSERT_TAIL(jobs, job, link);
		bytes += job->weight;
		count++;
	}
}

static void *
committer_thread(void *cookie)
{
	struct committer *committer = cookie;
	bool stopping = false;

	while (!stopping) {
		struct commit_queue jobs = STAILQ_HEAD_INITIALIZER(jobs);

		pthread_mutex_lock(&committer->lock);
		while (STAILQ_EMPTY(&committer->queue) && !committer->stopping)
			pthread_cond_wait(&committer->wake, &committer->lock);
		committer_take(committer, &jobs);
		pthread_mutex_unlock(&committer->lock);
		stopping = STAILQ_EMPTY(&jobs);
		if (!stopping)
			committer_run(committer, &jobs);
	}
	return NULL;
}

struct committer *
committer_new(
    struct store *store, const struct log_position *end, struct error *err)
{
	struct committer *committer = xcalloc(1, sizeof(*committer));
	int rc;

	committer->store = store;
	STAILQ_INIT(&committer->queue);
	pthread_mutex_init(&committer->lock, NULL);
	pthread_cond_init(&committer->wake, NULL);
	committer->segment =
	    segment_writer_open(store, end->segment, end->offset, err);
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
	if (job->append == NULL) {
		indexer_submit(committer->store->indexer, job);
		return;
	}
	pthread_mutex_lock(&committer->lock);
	STAILQ_INSERT_TAIL(&committer->queue, job, link);
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
}
