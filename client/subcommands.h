/* SPDX-License-Identifier: Apache-2.0 */
/* A command that is a set of others, as `toolroot store`: picks the one that is
 * named, or says which there are. Main thread. */
#ifndef TOOLROOT_CLIENT_SUBCOMMANDS_H
#define TOOLROOT_CLIENT_SUBCOMMANDS_H

#include <stddef.h>

struct subcommand {
	const char *name;
	int (*run)(char **argv); /* argv[0] is its name */
	const char *about;       /* a few words */
};

struct subcommands {
	const char *command; /* "store" */
	const char *about;   /* a paragraph of --help, or "" */
	const struct subcommand *table;
	size_t count;
};

/* argv[0] is the command. The exit status: the subcommand's, or 2 when there is
 * none of that name. */
int subcommands_run(const struct subcommands *set, char **argv);

#endif
