/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notes of what happened in the action cache, from any thread, in the order in
 * which it happened, for the one thread that looks at them. Hits are noted
 * without a lock, each thread its own (frontend/note_lane.h); everything else,
 * which is rare, under one.
 *
 * Order: what one thread noted before another began to note comes first, unless
 * both are hits. So a result is never seen before its miss, nor a hit before
 * its result.
 *
 * Memory is bounded: when there is too much, the oldest notes are dropped for
 * new ones, but hits, which tell less, may have half of it and are not taken in
 * above that.
 *
 * Thread rule: any thread adds; one reads. A thread that has added may end at
 * any time but while the queue is freed: what it noted stays.
 */
#ifndef TOOLROOT_FRONTEND_NOTE_QUEUE_H
#define TOOLROOT_FRONTEND_NOTE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct action_key;
struct note;
struct note_queue;
struct note_texts;

/* bytes: of all notes together. Beyond it each thread has one chunk
 * (NOTE_CHUNK_SIZE) when hits have all theirs. Aborts when the process has no
 * thread-specific key left. */
struct note_queue *note_queue_new(size_t bytes);
/* When nobody adds or reads any more. */
void note_queue_free(struct note_queue *queue);

/* what->hit: which. Never blocks; key and texts are copied. What finds no room
 * is counted. */
void note_queue_add_hit(struct note_queue *queue, const struct note *what,
    const struct action_key *key, const struct note_texts *texts);
/* The same of an action that is remembered. False: it has to be told by the
 * other. */
__attribute__((hot)) bool note_queue_add_known(struct note_queue *queue,
    const struct action_key *key, struct str invocation);
/* The same of all others. */
void note_queue_add(struct note_queue *queue, const struct note *what,
    const struct action_key *key, const struct note_texts *texts);

/* The reader. The next one, NULL: none waits. Stays until the next call. */
const struct note *note_queue_next(struct note_queue *queue);
/* The reader. So many more of those that it got are done. */
void note_queue_done(struct note_queue *queue, size_t count);

struct note_counts {
	uint64_t noted;
	uint64_t done;    /* or dropped, of those that were noted */
	uint64_t dropped; /* but hits; some of them were noted */
	uint64_t dropped_hits;
};
/* Any thread. done is never above noted; what the caller knows to be noted is
 * counted. */
void note_queue_count(
    const struct note_queue *queue, struct note_counts *counts);

#endif
