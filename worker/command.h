/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot worker`: a worker for a server elsewhere, or beside its server.
 */
#ifndef TOOLROOT_WORKER_COMMAND_H
#define TOOLROOT_WORKER_COMMAND_H

/* argv[0] is "worker". Runs until SIGTERM or SIGINT. Returns the exit status: 0
 * after a clean end, 1 when it could not start or go on, 2 when called
 * wrongly. */
int worker_command(char **argv);

#endif
