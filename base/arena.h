/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bump allocator with a cap: one per request, everything in it dies with the
 * request. At the cap it returns NULL, so that a message from a peer cannot
 * take more memory than the request was granted. One thread at a time. In a
 * sanitizer build each piece is an allocation of its own, so overruns show.
 */
#ifndef TOOLROOT_BASE_ARENA_H
#define TOOLROOT_BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first */
	char *next;                 /* free part of the newest chunk */
	size_t left;                /* bytes in it */
	size_t used;                /* bytes handed out and slack, all chunks */
	size_t cap;                 /* used never exceeds it */
};

void arena_init(struct arena *arena, size_t cap);
/* Frees everything; the arena may be used again with the same cap. */
void arena_clear(struct arena *arena);

/* Aligned for any type, not zeroed. NULL at the cap. */
void *arena_alloc(struct arena *arena, size_t size);
/* count * size zeroed bytes. NULL at the cap or on overflow. */
void *arena_zalloc(struct arena *arena, size_t count, size_t size);
/* NUL-terminated copy. NULL at the cap. */
char *arena_copy(struct arena *arena, struct str text);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
