/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot serve`: the whole server in one process, and its local workers as
 * child processes.
 */
#ifndef TOOLROOT_FRONTEND_SERVE_H
#define TOOLROOT_FRONTEND_SERVE_H

/* argv[0] is "serve". Runs until SIGTERM or SIGINT. Returns the exit status: 0
 * after a clean shutdown, 1 when it could not start or go on, 2 when called
 * wrongly. */
int serve_command(char **argv);

#endif
