/* SPDX-License-Identifier: Apache-2.0 */
/* A growing array of digests. The owner's thread. */
#include "cas/digest_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void
digest_list_init(struct digest_list *list, size_t limit)
{
	memset(list, 0, sizeof(*list));
	list->limit = limit;
}

void
digest_list_clear(struct digest_list *list)
{
	free(list->items);
	digest_list_init(list, list->limit);
}

int
digest_list_add(struct digest_list *list, const struct digest *digest)
{
	if (list->count >= list->limit)
		return -1;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;

		list->items =
		    xreallocarray(list->items, capacity, sizeof(*list->items));
		list->capacity = capacity;
	}
	list->items[list->count++] = *digest;
	return 0;
}

static int
digest_list_order(const void *a, const void *b)
{
	return digest_compare(a, b);
}

void
digest_list_unique(struct digest_list *list)
{
	size_t kept = 0;

	if (list->count == 0)
		return;
	qsort(
	    list->items, list->count, sizeof(*list->items), digest_list_order);
	for (size_t i = 1; i < list->count; i++) {
		if (!digest_equal(&list->items[kept], &list->items[i]))
			list->items[++kept] = list->items[i];
	}
	list->count = kept + 1;
}
