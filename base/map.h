/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table from byte strings to pointers. Keys are borrowed: they must
 * live, unchanged, as long as the entry (put the key inside the value). The
 * hash is keyed with a random number (SipHash), so peers that choose the keys
 * cannot make it slow. A table that has emptied takes less memory again. No
 * lock: the owner's thread or lock guards it.
 */
#ifndef TOOLROOT_BASE_MAP_H
#define TOOLROOT_BASE_MAP_H

#include "base/str.h"

struct map_entry {
	struct str key;
	void *value; /* never NULL in a used entry */
	uint64_t hash;
};

struct map {
	struct map_entry *entries; /* capacity many, a power of two, or NULL */
	size_t capacity;
	size_t count;
	uint64_t seed[2];
};

void map_init(struct map *map);
/* Frees the table, not the values. */
void map_clear(struct map *map);

/* Makes room for so many more, at once instead of in steps. */
void map_reserve(struct map *map, size_t count);

/* NULL when absent. */
void *map_get(const struct map *map, struct str key);
/* Returns the value that stood there before (the new key is kept too), else
 * NULL. value is not NULL. */
void *map_put(struct map *map, struct str key, void *value);
/* Returns the value removed, or NULL. */
void *map_remove(struct map *map, struct str key);
/* Walks all values in no order: start with *position = 0, ends with NULL. The
 * map must not change meanwhile. */
void *map_next(const struct map *map, size_t *position);

#endif
