/* SPDX-License-Identifier: Apache-2.0 */
#include "words/split.h"

#include <string.h>

int
main(void)
{
	const char *text = "  one, two";
	struct buffer word;

	if (!split_next(&text, &word) || strcmp(word.text, "one") != 0)
		return 1;
	if (!split_next(&text, &word) || strcmp(word.text, "two") != 0)
		return 1;
	return split_next(&text, &word);
}
