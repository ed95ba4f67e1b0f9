/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing with linear probing and backward-shift deletion; at most
 * three quarters full. SipHash after Aumasson and Bernstein's paper, with one
 * round a word and three at the end: the outputs are never seen, so what is
 * wanted is only that they cannot be foretold. */
#include "base/map.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/memory.h"

/* Entries for which a table keeps room, however few it has. */
#define MAP_KEPT 256

static inline uint64_t
rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

/* The rounds are most of the cost of short keys: a call each would double it.
 */
static inline __attribute__((always_inline)) void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static inline __attribute__((always_inline)) void
sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

static uint64_t
map_hash(const struct map *map, struct str key)
{
	uint64_t v[4] = {map->seed[0] ^ 0x736f6d6570736575u,
	    map->seed[1] ^ 0x646f72616e646f6du,
	    map->seed[0] ^ 0x6c7967656e657261u,
	    map->seed[1] ^ 0x7465646279746573u};
	uint64_t word;
	size_t i = 0;

	for (; i + 8 <= key.len; i += 8) {
		memcpy(&word, key.data + i, 8);
		sip_word(v, word);
	}
	word = (uint64_t)key.len << 56;
	for (unsigned shift = 0; i < key.len; i++, shift += 8)
		word |= (uint64_t)(unsigned char)key.data[i] << shift;
	sip_word(v, word);
	v[2] ^= 0xff;
	for (int round = 0; round < 3; round++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void
map_init(struct map *map)
{
	*map = (struct map){0};
	/* Cannot fail for 16 bytes once the kernel's pool is ready. */
	if (getrandom(map->seed, sizeof(map->seed), 0) !=
	    (ssize_t)sizeof(map->seed))
		abort();
}

void
map_clear(struct map *map)
{
	free(map->entries);
	map->entries = NULL;
	map->capacity = 0;
	map->count = 0;
}

/* The entry of key, or the free one where it would go. capacity > 0. */
static struct map_entry *
map_find(const struct map *map, struct str key, uint64_t hash)
{
	size_t mask = map->capacity - 1;
	size_t at = (size_t)hash & mask;

	for (;; at = (at + 1) & mask) {
		struct map_entry *entry = &map->entries[at];

		if (entry->value == NULL ||
		    (entry->hash == hash && str_equal(entry->key, key)))
			return entry;
	}
}

static void
map_resize(struct map *map, size_t capacity)
{
	struct map_entry *old = map->entries;
	size_t old_capacity = map->capacity;

	map->entries = xcalloc(capacity, sizeof(*map->entries));
	map->capacity = capacity;
	for (size_t i = 0; i < old_capacity; i++) {
		if (old[i].value != NULL)
			*map_find(map, old[i].key, old[i].hash) = old[i];
	}
	free(old);
}

void
map_reserve(struct map *map, size_t count)
{
	size_t capacity = map->capacity > 0 ? map->capacity : 16;

	while (map->count + count > capacity / 4 * 3)
		capacity *= 2;
	if (capacity > map->capacity)
		map_resize(map, capacity);
}

void *
map_get(const struct map *map, struct str key)
{
	if (map->count == 0)
		return NULL;
	return map_find(map, key, map_hash(map, key))->value;
}

void *
map_put(struct map *map, struct str key, void *value)
{
	uint64_t hash = map_hash(map, key);
	struct map_entry *entry;
	void *before;

	if (map->count + 1 > map->capacity / 4 * 3)
		map_resize(map, map->capacity > 0 ? map->capacity * 2 : 16);
	entry = map_find(map, key, hash);
	before = entry->value;
	map->count += before == NULL;
	*entry = (struct map_entry){key, value, hash};
	return before;
}

void *
map_remove(struct map *map, struct str key)
{
	size_t mask = map->capacity - 1;
	struct map_entry *entry;
	void *value;
	size_t hole;

	if (map->count == 0)
		return NULL;
	entry = map_find(map, key, map_hash(map, key));
	value = entry->value;
	if (value == NULL)
		return NULL;
	hole = (size_t)(entry - map->entries);
	for (size_t at = (hole + 1) & mask; map->entries[at].value != NULL;
	     at = (at + 1) & mask) {
		size_t home = (size_t)map->entries[at].hash & mask;

		/* Stays when its home lies behind the hole. */
		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		map->entries[hole] = map->entries[at];
		hole = at;
	}
	map->entries[hole] = (struct map_entry){{NULL, 0}, NULL, 0};
	map->count--;
	if (map->capacity > MAP_KEPT && map->count < map->capacity / 8)
		map_resize(map, map->capacity / 2);
	return value;
}

void *
map_next(const struct map *map, size_t *position)
{
	while (*position < map->capacity) {
		void *value = map->entries[(*position)++].value;

		if (value != NULL)
			return value;
	}
	return NULL;
}
