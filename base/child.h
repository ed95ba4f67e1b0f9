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

/* A NULL-terminated vector of allocated texts. */
struct child_arguments {
	char **items;
	size_t count;
};

/* Takes text. */
void child_arguments_add(struct child_arguments *arguments, char *text);
void child_arguments_clear(struct child_arguments *arguments);

/* Starts the program with these arguments (the first being its name) and our
 * environment without the variables that begin with TOOLROOT_: our settings
 * are not the child's. output_to_errors: its standard output is our standard
 * error. The caller waits for *pid. */
int child_start(const struct child_arguments *arguments, bool output_to_errors,
    pid_t *pid, struct error *err);

#endif
