/* SPDX-License-Identifier: Apache-2.0 */
/* Textbook binary heap with positions kept in the nodes. */
#include "executor/heap.h"

#include <stdlib.h>

#include "base/memory.h"

void
heap_init(struct heap *heap)
{
	*heap = (struct heap){0};
}

void
heap_clear(struct heap *heap)
{
	free(heap->nodes);
	heap_init(heap);
}

bool
heap_node_before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static void
heap_place(struct heap *heap, struct heap_node *node, size_t position)
{
	heap->nodes[position] = node;
	node->position = position;
}

static void
heap_sift_up(struct heap *heap, struct heap_node *node)
{
	size_t at = node->position;

	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (!heap_node_before(node, heap->nodes[parent]))
			break;
		heap_place(heap, heap->nodes[parent], at);
		at = parent;
	}
	heap_place(heap, node, at);
}

static void
heap_sift_down(struct heap *heap, struct heap_node *node)
{
	size_t at = node->position;

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap_node_before(
			heap->nodes[child + 1], heap->nodes[child]))
			child++;
		if (!heap_node_before(heap->nodes[child], node))
			break;
		heap_place(heap, heap->nodes[child], at);
		at = child;
	}
	heap_place(heap, node, at);
}

void
heap_put(struct heap *heap, struct heap_node *node)
{
	if (node->position == HEAP_OUTSIDE) {
		if (heap->count == heap->capacity) {
			heap->capacity =
			    heap->capacity > 0 ? heap->capacity * 2 : 16;
			heap->nodes = xreallocarray(heap->nodes, heap->capacity,
			    sizeof(struct heap_node *));
		}
		heap_place(heap, node, heap->count++);
	}
	heap_sift_up(heap, node);
	heap_sift_down(heap, node);
}

void
heap_remove(struct heap *heap, struct heap_node *node)
{
	size_t hole = node->position;
	struct heap_node *last;

	if (hole == HEAP_OUTSIDE)
		return;
	node->position = HEAP_OUTSIDE;
	last = heap->nodes[--heap->count];
	if (last == node)
		return;
	heap_place(heap, last, hole);
	heap_put(heap, last);
}

struct heap_node *
heap_top(const struct heap *heap)
{
	return heap->count > 0 ? heap->nodes[0] : NULL;
}
