/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot gc`: plans and runs collections, on a running server or on the
 * store of none. Main thread. */
#ifndef TOOLROOT_CLIENT_GC_COMMAND_H
#define TOOLROOT_CLIENT_GC_COMMAND_H

/* The exit status: 0 done, 1 failed, 2 called wrongly, 3 the size asked for was
 * not reached. argv[0] is the command itself. */
int gc_command(char **argv);

#endif
