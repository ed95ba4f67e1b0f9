/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The toolchain of a server that has none yet: `toolroot toolchain add default
 * --cc` as a child process, whose output (progress, then the lines for
 * .bazelrc) goes to our standard error. From the main thread, which gets
 * SIGCHLD.
 */
#ifndef TOOLROOT_FRONTEND_FIRST_TOOLCHAIN_H
#define TOOLROOT_FRONTEND_FIRST_TOOLCHAIN_H

#include <sys/types.h>

struct error;

struct first_toolchain {
	pid_t pid; /* -1: nothing runs */
};

/* Where the child connects, and whose toolchain it is. */
struct first_toolchain_options {
	const char *server;
	const char *instance;
	const char *digest_function;
};

int first_toolchain_start(struct first_toolchain *toolchain,
    const struct first_toolchain_options *options, struct error *err);
/* After SIGCHLD: says how it ended. */
void first_toolchain_tend(struct first_toolchain *toolchain);
/* Ends it, if it runs; what it uploaded stays and is not uploaded again. */
void first_toolchain_stop(struct first_toolchain *toolchain);

#endif
