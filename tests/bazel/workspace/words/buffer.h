/* SPDX-License-Identifier: Apache-2.0 */
/* A line of text of limited length, filled one character at a time. */
#ifndef WORDS_BUFFER_H
#define WORDS_BUFFER_H

#include <stddef.h>

#define BUFFER_LIMIT 64

struct buffer {
	char text[BUFFER_LIMIT + 1]; /* always ends in NUL */
	size_t length;
};

void buffer_clear(struct buffer *buffer);

/* Returns 0, or -1 when the buffer is full. */
int buffer_add(struct buffer *buffer, char character);

#endif
