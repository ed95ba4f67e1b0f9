/* SPDX-License-Identifier: Apache-2.0 */
/* Prints how many words of standard input are worth counting. */
#include <stdio.h>

#include "words/count.h"

int
main(void)
{
	char line[1024];
	int count = 0;

	while (fgets(line, sizeof(line), stdin) != NULL)
		count += count_words(line);
	printf("%d words\n", count);
	return 0;
}
