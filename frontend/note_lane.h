/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hits that one thread notes, on their way to the one thread that reads
 * them: a chain of chunks, written at its end and read from its beginning at
 * the same time, without a lock or any instruction that waits for what was
 * written before. So a note costs a call little more than its copy, even where
 * nothing of it is in the caches.
 *
 * Thread rule: one thread writes, and one reads. Whoever gives a lane to
 * another writer, or a chunk from the one side to the other, does so under a
 * lock of his own. Counts may be read by any thread.
 */
#ifndef TOOLROOT_FRONTEND_NOTE_LANE_H
#define TOOLROOT_FRONTEND_NOTE_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/store.h"
#include "frontend/note.h"

struct note_queue;

/* Builds that are looked for in a chunk. */
#define NOTE_LANE_BUILDS 8

struct note_lane {
	/* The writer's: all on one line of the cache. */
	_Alignas(NOTE_ALIGNMENT) struct note_chunk *tail;
	uint64_t start;              /* bytes in all chunks before it */
	atomic_uint_least64_t end;   /* bytes in all; publishes them */
	atomic_uint_least64_t noted; /* counted before they can be read */
	/* Of the tail, by a hash of the invocation. */
	struct note_build builds[NOTE_LANE_BUILDS];
	/* The reader's: */
	_Alignas(NOTE_ALIGNMENT) struct note_chunk *head;
	uint64_t head_start; /* as `start` */
	size_t at;           /* in the head, of the next note */
	size_t limit;        /* of what may be read */
	/* Whoever made it: */
	struct note_queue *queue;
	struct note_lane *link; /* constant once others see the lane */
	struct note_lane *idle;
	/* The writer's, when there is no room. */
	_Alignas(NOTE_ALIGNMENT) atomic_uint_least64_t dropped;
};

/* Takes an empty chunk, the first. */
void note_lane_init(struct note_lane *lane, struct note_chunk *chunk);

/* The writer. what->after: notes but hits that came before; never less than the
 * last time. False: the chunk is full, and the lane needs another. */
bool note_lane_add(struct note_lane *lane, const struct note *what,
    const struct action_key *key, const struct note_texts *texts);
/* The writer. Takes an empty chunk; the rest of the last stays empty. */
void note_lane_extend(struct note_lane *lane, struct note_chunk *chunk);
/* The writer. One more that found no room. */
void note_lane_drop(struct note_lane *lane);

/* The reader. What was written up to now may be read, to the end of the chunk
 * at least. Returns a chunk that has been read whole, for the caller to take,
 * or NULL. */
struct note_chunk *note_lane_look(struct note_lane *lane);
/* The reader. The next one, when no more notes but hits than `after` came
 * before it, else NULL. Stays until note_lane_look. */
const struct note *note_lane_next(struct note_lane *lane, uint64_t after);

/* --- the hot path ----------------------------------------------------------
 * The writer. Inline: no code of a thread's last hit is in the caches any more,
 * so what a hit costs are the lines that all of it has. */

/* One writes: no need to lock the line. */
static inline void
note_lane_count(atomic_uint_least64_t *counter)
{
	atomic_store_explicit(counter,
	    atomic_load_explicit(counter, memory_order_relaxed) + 1,
	    memory_order_relaxed);
}

/* Bytes of the tail. */
static inline size_t
note_lane_used(const struct note_lane *lane)
{
	return atomic_load_explicit(&lane->end, memory_order_relaxed) -
	       lane->start;
}

static inline void
note_lane_publish(struct note_lane *lane, size_t used)
{
	note_lane_count(&lane->noted);
	atomic_store_explicit(
	    &lane->end, lane->start + used, memory_order_release);
	/* The next one's line comes meanwhile: a write that waits for memory
	 * holds up all that come after it. */
	__builtin_prefetch(lane->tail->bytes + used, 1);
}

/* It is the end of invocations that differs, be they random or numbers. */
static inline struct note_build *
note_lane_build(struct note_lane *lane, struct str invocation)
{
	unsigned last = 0;

	if (invocation.len > 0)
		last = (unsigned char)invocation.data[invocation.len - 1];
	return &lane->builds[last % NOTE_LANE_BUILDS];
}

/* The same as note_lane_add of an action that is remembered. False also when
 * that has to tell more of it. */
static inline bool
note_lane_add_known(struct note_lane *lane, const struct action_key *key,
    struct str invocation, uint64_t after)
{
	const struct note_build *build = note_lane_build(lane, invocation);
	size_t used;

	if (key->action.function != DIGEST_SHA256 ||
	    !note_has_build(lane->tail, build, key->instance, invocation))
		return false;
	used = note_put_known(
	    lane->tail, note_lane_used(lane), build, &key->action, after);
	if (used > 0)
		note_lane_publish(lane, used);
	return used > 0;
}

#endif
