/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listens on a private socket for the shims of one build and answers each in a
 * thread of its own. Cargo's jobs bound their number; more than a fixed number
 * at once are told to run the compiler themselves; without descriptors they
 * wait. Started and stopped by the front's main thread.
 */
#ifndef TOOLROOT_CLIENT_CARGO_BROKER_H
#define TOOLROOT_CLIENT_CARGO_BROKER_H

#include <stdbool.h>

struct cargo_broker;
struct cargo_session;
struct error;

/* The socket is in a directory that only we may enter, in XDG_RUNTIME_DIR where
 * that has room for one, else in /tmp. */
struct cargo_broker *cargo_broker_start(
    struct cargo_session *session, struct error *err);
/* Path of the socket. */
const char *cargo_broker_address(const struct cargo_broker *broker);
/* When nobody waits for answers any more. Removes the socket, stops the session
 * (no result is put in place after this) and gives the answers that are still
 * being made a moment to end. False when some did not: they use
 * broker and session, so that only the process can end. NULL is allowed. */
bool cargo_broker_stop(struct cargo_broker *broker);

#endif
