/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over the index in the order of hashes, from a random one on, so that
 * restarts do not always check the same part. The scrub's thread. */
#include "cas/scrub.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/check.h"
#include "cas/store_internal.h"

#define WALK_BATCH 64
/* Between passes, and after trouble with the disk. */
#define PAUSE_MS (60 * 1000)
/* A blob counts as so much at least: it costs a look-up and the disk a page. */
#define COST_MIN 4096
/* It sleeps in pieces of at least this: each waking costs something too. */
#define SLEEP_MIN_NS ((int64_t)50 * 1000000)

struct scrub {
	struct store *store;
	uint64_t rate;
	struct index_position position; /* the thread's, as is what follows */
	bool whole;                     /* the pass began at the first blob */
	int64_t due_ns; /* monotonic: by when what was read may have been */
	struct digest digests[WALK_BATCH];
	struct place places[WALK_BATCH];
	size_t count;
	pthread_t thread;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;
	bool stopping;
	struct scrub_statistics statistics;
};

/* Sleeps until then, or until the end; false at the end. */
static bool
scrub_sleep_until(struct scrub *scrub, int64_t until_ns)
{
	bool stopping;

	pthread_mutex_lock(&scrub->lock);
	while (!scrub->stopping &&
	       condition_wait_until(&scrub->wake, &scrub->lock, until_ns))
		continue;
	stopping = scrub->stopping;
	pthread_mutex_unlock(&scrub->lock);
	return !stopping;
}

static bool
scrub_sleep(struct scrub *scrub, int64_t ms)
{
	return scrub_sleep_until(scrub, clock_monotonic_ns() + ms * 1000000);
}

/* Keeps to the rate, after reading so many bytes; false at the end. */
static bool
scrub_pace(struct scrub *scrub, uint64_t bytes)
{
	int64_t now_ns = clock_monotonic_ns();
	double cost = (double)(bytes > COST_MIN ? bytes : COST_MIN);

	/* What it was kept from reading is not made up for. */
	if (scrub->due_ns < now_ns)
		scrub->due_ns = now_ns;
	scrub->due_ns += (int64_t)(cost * 1e9 / (double)scrub->rate);
	return scrub->due_ns - now_ns < SLEEP_MIN_NS ||
	       scrub_sleep_until(scrub, scrub->due_ns);
}

static int
scrub_visit(void *cookie, struct str key, struct str value, struct error *err)
{
	struct scrub *scrub = cookie;

	if (index_decode_blob(key, value, &scrub->digests[scrub->count],
		&scrub->places[scrub->count], err) < 0)
		return -1;
	scrub->count++;
	return 0;
}

/* 1 when more follow, 0 at the end of the store, -1. */
static int
scrub_take(struct scrub *scrub, struct error *err)
{
	struct store_index *index = scrub->store->index;
	MDB_txn *txn;
	int rc;

	scrub->count = 0;
	if (index_read_begin(index, &txn, err) < 0)
		return -1;
	rc = index_walk(index, txn, INDEX_BLOBS, &scrub->position, WALK_BATCH,
	    scrub_visit, scrub, err);
	index_read_end(index, txn);
	return rc;
}

/* One blob; how many bytes it read, or -1. */
static int64_t
scrub_blob(struct scrub *scrub, const struct digest *digest,
    const struct place *place, struct error *err)
{
	struct blob *blob;
	int rc = store_open_blob_at(scrub->store, digest, place, &blob, err);

	/* Moved or collected since; if not, a reader will notice. */
	if (rc != 1)
		return rc;
	rc = check_blob(blob, digest, err);
	/* A bad checksum was dropped by the reading already. */
	if (rc == 0 && err->code != ERROR_DATA_LOSS)
		store_drop_bad(scrub->store, digest, place, err->text);
	pthread_mutex_lock(&scrub->lock);
	scrub->statistics.blobs++;
	scrub->statistics.pass_blobs++;
	scrub->statistics.bytes += place->stored_size;
	pthread_mutex_unlock(&scrub->lock);
	return rc < 0 ? -1 : (int64_t)place->stored_size;
}

/* A batch, at its rate. 1 more follow, 0 the end of the store or of the
 * thread's time, -1. */
static int
scrub_batch(struct scrub *scrub, struct error *err)
{
	int more = scrub_take(scrub, err);

	for (size_t i = 0; more >= 0 && i < scrub->count; i++) {
		int64_t bytes = scrub_blob(
		    scrub, &scrub->digests[i], &scrub->places[i], err);

		if (bytes < 0)
			return -1;
		if (!scrub_pace(scrub, (uint64_t)bytes))
			return 0;
	}
	return more;
}

static void *
scrub_thread(void *cookie)
{
	struct scrub *scrub = cookie;
	struct error err;
	int rc = 1;

	while (scrub_sleep(scrub, rc == 1 ? 0 : PAUSE_MS)) {
		rc = scrub_batch(scrub, &err);
		if (rc < 0)
			log_error("scrub_failed", "error=\"%s\"", err.text);
		if (rc != 0)
			continue;
		scrub->position.length = 0;
		if (!scrub->whole) {
			/* What stands before the random beginning. */
			scrub->whole = true;
			rc = 1;
			continue;
		}
		pthread_mutex_lock(&scrub->lock);
		scrub->statistics.passes++;
		scrub->statistics.pass_blobs = 0;
		pthread_mutex_unlock(&scrub->lock);
	}
	return NULL;
}

static void
scrub_release(struct scrub *scrub)
{
	pthread_cond_destroy(&scrub->wake);
	pthread_mutex_destroy(&scrub->lock);
	free(scrub);
}

struct scrub *
scrub_new(struct store *store, uint64_t rate, struct error *err)
{
	struct scrub *scrub = xcalloc(1, sizeof(*scrub));
	int rc;

	scrub->store = store;
	scrub->rate = rate;
	/* Wherever it begins is right. */
	scrub->position.key[0] = DIGEST_SHA256;
	scrub->position.length =
	    getrandom(scrub->position.key + 1, 8, 0) == 8 ? 9 : 0;
	pthread_mutex_init(&scrub->lock, NULL);
	condition_init(&scrub->wake);
	rc = pthread_create(&scrub->thread, NULL, scrub_thread, scrub);
	if (rc == 0)
		return scrub;
	error_set_errno(err, rc, "start the scrub's thread");
	scrub_release(scrub);
	return NULL;
}

void
scrub_free(struct scrub *scrub)
{
	if (scrub == NULL)
		return;
	pthread_mutex_lock(&scrub->lock);
	scrub->stopping = true;
	pthread_cond_signal(&scrub->wake);
	pthread_mutex_unlock(&scrub->lock);
	pthread_join(scrub->thread, NULL);
	scrub_release(scrub);
}

void
scrub_statistics(struct scrub *scrub, struct scrub_statistics *statistics)
{
	memset(statistics, 0, sizeof(*statistics));
	if (scrub == NULL)
		return;
	pthread_mutex_lock(&scrub->lock);
	*statistics = scrub->statistics;
	pthread_mutex_unlock(&scrub->lock);
}
