/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot explain`: why actions were not in the cache, from the server's
 * history. Main thread. */
#ifndef TOOLROOT_CLIENT_EXPLAIN_COMMAND_H
#define TOOLROOT_CLIENT_EXPLAIN_COMMAND_H

struct client_options;
struct error;

/* argv[0] is "explain". Returns the exit status. */
int explain_command(char **argv);
/* The same for one action, HASH/SIZE, for people. rpc_init() was called. */
int explain_action(
    const struct client_options *client, const char *action, struct error *err);

#endif
