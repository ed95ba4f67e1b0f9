/* SPDX-License-Identifier: Apache-2.0 */
/* Order of memory: a chunk's `used` publishes its notes, and `next` that its
 * `used` is final. */
#include "frontend/note_lane.h"

#include "frontend/note.h"

void
note_lane_init(struct note_lane *lane, struct note_chunk *chunk)
{
	*lane = (struct note_lane){.tail = chunk, .head = chunk};
}

/* Of the writer's alone: no need to lock the line. */
static void
count(atomic_uint_least64_t *counter)
{
	atomic_store_explicit(counter,
	    atomic_load_explicit(counter, memory_order_relaxed) + 1,
	    memory_order_relaxed);
}

bool
note_lane_add(struct note_lane *lane, const struct action_key *key,
    const struct note_texts *texts, uint64_t after)
{
	const struct note what = {.after = after, .hit = true, .result = true};
	size_t used = note_put(lane->tail, lane->used, &what, key, texts);

	if (used == 0)
		return false;
	count(&lane->noted);
	lane->used = used;
	note_publish(lane->tail, used);
	return true;
}

void
note_lane_extend(struct note_lane *lane, struct note_chunk *chunk)
{
	struct note_chunk *full = lane->tail;

	lane->tail = chunk;
	lane->used = 0;
	/* The last that is done to the full one, which is the reader's now. */
	atomic_store_explicit(&full->next, chunk, memory_order_release);
}

void
note_lane_drop(struct note_lane *lane)
{
	count(&lane->dropped);
}

struct note_chunk *
note_lane_look(struct note_lane *lane)
{
	struct note_chunk *chunk = lane->head, *next;

	/* In this order: what was used when there was a next one is all. */
	next = atomic_load_explicit(&chunk->next, memory_order_acquire);
	lane->limit = atomic_load_explicit(&chunk->used, memory_order_acquire);
	if (next == NULL || lane->at < lane->limit)
		return NULL;
	lane->head = next;
	lane->at = 0;
	lane->limit = atomic_load_explicit(&next->used, memory_order_acquire);
	return chunk;
}

const struct note *
note_lane_next(struct note_lane *lane, uint64_t after)
{
	const struct note *note = (const void *)(lane->head->bytes + lane->at);

	if (lane->at >= lane->limit || note->after > after)
		return NULL;
	lane->at += note->size;
	return note;
}
