/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropping blobs: the index entry goes with the next group commit, the file
 * after it. Results that name the blob are found incomplete from then on.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "cas/store_internal.h"
#include "cas/waiter.h"

struct drop_job {
	struct commit_job job;
	struct store *store;
	struct digest digest;
	struct place place; /* drop only what is there, when only_at_place */
	bool only_at_place;
	bool removed;
	struct waiter *waiter; /* NULL: nobody waits */
	struct error *error;   /* the waiting thread's */
	int *result;           /* the waiting thread's: -1, 0, 1 */
};

static int
drop_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct drop_job *job = (struct drop_job *)base;
	struct place place;
	int found = index_find(
	    group->store->index, group->write.txn, &job->digest, &place, err);

	if (found < 0)
		return -1;
	if (found == 0)
		return 0;
	if (job->only_at_place && (place.kind != job->place.kind ||
				      place.segment != job->place.segment ||
				      place.offset != job->place.offset ||
				      place.encoding != job->place.encoding))
		return 0;
	job->place = place;
	job->removed = true;
	return index_remove(&group->write, &job->digest, &place, err) < 0 ? -1
									  : 0;
}

static void
drop_finish(struct commit_job *base, const struct error *err)
{
	struct drop_job *job = (struct drop_job *)base;
	char text[DIGEST_TEXT_MAX];

	atomic_fetch_sub(&job->store->drops, 1);
	if (err == NULL && job->removed && job->place.kind == PLACE_FILE)
		blob_file_remove(job->store, &job->digest, job->place.encoding);
	if (job->waiter != NULL) {
		*job->result = err != NULL ? -1 : job->removed;
		if (err != NULL)
			*job->error = *err;
		waiter_finish(job->waiter);
	} else if (err != NULL) {
		/* It stays; the next read finds it bad again. */
		log_error("blob_drop_failed", "digest=%s error=\"%s\"",
		    digest_format(&job->digest, text), err->text);
	}
	free(job);
}

static struct drop_job *
drop_job_new(struct store *store, const struct digest *digest)
{
	struct drop_job *job = xcalloc(1, sizeof(*job));

	job->job.apply = drop_apply;
	job->job.finish = drop_finish;
	job->job.ends_group = true;
	job->store = store;
	job->digest = *digest;
	atomic_fetch_add(&store->drops, 1);
	return job;
}

void
store_drop_bad(struct store *store, const struct digest *digest,
    const struct place *place, const char *why)
{
	struct drop_job *job;
	char text[DIGEST_TEXT_MAX];

	atomic_fetch_add(&store->dropped, 1);
	log_warn("blob_bad", "digest=%s reason=\"%s\"",
	    digest_format(digest, text), why);
	if (store->read_only) {
		pending_hide(store->pending, digest, place);
		return;
	}
	job = drop_job_new(store, digest);
	job->place = *place;
	job->only_at_place = true;
	committer_submit(store->committer, &job->job);
}

int
store_drop_blob(
    struct store *store, const struct digest *digest, struct error *err)
{
	struct drop_job *job;
	struct waiter waiter;
	int result;

	if (store_check_writable(store, err) < 0)
		return -1;
	job = drop_job_new(store, digest);
	job->waiter = &waiter;
	job->error = err;
	job->result = &result;
	waiter_init(&waiter);
	committer_submit(store->committer, &job->job);
	waiter_wait(&waiter);
	return result < 0 ? -1 : 0;
}
