/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups: among what is pending, in the index. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/thread_pool.h"
#include "cas/store_internal.h"
#include "cas/store_tail.h"

/* Digests that one thread looks up at a time, in one transaction: half a
 * millisecond or less, against two switches of threads. */
#define FIND_BATCH 512
/* Requests that a poller handles name fewer: it waits for nobody. */
#define FIND_ALONE_MAX 2048

bool
store_find_pending(
    struct store *store, const struct digest *digest, struct place *place)
{
	if (!pending_find(store->pending, digest, place))
		return false;
	/* The index may be about to get it with the epoch of a moment ago. If
	 * an earlier copy is being collected, this one stays. */
	(void)store_touch(store, digest, place);
	return true;
}

/* In the index. 1, 0, -1. */
static int
find_indexed(struct store *store, const struct digest *digest,
    struct place *place, struct error *err)
{
	MDB_txn *txn;
	bool stale;
	int found;

	do {
		if (index_read_begin(store->index, &txn, err) < 0)
			return -1;
		found = index_find(store->index, txn, digest, place, err);
		if (found == 1 && !store_touch(store, digest, place))
			found = 0;
		stale = found == 1 && store_snapshot_stale(store, txn);
		index_read_end(store->index, txn);
	} while (stale);
	return found;
}

int
store_find(struct store *store, const struct digest *digest,
    struct place *place, struct error *err)
{
	int found = 0;

	if (store->tail != NULL) {
		/* Another process writes: what the index has is the latest
		 * word on it, and what it lacks may be in the log. */
		found = find_indexed(store, digest, place, err);
		if (found == 0 && tail_refresh(store, err) < 0)
			return -1;
	}
	if (found != 0)
		return found;
	/* In this order: what is taken into the index between the two looks is
	 * seen by the second. */
	if (store_find_pending(store, digest, place))
		return 1;
	return find_indexed(store, digest, place, err);
}

/* What is looked up at a time: digests, whether each is missing, and unless
 * places is NULL where it is. */
struct batch {
	const struct digest *digests;
	size_t count;
	bool *missing;
	struct place *places;
};

static struct place *
place_of(const struct batch *batch, size_t i, struct place *unwanted)
{
	return batch->places != NULL ? &batch->places[i] : unwanted;
}

/* Clears missing[i] of those that the index has. 0, 1 when it is to be asked
 * again, -1. */
static int
find_batch_indexed(
    struct store *store, const struct batch *batch, struct error *err)
{
	struct place unwanted;
	MDB_txn *txn;
	int found = 0;
	bool stale;

	if (index_read_begin(store->index, &txn, err) < 0)
		return -1;
	for (size_t i = 0; i < batch->count; i++) {
		const struct digest *digest = &batch->digests[i];
		struct place *place = place_of(batch, i, &unwanted);

		if (!batch->missing[i])
			continue;
		found = index_find(store->index, txn, digest, place, err);
		if (found < 0)
			break;
		batch->missing[i] =
		    found == 0 || !store_touch(store, digest, place);
	}
	stale = store_snapshot_stale(store, txn);
	index_read_end(store->index, txn);
	return found < 0 ? -1 : stale;
}

/* Sets missing[i] of those that are not the empty blob. */
static void
find_batch_start(const struct digest *digests, size_t count, bool *missing)
{
	for (size_t i = 0; i < count; i++)
		missing[i] = !digest_is_empty(&digests[i]);
}

/* As store_find, for many. 0, 1 when it is to be asked again, -1. */
static int
find_batch_once(
    struct store *store, const struct batch *batch, struct error *err)
{
	struct place unwanted;
	int rc;

	find_batch_start(batch->digests, batch->count, batch->missing);
	if (store->tail != NULL) {
		rc = find_batch_indexed(store, batch, err);
		if (rc != 0)
			return rc;
		if (memchr(batch->missing, true, batch->count) == NULL)
			return 0;
		if (tail_refresh(store, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->missing[i] &&
		    store_find_pending(store, &batch->digests[i],
			place_of(batch, i, &unwanted)))
			batch->missing[i] = false;
	}
	return find_batch_indexed(store, batch, err);
}

static int
find_batch(struct store *store, const struct batch *batch, struct error *err)
{
	int rc;

	do {
		rc = find_batch_once(store, batch, err);
	} while (rc == 1);
	return rc;
}

int
store_find_places(struct store *store, const struct digest *digests,
    size_t count, bool *missing, struct place *places, struct error *err)
{
	const struct batch batch = {digests, count, missing, places};

	return find_batch(store, &batch, err);
}

struct find {
	struct store *store;
	const struct digest *digests;
	size_t count;
	bool *missing;
	atomic_bool failed;
	struct error *err; /* of the one that failed first */
};

static void
find_run(void *cookie, size_t number)
{
	struct find *find = cookie;
	size_t first = number * FIND_BATCH;
	size_t count = find->count - first;
	struct batch batch = {
	    .digests = find->digests + first, .missing = find->missing + first};
	struct error err;

	batch.count = count < FIND_BATCH ? count : FIND_BATCH;
	if (find_batch(find->store, &batch, &err) < 0 &&
	    !atomic_exchange(&find->failed, true))
		*find->err = err;
}

int
store_find_missing(struct store *store, const struct digest *digests,
    size_t count, bool *missing, struct error *err)
{
	struct find find = {.store = store,
	    .digests = digests,
	    .count = count,
	    .missing = missing,
	    .err = err};

	thread_pool_share(count > FIND_ALONE_MAX ? store->pool : NULL,
	    (count + FIND_BATCH - 1) / FIND_BATCH, find_run, &find);
	return atomic_load(&find.failed) ? -1 : 0;
}

bool
store_place_exists(
    struct store *store, const struct digest *digest, const struct place *place)
{
	char path[BLOB_PATH_MAX];
	struct stat status;

	if (place->kind == PLACE_SEGMENT)
		return true;
	blob_file_path(digest, place->encoding, path);
	/* A failure other than these two says nothing about the blob. */
	if (fstatat(store->blobs, path, &status, AT_SYMLINK_NOFOLLOW) == -1)
		return errno != ENOENT && errno != ENOTDIR;
	return (uint64_t)status.st_size == place->stored_size;
}

int
store_is_stored(
    struct store *store, const struct digest *digest, struct error *err)
{
	struct place place;
	int found = store_find(store, digest, &place, err);

	if (found != 1)
		return found;
	return atomic_load(&store->drops) == 0 &&
	       store_place_exists(store, digest, &place);
}
