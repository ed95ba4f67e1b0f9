/* SPDX-License-Identifier: Apache-2.0 */
/* The aborting allocators. No state, any thread. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
checked(void *memory)
{
	if (memory == NULL) {
		fputs("toolroot: out of memory\n", stderr);
		abort();
	}
	return memory;
}

void *
xmalloc(size_t size)
{
	return checked(malloc(size > 0 ? size : 1));
}

void *
xcalloc(size_t count, size_t size)
{
	return checked(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *
xaligned(size_t alignment, size_t size)
{
	return checked(aligned_alloc(alignment, size));
}

void *
xrealloc(void *old, size_t size)
{
	return checked(realloc(old, size > 0 ? size : 1));
}

void *
xreallocarray(void *old, size_t count, size_t size)
{
	return checked(
	    reallocarray(old, count > 0 ? count : 1, size > 0 ? size : 1));
}

void *
xgrow(void *items, size_t *count, size_t index, size_t size)
{
	size_t before = *count;

	if (index < before)
		return items;
	*count = index + 16;
	items = xreallocarray(items, *count, size);
	memset((char *)items + before * size, 0, (*count - before) * size);
	return items;
}

char *
xstrdup(const char *text)
{
	return checked(strdup(text));
}

char *
xstrndup(const char *data, size_t length)
{
	char *copy = xmalloc(length + 1);

	/* NULL is as good as any other address of nothing. */
	if (length > 0)
		memcpy(copy, data, length);
	copy[length] = '\0';
	return copy;
}

char *
xasprintf(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	return checked(length >= 0 ? text : NULL);
}
