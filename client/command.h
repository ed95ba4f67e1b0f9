/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a command of the program runs: its settings are read and its arguments
 * counted, `--help` is answered, it is done, and an error is told. Main thread.
 */
#ifndef TOOLROOT_CLIENT_COMMAND_H
#define TOOLROOT_CLIENT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct settings;

struct command {
	const struct settings *settings;
	void *options;    /* zeroed; cleared afterwards */
	size_t arguments; /* how many it takes */
	bool more;        /* or any number above */
	bool rpc;         /* run needs gRPC */
	bool reads;       /* what run finds wrong is in what it reads: 1 */
	/* What the table of settings cannot tell, before anything is done;
	 * NULL: nothing. */
	int (*check)(const void *options, struct error *err);
	/* arguments end with NULL. *status is EXIT_SUCCESS; may be set to
	 * another. */
	int (*run)(
	    void *options, char **arguments, int *status, struct error *err);
};
/* The exit status: 0, 1 when it failed, 2 when it was called wrongly (check, or
 * INVALID_ARGUMENT of run), or what run says. */
int command_run(const struct command *command, char **argv);

#endif
