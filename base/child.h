/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting this very program again as a child process, for another of its
 * commands. From the main thread, whose signal mask the child does not
 * inherit; safe while other threads run (posix_spawn).
 */
#ifndef TOOLROOT_BASE_CHILD_H
#define TOOLROOT_BASE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct error;
struct settings;

/* A NULL-terminated vector of allocated texts. */
struct child_arguments {
	char **items;
	size_t count;
};

/* Takes text. */
void child_arguments_add(struct child_arguments *arguments, char *text);
void child_arguments_clear(struct child_arguments *arguments);

struct child_options {
	/* Our settings, whose variables are not the child's; NULL: none that
	 * begins with TOOLROOT_ is. */
	const struct settings *settings;
	bool output_to_errors; /* its standard output is our standard error */
	bool own_group; /* what a terminal signals, such as ^C, is ours alone */
};

/* Starts the program with these arguments (the first being its name) and our
 * environment without our settings. The caller waits for *pid. */
int child_start(const struct child_arguments *arguments,
    const struct child_options *options, pid_t *pid, struct error *err);

#endif
