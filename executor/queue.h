/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting operations: one queue for each set of required properties, in it a
 * share for each tool invocation, in that the operations by turn.
 *
 * Who goes next, among the queues that a worker matches:
 *  1. what came back from a failed attempt, oldest first (attempts are
 *     bounded, so this cannot go on for ever);
 *  2. of the invocations that wait, the one with the fewest operations at
 *     workers; between equals the one that was served the longest ago, where a
 *     new one counts as served on arrival. So a big build cannot keep a small
 *     one out, and newcomers cannot keep an old one out;
 *  3. within an invocation by priority and age together: one step of priority
 *     is worth QUEUE_PRIORITY_STEP_MS of waiting. So a less urgent operation is
 *     passed by more urgent ones that come later, but only by those that come
 *     within (difference of priority) steps: nothing waits for ever.
 *
 * Up to QUEUE_INVOCATIONS_MAX invocations are told apart at a time; the ones
 * above it share one place. No lock of its own: the scheduler's guards it.
 */
#ifndef TOOLROOT_EXECUTOR_QUEUE_H
#define TOOLROOT_EXECUTOR_QUEUE_H

#include <sys/queue.h>

#include "base/map.h"
#include "executor/operation.h"

#define QUEUE_PRIORITY_STEP_MS 15000
#define QUEUE_INVOCATIONS_MAX 4096

struct invocation {
	struct str id;   /* owned */
	size_t users;    /* operations that are not done */
	size_t running;  /* of them at workers */
	uint64_t served; /* stamp of the last time; less is longer ago */
};

struct share {
	struct invocation *invocation;
	struct heap turns;
	TAILQ_ENTRY(share) link;
};

struct queue {
	/* Of some operation in it when it was made; what is not matched may
	 * differ among operations. */
	struct platform platform;
	TAILQ_HEAD(, operation) again;
	TAILQ_HEAD(, share) shares;
	size_t count;
	struct heap_node deadline; /* when no worker matches: the end */
	TAILQ_ENTRY(queue) link;
};

struct queues {
	struct map by_key;
	struct map invocations;
	TAILQ_HEAD(queue_list, queue) list;
	size_t count; /* operations */
	uint64_t stamp;
};

void queues_init(struct queues *queues);
/* All operations must have left. */
void queues_clear(struct queues *queues);

/* Every operation enters an invocation before it is queued, and leaves it when
 * it is done. */
void queues_enter(struct queues *queues, struct operation *operation);
void queues_leave(struct queues *queues, struct operation *operation);
/* It has gone to a worker, or ended there. */
void queues_started(struct queues *queues, struct operation *operation);
void queues_stopped(struct operation *operation);

/* NULL when nothing with these requirements waits. */
struct queue *queues_find(
    const struct queues *queues, const struct platform *platform);
/* first: before all others. Returns its queue. */
struct queue *queues_add(
    struct queues *queues, struct operation *operation, bool first);
/* The priority has changed. */
void queues_move(struct operation *operation);
/* The queue goes with its last operation, after empty has run on it. */
void queues_remove(struct queues *queues, struct operation *operation,
    void (*empty)(struct queue *queue, void *cookie), void *cookie);
/* 1 for the next in its share, and so on; scans the share. */
size_t queues_place(const struct operation *operation);

/* The next for a worker that offers this. avoid tells of an operation that
 * goes first whether another worker is to take it. NULL when there is none. */
struct operation *queues_next(const struct queues *queues,
    const struct platform *offered,
    bool (*avoid)(const struct operation *operation, void *cookie),
    void *cookie);

#endif
