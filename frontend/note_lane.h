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

struct action_key;
struct note;
struct note_chunk;
struct note_queue;
struct note_texts;

struct note_lane {
	/* Whoever made it: */
	struct note_queue *queue;
	struct note_lane *link; /* constant once others see the lane */
	struct note_lane *idle;
	/* The writer's: */
	struct note_chunk *tail;
	size_t used;                 /* of it */
	atomic_uint_least64_t noted; /* counted before they can be read */
	atomic_uint_least64_t dropped;
	char apart[64]; /* from the reader's, on any line of the cache */
	/* The reader's: */
	struct note_chunk *head;
	size_t at;    /* in the head, of the next note */
	size_t limit; /* of what may be read */
};

/* Takes an empty chunk, the first. */
void note_lane_init(struct note_lane *lane, struct note_chunk *chunk);

/* The writer. after: notes but hits that came before; never less than the last
 * time. False: the chunk is full, and the lane needs another. */
bool note_lane_add(struct note_lane *lane, const struct action_key *key,
    const struct note_texts *texts, uint64_t after);
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

#endif
