/* SPDX-License-Identifier: Apache-2.0 */
/* Turns the lines of standard input into a C table of strings. */
#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
	char line[256];

	if (argc != 2) {
		fprintf(stderr, "usage: make_table NAME < LINES\n");
		return 2;
	}
	printf("const char *const %s[] = {\n", argv[1]);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		printf("\t\"%s\",\n", line);
	}
	printf("\t0,\n};\n");
	return 0;
}
