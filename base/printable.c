/* SPDX-License-Identifier: Apache-2.0 */
/* A character at a time. */
#include "base/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"

static bool
is_shown(uint32_t code, enum printable kind)
{
	if (code == '\n' || code == '\t')
		return kind == PRINTABLE_LINES;
	if (code < ' ' || (code >= 0x7f && code <= 0x9f))
		return false;
	/* U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069: bidi
	 * controls. U+2028 and U+2029 end lines. */
	return code != 0x61c && code != 0x200e && code != 0x200f &&
	       (code < 0x2028 || code > 0x202e) &&
	       (code < 0x2066 || code > 0x2069);
}

void
printable_make(char *text, size_t len, enum printable kind)
{
	for (size_t i = 0; i < len;) {
		uint32_t code = 0;
		size_t length =
		    str_utf8_next((struct str){text + i, len - i}, &code);

		if (length == 0)
			text[i++] = '?';
		else if (!is_shown(code, kind))
			memset(text + i, '?', length);
		i += length;
	}
}

char *
printable_line(struct str text)
{
	char *line = xstrndup(text.data, text.len);

	printable_make(line, text.len, PRINTABLE_LINE);
	return line;
}
