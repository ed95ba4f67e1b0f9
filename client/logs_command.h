/* SPDX-License-Identifier: Apache-2.0 */
/* The command logs: what is running, and what it writes while it runs. Main
 * thread; see `toolroot logs --help`. */
#ifndef TOOLROOT_CLIENT_LOGS_COMMAND_H
#define TOOLROOT_CLIENT_LOGS_COMMAND_H

/* argv without the program's name. The exit status. */
int logs_command(char **argv);

#endif
