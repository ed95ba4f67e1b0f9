/* SPDX-License-Identifier: Apache-2.0 */
/* Queues, shares and the choice of who goes next. */
#include "executor/queue.h"

#include <stdlib.h>

#include "base/container.h"
#include "base/memory.h"

void
queues_init(struct queues *queues)
{
	*queues = (struct queues){0};
	map_init(&queues->by_key);
	map_init(&queues->invocations);
	TAILQ_INIT(&queues->list);
}

void
queues_clear(struct queues *queues)
{
	map_clear(&queues->by_key);
	map_clear(&queues->invocations);
}

/* --- invocations -----------------------------------------------------------
 */

static struct invocation *
queues_invocation(struct queues *queues, struct str id)
{
	struct invocation *invocation;

	invocation = map_get(&queues->invocations, id);
	if (invocation != NULL)
		return invocation;
	if (queues->invocations.count >= QUEUE_INVOCATIONS_MAX && id.len > 0)
		return queues_invocation(queues, STR(""));
	invocation = xcalloc(1, sizeof(*invocation));
	invocation->id = (struct str){xstrndup(id.data, id.len), id.len};
	invocation->served = ++queues->stamp;
	map_put(&queues->invocations, invocation->id, invocation);
	return invocation;
}

void
queues_enter(struct queues *queues, struct operation *operation)
{
	operation->invocation =
	    queues_invocation(queues, operation->invocation_id);
	operation->invocation->users++;
}

void
queues_leave(struct queues *queues, struct operation *operation)
{
	struct invocation *invocation = operation->invocation;

	operation->invocation = NULL;
	if (--invocation->users > 0)
		return;
	map_remove(&queues->invocations, invocation->id);
	free((char *)(uintptr_t)invocation->id.data);
	free(invocation);
}

void
queues_started(struct queues *queues, struct operation *operation)
{
	operation->invocation->running++;
	operation->invocation->served = ++queues->stamp;
}

void
queues_stopped(struct operation *operation)
{
	operation->invocation->running--;
}

/* --- adding and removing ---------------------------------------------------
 */

struct queue *
queues_find(const struct queues *queues, const struct platform *platform)
{
	return map_get(&queues->by_key, platform->key);
}

static struct queue *
queues_get(struct queues *queues, const struct platform *platform)
{
	struct queue *queue = queues_find(queues, platform);
	struct error err;

	if (queue != NULL)
		return queue;
	queue = xcalloc(1, sizeof(*queue));
	/* Cannot fail: it is a copy of one that was checked. */
	if (platform_init(&queue->platform, platform->properties,
		platform->count, &err) < 0)
		abort();
	TAILQ_INIT(&queue->again);
	TAILQ_INIT(&queue->shares);
	queue->deadline.position = HEAP_OUTSIDE;
	TAILQ_INSERT_TAIL(&queues->list, queue, link);
	map_put(&queues->by_key, queue->platform.key, queue);
	return queue;
}

static struct share *
queue_share(struct queue *queue, struct invocation *invocation)
{
	struct share *share;

	TAILQ_FOREACH (share, &queue->shares, link) {
		if (share->invocation == invocation)
			return share;
	}
	share = xcalloc(1, sizeof(*share));
	share->invocation = invocation;
	heap_init(&share->turns);
	TAILQ_INSERT_TAIL(&queue->shares, share, link);
	return share;
}

static void
queue_set_turn(struct operation *operation)
{
	operation->turn.key =
	    operation->queued_ms +
	    (int64_t)operation->priority * QUEUE_PRIORITY_STEP_MS;
	operation->turn.tie = operation->number;
	heap_put(&operation->share->turns, &operation->turn);
}

struct queue *
queues_add(struct queues *queues, struct operation *operation, bool first)
{
	struct queue *queue = queues_get(queues, &operation->platform);

	operation->queue = queue;
	queue->count++;
	queues->count++;
	if (first) {
		TAILQ_INSERT_TAIL(&queue->again, operation, again);
		return queue;
	}
	operation->share = queue_share(queue, operation->invocation);
	queue_set_turn(operation);
	return queue;
}

void
queues_move(struct operation *operation)
{
	if (operation->share != NULL)
		queue_set_turn(operation);
}

void
queues_remove(struct queues *queues, struct operation *operation,
    void (*empty)(struct queue *queue, void *cookie), void *cookie)
{
	struct queue *queue = operation->queue;
	struct share *share = operation->share;

	if (share != NULL) {
		heap_remove(&share->turns, &operation->turn);
		if (share->turns.count == 0) {
			TAILQ_REMOVE(&queue->shares, share, link);
			heap_clear(&share->turns);
			free(share);
		}
	} else {
		TAILQ_REMOVE(&queue->again, operation, again);
	}
	operation->queue = NULL;
	operation->share = NULL;
	queues->count--;
	if (--queue->count > 0)
		return;
	empty(queue, cookie);
	map_remove(&queues->by_key, queue->platform.key);
	TAILQ_REMOVE(&queues->list, queue, link);
	platform_clear(&queue->platform);
	free(queue);
}

size_t
queues_place(const struct operation *operation)
{
	size_t place = 1;

	if (operation->share == NULL)
		return 1;
	for (size_t i = 0; i < operation->share->turns.count; i++)
		place += heap_node_before(
		    operation->share->turns.nodes[i], &operation->turn);
	return place;
}

/* --- choosing --------------------------------------------------------------
 */

static struct operation *
queue_first_again(const struct queue *queue,
    bool (*avoid)(const struct operation *operation, void *cookie),
    void *cookie)
{
	struct operation *operation;

	TAILQ_FOREACH (operation, &queue->again, again) {
		if (!avoid(operation, cookie))
			return operation;
	}
	return NULL;
}

static bool
share_goes_before(const struct share *a, const struct share *b)
{
	const struct invocation *left = a->invocation;
	const struct invocation *right = b->invocation;

	if (left->running != right->running)
		return left->running < right->running;
	if (left->served != right->served)
		return left->served < right->served;
	/* One invocation in two queues. */
	return heap_node_before(heap_top(&a->turns), heap_top(&b->turns));
}

static struct share *
queue_best_share(const struct queue *queue, struct share *best)
{
	struct share *share;

	TAILQ_FOREACH (share, &queue->shares, link) {
		if (best == NULL || share_goes_before(share, best))
			best = share;
	}
	return best;
}

struct operation *
queues_next(const struct queues *queues, const struct platform *offered,
    bool (*avoid)(const struct operation *operation, void *cookie),
    void *cookie)
{
	struct operation *first = NULL;
	struct share *best = NULL;
	struct queue *queue;
	struct heap_node *turn;

	TAILQ_FOREACH (queue, &queues->list, link) {
		struct operation *operation;

		if (!platform_matches(&queue->platform, offered))
			continue;
		operation = queue_first_again(queue, avoid, cookie);
		if (operation != NULL &&
		    (first == NULL || operation->number < first->number))
			first = operation;
		best = queue_best_share(queue, best);
	}
	if (first != NULL || best == NULL)
		return first;
	turn = heap_top(&best->turns);
	return CONTAINER_OF(turn, struct operation, turn);
}
