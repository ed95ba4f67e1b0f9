/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of timers; each knows its place, so it can be moved. No lock
 * of its own. */
#include "rpc/timer.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "rpc/server.h"

#define TIMER_UNSET SIZE_MAX

void
rpc_timer_init(struct rpc_timer *timer, void (*fire)(struct rpc_timer *timer))
{
	*timer = (struct rpc_timer){
	    .deadline_ms = CLOCK_NEVER, .fire = fire, .position = TIMER_UNSET};
}

void
rpc_timer_heap_init(struct rpc_timer_heap *heap)
{
	*heap = (struct rpc_timer_heap){NULL, 0, 0};
}

void
rpc_timer_heap_clear(struct rpc_timer_heap *heap)
{
	for (size_t i = 0; i < heap->count; i++)
		heap->timers[i]->position = TIMER_UNSET;
	free(heap->timers);
	rpc_timer_heap_init(heap);
}

int64_t
rpc_timer_heap_next(const struct rpc_timer_heap *heap)
{
	return heap->count > 0 ? heap->timers[0]->deadline_ms : CLOCK_NEVER;
}

static void
heap_place(struct rpc_timer_heap *heap, size_t at, struct rpc_timer *timer)
{
	heap->timers[at] = timer;
	timer->position = at;
}

/* Moves the timer from the free place `at` up to where it belongs. */
static void
heap_up(struct rpc_timer_heap *heap, size_t at, struct rpc_timer *timer)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (heap->timers[parent]->deadline_ms <= timer->deadline_ms)
			break;
		heap_place(heap, at, heap->timers[parent]);
		at = parent;
	}
	heap_place(heap, at, timer);
}

static void
heap_down(struct rpc_timer_heap *heap, size_t at, struct rpc_timer *timer)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->timers[child + 1]->deadline_ms <
			heap->timers[child]->deadline_ms)
			child++;
		if (heap->timers[child]->deadline_ms >= timer->deadline_ms)
			break;
		heap_place(heap, at, heap->timers[child]);
		at = child;
	}
	heap_place(heap, at, timer);
}

bool
rpc_timer_heap_remove(struct rpc_timer_heap *heap, struct rpc_timer *timer)
{
	size_t at = timer->position;
	struct rpc_timer *last;

	if (at == TIMER_UNSET)
		return false;
	timer->position = TIMER_UNSET;
	last = heap->timers[--heap->count];
	if (last == timer)
		return true;
	if (last->deadline_ms < timer->deadline_ms)
		heap_up(heap, at, last);
	else
		heap_down(heap, at, last);
	return true;
}

void
rpc_timer_heap_set(
    struct rpc_timer_heap *heap, struct rpc_timer *timer, int64_t deadline_ms)
{
	rpc_timer_heap_remove(heap, timer);
	if (heap->count == heap->capacity) {
		heap->capacity = heap->capacity > 0 ? heap->capacity * 2 : 16;
		heap->timers = xreallocarray(
		    heap->timers, heap->capacity, sizeof(struct rpc_timer *));
	}
	timer->deadline_ms = deadline_ms;
	heap_up(heap, heap->count++, timer);
}

struct rpc_timer *
rpc_timer_heap_pop(struct rpc_timer_heap *heap, int64_t now_ms)
{
	struct rpc_timer *first;

	if (rpc_timer_heap_next(heap) > now_ms)
		return NULL;
	first = heap->timers[0];
	rpc_timer_heap_remove(heap, first);
	return first;
}
