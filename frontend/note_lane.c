/* SPDX-License-Identifier: Apache-2.0 */
/* Order of memory: the lane's `end` publishes notes of its last chunk, and a
 * chunk's `next` that its own `used` is final. */
#include "frontend/note_lane.h"

_Static_assert(offsetof(struct note_lane, head) == NOTE_ALIGNMENT,
    "what a hit writes is one line of the cache");

void
note_lane_init(struct note_lane *lane, struct note_chunk *chunk)
{
	*lane = (struct note_lane){.tail = chunk, .head = chunk};
}

bool
note_lane_add(struct note_lane *lane, const struct note *what,
    const struct action_key *key, const struct note_texts *texts)
{
	size_t at = note_lane_used(lane);
	size_t used = note_put(lane->tail, at, what, key, texts);

	if (used == 0)
		return false;
	*note_lane_build(lane, texts->invocation) = note_build(lane->tail, at);
	note_lane_publish(lane, used);
	return true;
}

void
note_lane_extend(struct note_lane *lane, struct note_chunk *chunk)
{
	struct note_chunk *full = lane->tail;
	size_t used = note_lane_used(lane);

	lane->tail = chunk;
	lane->start += used;
	memset(lane->builds, 0, sizeof(lane->builds));
	note_publish(full, used);
	/* The last that is done to the full one, which is the reader's now. */
	atomic_store_explicit(&full->next, chunk, memory_order_release);
}

void
note_lane_drop(struct note_lane *lane)
{
	note_lane_count(&lane->dropped);
}

/* Settles what may be read of the head; returns the one behind it. */
static struct note_chunk *
look_at_head(struct note_lane *lane)
{
	/* In this order: when none is behind it, all that is there is in it. */
	uint64_t end = atomic_load_explicit(&lane->end, memory_order_acquire);
	struct note_chunk *next =
	    atomic_load_explicit(&lane->head->next, memory_order_acquire);

	lane->limit = next == NULL ? end - lane->head_start
				   : atomic_load_explicit(&lane->head->used,
					 memory_order_relaxed);
	return next;
}

struct note_chunk *
note_lane_look(struct note_lane *lane)
{
	struct note_chunk *chunk = lane->head, *next = look_at_head(lane);

	if (next == NULL || lane->at < lane->limit)
		return NULL;
	lane->head = next;
	lane->head_start += lane->limit;
	lane->at = 0;
	(void)look_at_head(lane);
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
