/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting cargo, for the build and to ask it, and the compiler, which dies
 * with us. Without fork, since gRPC's threads may be running. Blocks.
 */
#ifndef TOOLROOT_CLIENT_CARGO_PROCESS_H
#define TOOLROOT_CLIENT_CARGO_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct buffer;
struct error;

/* With our standard streams, but standard error into errors if that is not -1;
 * environment ends in NULL, signals are as they are for a fresh program. It is
 * told to end (SIGTERM) when this thread ends, however that comes. The process,
 * or -1. */
pid_t cargo_process_start(
    char *const *argv, char *const *environment, int errors, struct error *err);
/* What it ends with: an exit status as a shell would give it. */
int cargo_process_wait(pid_t process, struct error *err);
struct cargo_process {
	const char *directory;
	char *const *environment; /* ends in NULL */
	int64_t timeout_ms;
	/* A socket: when its other end is closed, nobody wants the program any
	 * more. -1: none. */
	int wanted_by;
};
/* Runs a program that nobody listens to, to its end: the exit status, or -1:
 * DEADLINE_EXCEEDED when it took too long, CANCELLED when it is not wanted any
 * more; it was killed then. It is killed, too, when this thread ends. */
int cargo_process_run(
    const struct cargo_process *process, char *const *argv, struct error *err);
/* The same; its standard output, and its standard error is ours. NULL also when
 * it fails. The caller frees it. */
char *cargo_process_read(
    const struct cargo_process *process, char *const *argv, struct error *err);
/* The same as run, with what it wrote, appended; nothing is on its standard
 * input. */
int cargo_process_capture(const struct cargo_process *process,
    char *const *argv, struct buffer *output, struct buffer *errors,
    struct error *err);

/* Any thread, after it has closed a program that it wrote: returns when no
 * process that is being started here can have the file open any more. Before,
 * somebody else may fail to execute it (ETXTBSY). */
void cargo_process_settle(void);

#endif
