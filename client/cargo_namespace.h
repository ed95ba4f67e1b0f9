/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This machine's file system with the fixed paths of actions in it, for one
 * process and its children: what a compiler makes here is then, byte for byte,
 * what it makes on a worker. Everything else of the machine stays where it is.
 * Linux: a mount namespace, in a user namespace where we are not root.
 */
#ifndef TOOLROOT_CLIENT_CARGO_NAMESPACE_H
#define TOOLROOT_CLIENT_CARGO_NAMESPACE_H

struct cargo_strings;
struct error;

/* For a process with one thread, which is in the new namespace from then on.
 * paths are real, fixed, real, fixed...; those that are not there are left
 * out. FAILED_PRECONDITION when the machine does not allow it or has files of
 * its own at the fixed paths; the process may be in between then, and should
 * end. */
int cargo_namespace_enter(const struct cargo_strings *paths, struct error *err);

#endif
