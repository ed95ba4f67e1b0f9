/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap of timers, earliest first (struct rpc_timer is in rpc/server.h).
 * Owns only its array; its owner's lock guards it and every timer's position
 * and deadline.
 */
#ifndef TOOLROOT_RPC_TIMER_H
#define TOOLROOT_RPC_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_timer;

struct rpc_timer_heap {
	struct rpc_timer **timers; /* count used of capacity */
	size_t count;
	size_t capacity;
};

void rpc_timer_heap_init(struct rpc_timer_heap *heap);
/* Frees the array; timers in it are forgotten. */
void rpc_timer_heap_clear(struct rpc_timer_heap *heap);
/* CLOCK_NEVER when empty. */
int64_t rpc_timer_heap_next(const struct rpc_timer_heap *heap);
/* Puts it in, or moves it. */
void rpc_timer_heap_set(
    struct rpc_timer_heap *heap, struct rpc_timer *timer, int64_t deadline_ms);
/* False when it was not in. */
bool rpc_timer_heap_remove(
    struct rpc_timer_heap *heap, struct rpc_timer *timer);
/* Takes out the earliest whose deadline is not after now; NULL when none. */
struct rpc_timer *rpc_timer_heap_pop(
    struct rpc_timer_heap *heap, int64_t now_ms);

#endif
