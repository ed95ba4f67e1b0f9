/* SPDX-License-Identifier: Apache-2.0 */
/* Picks the subcommand. */
#include "client/store_command.h"

#include "client/store_commands.h"
#include "client/subcommands.h"

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

int
store_command(char **argv)
{
	const struct subcommands set = {.command = "store",
	    .about = "",
	    .table = subcommands,
	    .count = sizeof(subcommands) / sizeof(subcommands[0])};

	return subcommands_run(&set, argv);
}
