/* SPDX-License-Identifier: Apache-2.0 */
#include "words/buffer.h"

void
buffer_clear(struct buffer *buffer)
{
	buffer->length = 0;
	buffer->text[0] = '\0';
}

int
buffer_add(struct buffer *buffer, char character)
{
	if (buffer->length == BUFFER_LIMIT)
		return -1;
	buffer->text[buffer->length++] = character;
	buffer->text[buffer->length] = '\0';
	return 0;
}
