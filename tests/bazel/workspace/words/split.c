/* SPDX-License-Identifier: Apache-2.0 */
#include "words/split.h"

#include <ctype.h>

int
split_next(const char **text, struct buffer *word)
{
	const char *at = *text;

	buffer_clear(word);
	while (*at != '\0' && !isalpha((unsigned char)*at))
		at++;
	while (isalpha((unsigned char)*at) && buffer_add(word, *at) == 0)
		at++;
	*text = at;
	return word->length > 0;
}
