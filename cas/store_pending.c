/* SPDX-License-Identifier: Apache-2.0 */
/* The blobs between log and index: a list in the order of the log, and a map
 * to find them. Any thread, under pending.lock. */
#include "cas/store_pending.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/memory.h"
#include "cas/store_internal.h"

struct pending {
	pthread_rwlock_t lock; /* guards list and map; finders only read */
	struct pending_list list;
	struct map map; /* the latest of each digest */
	/* Written under the lock; read without, as hints. */
	atomic_uint_least64_t generation;
	atomic_size_t count;
	atomic_uint_least64_t bytes;
};

uint64_t
pending_blob_length(const struct pending_blob *blob)
{
	return RECORD_HEADER_SIZE + blob->place.stored_size;
}

struct log_position
pending_blob_end(const struct pending_blob *blob)
{
	return (struct log_position){blob->place.segment,
	    blob->place.offset + pending_blob_length(blob)};
}

void
pending_list_free(struct pending_list *list)
{
	struct pending_blob *blob;

	while ((blob = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		free(blob);
	}
}

struct pending *
pending_new(void)
{
	struct pending *pending = xcalloc(1, sizeof(*pending));

	pthread_rwlock_init(&pending->lock, NULL);
	STAILQ_INIT(&pending->list);
	map_init(&pending->map);
	atomic_init(&pending->generation, 1);
	return pending;
}

void
pending_free(struct pending *pending)
{
	if (pending == NULL)
		return;
	map_clear(&pending->map);
	pending_list_free(&pending->list);
	pthread_rwlock_destroy(&pending->lock);
	free(pending);
}

/* --- finding -------------------------------------------------------------- */

size_t
pending_count(const struct pending *pending)
{
	return atomic_load(&pending->count);
}

uint64_t
pending_bytes(const struct pending *pending)
{
	return atomic_load(&pending->bytes);
}

uint64_t
pending_generation(const struct pending *pending)
{
	return atomic_load(&pending->generation);
}

bool
pending_find(
    struct pending *pending, const struct digest *digest, struct place *place)
{
	const struct pending_blob *blob;

	if (pending_count(pending) == 0)
		return false;
	pthread_rwlock_rdlock(&pending->lock);
	blob = map_get(&pending->map, digest_key(digest));
	if (blob != NULL)
		*place = blob->place;
	pthread_rwlock_unlock(&pending->lock);
	return blob != NULL;
}

/* --- changing ------------------------------------------------------------- */

void
pending_add(struct pending *pending, struct pending_list *list)
{
	struct pending_blob *blob;
	uint64_t bytes = 0;
	size_t count = 0;

	pthread_rwlock_wrlock(&pending->lock);
	STAILQ_FOREACH(blob, list, link)
	{
		if (!blob->moves)
			map_put(&pending->map, digest_key(&blob->digest), blob);
		count++;
		bytes += pending_blob_length(blob);
	}
	atomic_fetch_add(&pending->count, count);
	atomic_fetch_add(&pending->bytes, bytes);
	STAILQ_CONCAT(&pending->list, list);
	/* Last: who sees it then sees the count, too, without the lock. */
	atomic_fetch_add(&pending->generation, 1);
	pthread_rwlock_unlock(&pending->lock);
}

size_t
pending_oldest(
    struct pending *pending, struct pending_blob **blobs, size_t count)
{
	struct pending_blob *blob;
	size_t used = 0;

	pthread_rwlock_rdlock(&pending->lock);
	STAILQ_FOREACH(blob, &pending->list, link)
	{
		if (used == count)
			break;
		blobs[used++] = blob;
	}
	pthread_rwlock_unlock(&pending->lock);
	return used;
}

/* Under the lock. The caller frees it. */
static struct pending_blob *
pending_remove_first(struct pending *pending)
{
	struct pending_blob *blob = STAILQ_FIRST(&pending->list);

	STAILQ_REMOVE_HEAD(&pending->list, link);
	/* A later one of the same digest stays. */
	if (map_get(&pending->map, digest_key(&blob->digest)) == blob)
		map_remove(&pending->map, digest_key(&blob->digest));
	atomic_fetch_sub(&pending->count, 1);
	atomic_fetch_sub(&pending->bytes, pending_blob_length(blob));
	return blob;
}

/* Whoever finds or adds meanwhile waits for few of them. */
#define FORGET_AT_ONCE 256

void
pending_forget(struct pending *pending, size_t count)
{
	while (count > 0) {
		struct pending_list gone = STAILQ_HEAD_INITIALIZER(gone);
		size_t left = count > FORGET_AT_ONCE ? FORGET_AT_ONCE : count;

		count -= left;
		pthread_rwlock_wrlock(&pending->lock);
		for (; left > 0; left--) {
			struct pending_blob *blob =
			    pending_remove_first(pending);

			STAILQ_INSERT_TAIL(&gone, blob, link);
		}
		pthread_rwlock_unlock(&pending->lock);
		pending_list_free(&gone);
	}
}

static bool
pending_is_before(
    const struct pending_blob *blob, const struct log_position *position)
{
	return blob->place.segment < position->segment ||
	       (blob->place.segment == position->segment &&
		   blob->place.offset < position->offset);
}

void
pending_forget_before(
    struct pending *pending, const struct log_position *position)
{
	const struct pending_blob *blob;

	pthread_rwlock_wrlock(&pending->lock);
	while ((blob = STAILQ_FIRST(&pending->list)) != NULL &&
	       pending_is_before(blob, position))
		free(pending_remove_first(pending));
	pthread_rwlock_unlock(&pending->lock);
}

void
pending_hide(struct pending *pending, const struct digest *digest,
    const struct place *place)
{
	const struct pending_blob *blob;

	pthread_rwlock_wrlock(&pending->lock);
	blob = map_get(&pending->map, digest_key(digest));
	if (blob != NULL && blob->place.segment == place->segment &&
	    blob->place.offset == place->offset)
		map_remove(&pending->map, digest_key(digest));
	pthread_rwlock_unlock(&pending->lock);
}
