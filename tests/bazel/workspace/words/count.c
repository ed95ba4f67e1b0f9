/* SPDX-License-Identifier: Apache-2.0 */
#include "words/count.h"

#include <string.h>

#include "words/split.h"
#include "words/stop_words.h"

static int
is_stop_word(const char *word)
{
	for (int i = 0; stop_words[i] != NULL; i++)
		if (strcmp(stop_words[i], word) == 0)
			return 1;
	return 0;
}

int
count_words(const char *text)
{
	struct buffer word;
	int count = 0;

	while (split_next(&text, &word))
		if (!is_stop_word(word.text))
			count++;
	return count;
}
