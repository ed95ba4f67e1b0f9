/* SPDX-License-Identifier: Apache-2.0 */
/* Picks the subcommand. */
#include "client/store_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/store_commands.h"

#define EXIT_USAGE 2

struct subcommand {
	const char *name;
	int (*run)(char **argv);
	const char *about;
};

static const struct subcommand subcommands[] = {
    {"stats", store_commands_stats, "sizes, ages, segments of a store"},
    {"check", store_commands_check, "every byte against its digest"},
    {"repair", store_commands_repair, "make the index anew, drop what is bad"},
    {"export", store_commands_export, "a part of a store to a file"},
    {"import", store_commands_import, "from such a file into a store"},
    {"pins", store_commands_pins, "what is kept whatever its age"},
    {"pin", store_commands_pin, "keep a tree or a blob"},
    {"unpin", store_commands_unpin, "keep it no longer"},
    {"rm", store_commands_remove, "drop action results by their origin"},
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void
usage(FILE *out)
{
	fputs("usage: toolroot store COMMAND [options]\n\n", out);
	for (size_t i = 0; i < SUBCOMMANDS; i++)
		fprintf(out, "  %-8s %s\n", subcommands[i].name,
		    subcommands[i].about);
	fputs("\n`toolroot store COMMAND --help` tells more.\n", out);
}

int
store_command(char **argv)
{
	const char *name = argv[1] != NULL ? argv[1] : "";

	for (size_t i = 0; i < SUBCOMMANDS; i++) {
		if (strcmp(name, subcommands[i].name) == 0)
			return subcommands[i].run(argv + 1);
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		usage(stdout);
		return EXIT_SUCCESS;
	}
	if (*name != '\0')
		fprintf(stderr,
		    "toolroot store: there is no command \"%s\"\n\n", name);
	usage(stderr);
	return EXIT_USAGE;
}
