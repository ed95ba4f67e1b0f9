/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running the compiler on this machine as an action would be: at the fixed
 * paths (client/cargo_namespace.h), with cargo's standard streams, its
 * messages and its dep-info file mapped back. For the shim: a process with one
 * thread, in cargo's place for the compiler. Blocks until it has ended.
 */
#ifndef TOOLROOT_CLIENT_CARGO_LOCAL_H
#define TOOLROOT_CLIENT_CARGO_LOCAL_H

#include <stdbool.h>

struct cargo_message_place;
struct error;

/* Whether this machine lets the compiler run there. */
bool cargo_local_can(const struct cargo_message_place *place);
/* 1 and the exit status; 0 when the machine does not allow it, or the compiler
 * failed in a way that it might not at its true paths: it is to be run
 * plainly, and nothing was said that counts. -1 when what it made cannot be
 * handed on, as metadata that is not what cargo was told of before. */
int cargo_local_run(
    const struct cargo_message_place *place, int *status, struct error *err);

#endif
