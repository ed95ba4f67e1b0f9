/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of actions that is asked on the hot path: a table of marks, of fixed
 * size, without a lock. It forgets: an action may push another out. And it may
 * take an action for another, by chance once in 2^31 questions, or where a
 * client makes it so, of an action of the same instance: nothing may hang on
 * that but a note.
 *
 * Inline, as frontend/note_lane.h says. Any thread. A mark that is put orders
 * nothing else.
 */
#ifndef TOOLROOT_FRONTEND_ACTION_MARKS_H
#define TOOLROOT_FRONTEND_ACTION_MARKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cas/store.h"

struct action_marks {
	_Atomic uint32_t *tags; /* 0: none */
	uint64_t mask;          /* of their numbers */
};

/* Odd, and known to nobody: so no client can say which action of another
 * instance is taken for one of its own. */
struct action_marks_secret {
	uint64_t instance;
	uint64_t digest;
};

void action_marks_secret_init(struct action_marks_secret *secret);

/* slots: a power of two; four bytes each, so that few pages are in use. */
void action_marks_init(struct action_marks *marks, size_t slots);
void action_marks_clear(struct action_marks *marks);

/* What an action is called in a set; its tag is never 0. The digest is random
 * enough. */
static inline uint64_t
action_mark(
    const struct action_marks_secret *secret, const struct action_key *key)
{
	/* FNV-1a. */
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint64_t digest;

	for (size_t i = 0; i < key->instance.len; i++)
		hash = (hash ^ (uint8_t)key->instance.data[i]) *
		       UINT64_C(0x100000001b3);
	memcpy(&digest, key->action.hash, sizeof(digest));
	return (hash * secret->instance + digest * secret->digest) | UINT64_C(1)
									 << 63;
}

static inline _Atomic uint32_t *
action_marks_slot(const struct action_marks *marks, uint64_t mark)
{
	return &marks->tags[mark & marks->mask];
}

static inline uint32_t
action_marks_tag(uint64_t mark)
{
	return (uint32_t)(mark >> 32);
}

/* It will be asked for: memory is near by then. */
static inline void
action_marks_expect(const struct action_marks *marks, uint64_t mark)
{
	__builtin_prefetch(action_marks_slot(marks, mark));
}

static inline bool
action_marks_has(const struct action_marks *marks, uint64_t mark)
{
	return atomic_load_explicit(action_marks_slot(marks, mark),
		   memory_order_relaxed) == action_marks_tag(mark);
}

/* What is there is not written, since others have that line, too. */
static inline void
action_marks_put(struct action_marks *marks, uint64_t mark)
{
	if (!action_marks_has(marks, mark))
		atomic_store_explicit(action_marks_slot(marks, mark),
		    action_marks_tag(mark), memory_order_relaxed);
}

/* Whether it was there; it is not then. Of several who ask one has it. */
static inline bool
action_marks_take(struct action_marks *marks, uint64_t mark)
{
	uint32_t tag = action_marks_tag(mark);

	return atomic_compare_exchange_strong(
	    action_marks_slot(marks, mark), &tag, 0);
}

#endif
