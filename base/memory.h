/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation that aborts when memory is gone: a supervisor restarts the
 * process and the truth is on disk. Hence the rule of this code base: every
 * size that comes from a peer is bounded before it gets here. Any thread.
 */
#ifndef TOOLROOT_BASE_MEMORY_H
#define TOOLROOT_BASE_MEMORY_H

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1)));
/* At a multiple of the alignment, a power of two; the size is one, too. */
void *xaligned(size_t alignment, size_t size)
    __attribute__((malloc, alloc_size(2)));
/* Zeroed; aborts when count * size overflows. */
void *xcalloc(size_t count, size_t size) __attribute__((malloc));
void *xrealloc(void *old, size_t size);
/* Array form: aborts when count * size overflows. */
void *xreallocarray(void *old, size_t count, size_t size);
/* Room for the item at `index` too: *count grows when it is not above that, and
 * what is new is zeroed. */
void *xgrow(void *items, size_t *count, size_t index, size_t size);
char *xstrdup(const char *text) __attribute__((malloc));
/* NUL-terminated copy of length bytes. */
char *xstrndup(const char *data, size_t length) __attribute__((malloc));
/* A formatted string; the caller frees it. */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
