/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary heap of nodes that are embedded in what they order: the least
 * (key, tie) is on top, and any node can be moved or removed. Used for
 * deadlines and for the order within a queue. It owns only its array; the
 * owner's lock guards it.
 */
#ifndef TOOLROOT_EXECUTOR_HEAP_H
#define TOOLROOT_EXECUTOR_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	int64_t key;
	uint64_t tie;    /* decides between equal keys */
	size_t position; /* in the heap; HEAP_OUTSIDE when in none */
};

#define HEAP_OUTSIDE SIZE_MAX

struct heap {
	struct heap_node **nodes;
	size_t count;
	size_t capacity;
};

void heap_init(struct heap *heap);
/* Frees the array; nodes must not be used with this heap any more. */
void heap_clear(struct heap *heap);

/* Puts the node where its key and tie say: adds it, or moves it when it is in
 * the heap already. */
void heap_put(struct heap *heap, struct heap_node *node);
/* Nothing happens when it is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* The least; NULL when empty. */
struct heap_node *heap_top(const struct heap *heap);
bool heap_node_before(const struct heap_node *a, const struct heap_node *b);

#endif
