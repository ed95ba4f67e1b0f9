/* SPDX-License-Identifier: Apache-2.0 */
/* Notes, in the order in which they came. */
#include "client/capture_notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void
capture_notes_add(struct capture_notes *notes, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	for (size_t i = 0; i < notes->count; i++) {
		if (strcmp(notes->lines[i], line) == 0)
			return;
	}
	if (notes->count == CAPTURE_NOTES_MAX)
		notes->dropped++;
	else
		notes->lines[notes->count++] = xstrdup(line);
}

void
capture_notes_clear(struct capture_notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		free(notes->lines[i]);
	*notes = (struct capture_notes){.count = 0};
}
