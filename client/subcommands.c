/* SPDX-License-Identifier: Apache-2.0 */
#include "client/subcommands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2

static void
subcommands_help(const struct subcommands *set, FILE *out)
{
	fprintf(out, "usage: toolroot %s COMMAND [options]\n\n%s", set->command,
	    set->about);
	for (size_t i = 0; i < set->count; i++)
		fprintf(out, "  %-8s %s\n", set->table[i].name,
		    set->table[i].about);
	fprintf(
	    out, "\n`toolroot %s COMMAND --help` tells more.\n", set->command);
}

int
subcommands_run(const struct subcommands *set, char **argv)
{
	const char *name = argv[1] != NULL ? argv[1] : "";

	for (size_t i = 0; i < set->count; i++) {
		if (strcmp(name, set->table[i].name) == 0)
			return set->table[i].run(argv + 1);
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		subcommands_help(set, stdout);
		return EXIT_SUCCESS;
	}
	if (*name != '\0')
		fprintf(stderr, "toolroot %s: there is no command \"%s\"\n\n",
		    set->command, name);
	subcommands_help(set, stderr);
	return EXIT_USAGE;
}
