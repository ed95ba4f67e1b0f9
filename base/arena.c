/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bump allocator; chunks double up to 64 KiB, larger pieces get one
 * of their own. One thread at a time. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define ARENA_ALIGN 16u
/* All that a small upload takes. */
#define ARENA_FIRST 2016u
#define ARENA_LARGEST 65536u

struct arena_chunk {
	struct arena_chunk *older;
	size_t size;
	_Alignas(16) char data[];
};

void
arena_init(struct arena *arena, size_t cap)
{
	*arena = (struct arena){.cap = cap};
}

void
arena_clear(struct arena *arena)
{
	while (arena->chunks != NULL) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->older;
		free(chunk);
	}
	arena_init(arena, arena->cap);
}

static size_t
arena_chunk_size(const struct arena *arena, size_t need)
{
#ifdef TOOLROOT_SANITIZE
	(void)arena;
	return need;
#else
	size_t size =
	    arena->chunks != NULL ? arena->chunks->size * 2 : ARENA_FIRST;

	if (size > ARENA_LARGEST)
		size = ARENA_LARGEST;
	if (size > arena->cap - arena->used)
		size = arena->cap - arena->used;
	return size < need ? need : size;
#endif
}

static bool
arena_grow(struct arena *arena, size_t need)
{
	struct arena_chunk *chunk;
	size_t size;

	if (need > arena->cap - arena->used)
		return false;
	size = arena_chunk_size(arena, need);
	chunk = xmalloc(sizeof(*chunk) + size);
	chunk->size = size;
	chunk->older = arena->chunks;
	arena->chunks = chunk;
	arena->next = chunk->data;
	arena->left = size;
	arena->used += size;
	return true;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	char *piece;

	if (size > SIZE_MAX - ARENA_ALIGN)
		return NULL;
#ifndef TOOLROOT_SANITIZE
	size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
#endif
	if (size == 0)
		size = ARENA_ALIGN;
	if (size > arena->left && !arena_grow(arena, size))
		return NULL;
	piece = arena->next;
	arena->next += size;
	arena->left -= size;
#ifdef TOOLROOT_SANITIZE
	arena->left = 0;
#endif
	return piece;
}

void *
arena_zalloc(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;
	void *piece;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	piece = arena_alloc(arena, bytes);
	if (piece != NULL)
		memset(piece, 0, bytes);
	return piece;
}

char *
arena_copy(struct arena *arena, struct str text)
{
	char *copy = arena_alloc(arena, text.len + 1);

	if (copy == NULL)
		return NULL;
	if (text.len > 0)
		memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	return copy;
}

char *
arena_printf(struct arena *arena, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length >= 0)
		text = arena_alloc(arena, (size_t)length + 1);
	if (text == NULL)
		return NULL;
	va_start(args, format);
	vsnprintf(text, (size_t)length + 1, format, args);
	va_end(args);
	return text;
}
