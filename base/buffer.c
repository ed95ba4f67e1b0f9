/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded buffer. One thread at a time. */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

void
buffer_init(struct buffer *buffer, size_t limit)
{
	*buffer = (struct buffer){.limit = limit};
}

void
buffer_clear(struct buffer *buffer)
{
	free(buffer->data);
	buffer_init(buffer, buffer->limit);
}

void
buffer_reset(struct buffer *buffer)
{
	buffer->len = 0;
}

char *
buffer_reserve(struct buffer *buffer, size_t len)
{
	size_t need;

	if (len > buffer->limit - buffer->len)
		return NULL;
	need = buffer->len + len + 1;
	if (need > buffer->capacity) {
		size_t capacity = buffer->capacity > 0 ? buffer->capacity : 256;

		while (capacity < need)
			capacity *= 2;
		buffer->data = xrealloc(buffer->data, capacity);
		buffer->capacity = capacity;
	}
	return buffer->data + buffer->len;
}

int
buffer_append(struct buffer *buffer, const void *data, size_t len)
{
	char *room = buffer_reserve(buffer, len);

	if (room == NULL)
		return -1;
	if (len > 0)
		memcpy(room, data, len);
	room[len] = '\0';
	buffer->len += len;
	return 0;
}

int
buffer_printf(struct buffer *buffer, const char *format, ...)
{
	char *room;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		return -1;
	room = buffer_reserve(buffer, (size_t)length);
	if (room == NULL)
		return -1;
	va_start(args, format);
	vsnprintf(room, (size_t)length + 1, format, args);
	va_end(args);
	buffer->len += (size_t)length;
	return 0;
}
