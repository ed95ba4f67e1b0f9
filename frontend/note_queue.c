/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of chunks with all notes but hits, and the lanes of the threads that
 * note hits. A hit knows how many of the others came before it, which tells the
 * reader where among them it belongs.
 */
#include "frontend/note_queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "frontend/note.h"
#include "frontend/note_lane.h"

/* That are kept for the next notes: memory that the kernel has yet to give
 * costs a note four times its copy. */
#define SPARE_CHUNKS 128

struct note_queue {
	/* What each hit reads; seldom written. */
	uint64_t id;                 /* no other has had it */
	pthread_key_t lane_key;      /* a thread's lane */
	size_t chunks_max;           /* constant */
	atomic_uint_least64_t added; /* but hits; written under the lock */
	atomic_size_t chunks_used;   /* spare ones are not; the same */
	char apart[64];

	_Atomic(struct note_lane *) lanes; /* all; none is ever taken out */
	atomic_uint_least64_t done;
	atomic_uint_least64_t dropped; /* but hits */

	pthread_mutex_t lock; /* guards what follows */
	struct note_chunk_list chunks;
	struct note_chunk *last;      /* of them; NULL when there is none */
	struct note_chunk_list spare; /* the one used last first */
	size_t spares;
	struct note_lane *idle; /* lanes whose threads have ended */

	/* The reader's: */
	struct note_chunk *chunk; /* of notes but hits; or NULL */
	size_t at;                /* in it, of the next one */
	uint64_t passed;          /* notes but hits that were read or dropped */
	struct note_lane *lane;   /* where to look for hits; NULL: none yet */
};

/* --- chunks; under the lock ----------------------------------------------- */

static struct note_chunk *
new_chunk(struct note_queue *queue)
{
	struct note_chunk *chunk = STAILQ_FIRST(&queue->spare);

	if (chunk != NULL) {
		STAILQ_REMOVE_HEAD(&queue->spare, link);
		queue->spares--;
	} else {
		chunk = xaligned(NOTE_ALIGNMENT, sizeof(*chunk));
	}
	atomic_init(&chunk->next, NULL);
	atomic_init(&chunk->used, 0);
	atomic_fetch_add(&queue->chunks_used, 1);
	return chunk;
}

static void
give_back(struct note_queue *queue, struct note_chunk *chunk)
{
	atomic_fetch_sub(&queue->chunks_used, 1);
	if (queue->spares < SPARE_CHUNKS) {
		STAILQ_INSERT_HEAD(&queue->spare, chunk, link);
		queue->spares++;
	} else {
		free(chunk);
	}
}

/* NULL: there is none. */
static struct note_chunk *
take_oldest(struct note_queue *queue)
{
	struct note_chunk *chunk = STAILQ_FIRST(&queue->chunks);

	if (chunk != NULL)
		STAILQ_REMOVE_HEAD(&queue->chunks, link);
	if (chunk == queue->last)
		queue->last = NULL;
	return chunk;
}

static bool
is_full(const struct note_queue *queue, size_t part)
{
	return atomic_load_explicit(&queue->chunks_used,
		   memory_order_relaxed) >= queue->chunks_max / part;
}

/* Of the chunk's notes; where there is no chunk, of the next one that comes. */
static uint64_t
first_number(const struct note_queue *queue, const struct note_chunk *chunk)
{
	return chunk != NULL
		   ? ((const struct note *)(void *)chunk->bytes)->after
		   : atomic_load(&queue->added);
}

/* False: there is no room, nor anything to drop for it. */
static bool
add_chunk(struct note_queue *queue)
{
	if (is_full(queue, 1)) {
		struct note_chunk *oldest = take_oldest(queue);
		uint64_t count;

		if (oldest == NULL)
			return false;
		count = first_number(queue, STAILQ_FIRST(&queue->chunks)) -
			first_number(queue, oldest);
		atomic_fetch_add(&queue->dropped, count);
		atomic_fetch_add(&queue->done, count);
		give_back(queue, oldest);
	}
	queue->last = new_chunk(queue);
	STAILQ_INSERT_TAIL(&queue->chunks, queue->last, link);
	return true;
}

/* --- all but hits --------------------------------------------------------- */

static bool
add_to_last(struct note_queue *queue, const struct note *what,
    const struct action_key *key, const struct note_texts *texts)
{
	size_t used;

	if (queue->last == NULL)
		return false;
	used = note_put(
	    queue->last, atomic_load(&queue->last->used), what, key, texts);
	if (used > 0)
		note_publish(queue->last, used);
	return used > 0;
}

void
note_queue_add(struct note_queue *queue, const struct note *what,
    const struct action_key *key, const struct note_texts *texts)
{
	struct note note = *what;
	bool added;

	pthread_mutex_lock(&queue->lock);
	note.after = atomic_load(&queue->added);
	added = add_to_last(queue, &note, key, texts) ||
		(add_chunk(queue) && add_to_last(queue, &note, key, texts));
	if (added)
		atomic_fetch_add(&queue->added, 1);
	pthread_mutex_unlock(&queue->lock);
	if (!added)
		atomic_fetch_add(&queue->dropped, 1);
}

/* Fails as memory does: never, or there is none left. */
static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	log_error("thread_specific_failed", "what=%s errno=%d", what, rc);
	abort();
}

/* --- hits ----------------------------------------------------------------- */

/* The calling thread's of that queue: faster than the key, which is there to
 * hear of a thread's end. */
static _Thread_local struct {
	uint64_t queue;
	struct note_lane *lane;
} mine;

/* For the key: the thread has ended. Another may go on where it stopped. */
static void
leave_lane(void *argument)
{
	struct note_lane *lane = argument;
	struct note_queue *queue = lane->queue;

	pthread_mutex_lock(&queue->lock);
	lane->idle = queue->idle;
	queue->idle = lane;
	pthread_mutex_unlock(&queue->lock);
	/* Should the thread note a hit yet, it takes another. */
	if (mine.queue == queue->id)
		mine.queue = 0;
}

/* Its first chunk is never refused, since there are few threads. Under the
 * lock. */
static struct note_lane *
new_lane(struct note_queue *queue)
{
	struct note_lane *lane = xaligned(NOTE_ALIGNMENT, sizeof(*lane));

	note_lane_init(lane, new_chunk(queue));
	lane->queue = queue;
	lane->link = atomic_load(&queue->lanes);
	atomic_store(&queue->lanes, lane);
	return lane;
}

/* The calling thread has none in mind. */
static struct note_lane *
find_lane(struct note_queue *queue)
{
	struct note_lane *lane = pthread_getspecific(queue->lane_key);

	if (lane != NULL)
		return lane;
	pthread_mutex_lock(&queue->lock);
	lane = queue->idle;
	if (lane != NULL)
		queue->idle = lane->idle;
	else
		lane = new_lane(queue);
	pthread_mutex_unlock(&queue->lock);
	must(pthread_setspecific(queue->lane_key, lane), "specific");
	return lane;
}

static struct note_lane *
my_lane(struct note_queue *queue)
{
	if (mine.queue != queue->id) {
		mine.lane = find_lane(queue);
		mine.queue = queue->id;
	}
	return mine.lane;
}

/* False: hits have all the room that they may have. */
static bool
extend_lane(struct note_queue *queue, struct note_lane *lane)
{
	struct note_chunk *chunk = NULL;

	/* Asked without the lock, too, since that is how a load goes on that
	 * never rests. */
	if (is_full(queue, 2))
		return false;
	pthread_mutex_lock(&queue->lock);
	if (!is_full(queue, 2))
		chunk = new_chunk(queue);
	pthread_mutex_unlock(&queue->lock);
	if (chunk != NULL)
		note_lane_extend(lane, chunk);
	return chunk != NULL;
}

bool
note_queue_add_known(struct note_queue *queue, const struct action_key *key,
    struct str invocation)
{
	return note_lane_add_known(my_lane(queue), key, invocation,
	    atomic_load_explicit(&queue->added, memory_order_relaxed));
}

void
note_queue_add_hit(struct note_queue *queue, const struct note *what,
    const struct action_key *key, const struct note_texts *texts)
{
	struct note_lane *lane = my_lane(queue);
	struct note note = *what;

	note.after = atomic_load_explicit(&queue->added, memory_order_relaxed);
	if (note_lane_add(lane, &note, key, texts))
		return;
	if (!extend_lane(queue, lane) ||
	    !note_lane_add(lane, &note, key, texts))
		note_lane_drop(lane);
}

/* --- reading -------------------------------------------------------------- */

/* The oldest that was not read yet, but a hit; NULL: there is none. Settles how
 * many came before the hits that are read now. */
static const struct note *
peek_other(struct note_queue *queue)
{
	struct note_chunk *read = queue->chunk;

	if (read != NULL && queue->at < atomic_load(&read->used))
		return (const void *)(read->bytes + queue->at);
	if (read == NULL && atomic_load(&queue->added) == queue->passed)
		return NULL;
	pthread_mutex_lock(&queue->lock);
	if (read != NULL)
		give_back(queue, read);
	queue->chunk = take_oldest(queue);
	queue->passed = first_number(queue, queue->chunk);
	pthread_mutex_unlock(&queue->lock);
	queue->at = 0;
	return queue->chunk != NULL ? (const void *)queue->chunk->bytes : NULL;
}

/* What is written there up to now is what may be read until its turn comes
 * again: so none waits for another that never ends. */
static void
go_to_next_lane(struct note_queue *queue)
{
	struct note_chunk *read;

	queue->lane = queue->lane->link;
	if (queue->lane == NULL)
		queue->lane = atomic_load(&queue->lanes);
	read = note_lane_look(queue->lane);
	if (read == NULL)
		return;
	pthread_mutex_lock(&queue->lock);
	give_back(queue, read);
	pthread_mutex_unlock(&queue->lock);
}

/* Of those that came before the next of the others. NULL only when each lane
 * was looked at since the call began: what came before that one is seen then,
 * which was there before. */
static const struct note *
next_hit(struct note_queue *queue)
{
	const struct note *note;
	struct note_lane *first;

	if (queue->lane == NULL)
		queue->lane = atomic_load(&queue->lanes);
	if (queue->lane == NULL)
		return NULL;
	first = queue->lane;
	do {
		note = note_lane_next(queue->lane, queue->passed);
		if (note != NULL)
			return note;
		go_to_next_lane(queue);
	} while (queue->lane != first);
	return note_lane_next(first, queue->passed);
}

const struct note *
note_queue_next(struct note_queue *queue)
{
	const struct note *other = peek_other(queue);
	const struct note *hit = next_hit(queue);

	if (hit != NULL || other == NULL)
		return hit;
	queue->at += other->size;
	queue->passed = other->after + 1;
	return other;
}

void
note_queue_done(struct note_queue *queue, size_t count)
{
	atomic_fetch_add(&queue->done, count);
}

void
note_queue_count(const struct note_queue *queue, struct note_counts *counts)
{
	const struct note_lane *lane;

	/* First: what is done was noted before. */
	counts->done = atomic_load(&queue->done);
	counts->noted = atomic_load(&queue->added);
	counts->dropped = atomic_load(&queue->dropped);
	counts->dropped_hits = 0;
	for (lane = atomic_load(&queue->lanes); lane != NULL;
	     lane = lane->link) {
		counts->noted += atomic_load(&lane->noted);
		counts->dropped_hits += atomic_load(&lane->dropped);
	}
}

/* --- life ----------------------------------------------------------------- */

struct note_queue *
note_queue_new(size_t bytes)
{
	static atomic_uint_least64_t queues;
	struct note_queue *queue = xcalloc(1, sizeof(*queue));

	queue->id = atomic_fetch_add(&queues, 1) + 1;
	must(pthread_key_create(&queue->lane_key, leave_lane), "key");
	queue->chunks_max = bytes / NOTE_CHUNK_SIZE;
	pthread_mutex_init(&queue->lock, NULL);
	STAILQ_INIT(&queue->chunks);
	STAILQ_INIT(&queue->spare);
	return queue;
}

static void
free_lanes(struct note_lane *lane)
{
	while (lane != NULL) {
		struct note_lane *link = lane->link;
		struct note_chunk *chunk = lane->head;

		while (chunk != NULL) {
			struct note_chunk *next = atomic_load(&chunk->next);

			free(chunk);
			chunk = next;
		}
		free(lane);
		lane = link;
	}
}

void
note_queue_free(struct note_queue *queue)
{
	struct note_chunk *chunk;

	/* Of threads that end later nothing is left to do. */
	pthread_key_delete(queue->lane_key);
	STAILQ_CONCAT(&queue->spare, &queue->chunks);
	while ((chunk = STAILQ_FIRST(&queue->spare)) != NULL) {
		STAILQ_REMOVE_HEAD(&queue->spare, link);
		free(chunk);
	}
	free(queue->chunk);
	free_lanes(atomic_load(&queue->lanes));
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}
