/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot explain`: why actions were not in the cache, from the server's
 * history. Main thread. */
#ifndef TOOLROOT_CLIENT_EXPLAIN_COMMAND_H
#define TOOLROOT_CLIENT_EXPLAIN_COMMAND_H

/* argv[0] is "explain". Returns the exit status. */
int explain_command(char **argv);

#endif
