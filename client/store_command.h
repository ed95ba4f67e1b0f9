/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store`: figures of a store, checks of every byte, pins. Main
 * thread. */
#ifndef TOOLROOT_CLIENT_STORE_COMMAND_H
#define TOOLROOT_CLIENT_STORE_COMMAND_H

/* The exit status: 0 done, 1 failed or found bad, 2 called wrongly. argv[0] is
 * the command itself. */
int store_command(char **argv);

#endif
