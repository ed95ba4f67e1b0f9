/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How this host lets us fence actions in, and the parts all sandboxes share:
 * the mount namespace they start from and empty network namespaces. Used by
 * the spawner and, before it is forked, by the worker; single-threaded.
 */
#ifndef TOOLROOT_WORKER_NAMESPACES_H
#define TOOLROOT_WORKER_NAMESPACES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct error;

enum sandbox_tier {
	SANDBOX_NONE,            /* a process group and nothing else */
	SANDBOX_USER_NAMESPACES, /* without root: in a user namespace */
	SANDBOX_NAMESPACES,      /* as root: all but the user namespace */
};

/* "namespaces", "user-namespaces", "none": as in Hello.sandbox_tier. */
const char *sandbox_tier_name(enum sandbox_tier tier);

/* The user and group every action runs as and sees, in both tiers, so that
 * nothing depends on who runs the worker. */
#define SANDBOX_UID ((uid_t)20001)
#define SANDBOX_GID ((gid_t)20001)

/* Moves this process into a mount namespace of its own, with a user namespace
 * around it where it is not root (or root without the privilege). Needs a
 * process with one thread. FAILED_PRECONDITION says what the host forbids and
 * how to mend it. */
int namespaces_enter(enum sandbox_tier *tier, struct error *err);

/* Makes a mount namespace with little in it, from which sandboxes are cloned:
 * /proc, /dev (null, zero, full, random, urandom and links), /new to mount an
 * action's root on, and with host_root the host's directories, read-only,
 * below /host. The caller is back in its own namespace afterwards. */
int namespaces_make_template(
    bool host_root, int *namespace_fd, struct error *err);

/* A new network namespace with nothing but a working loopback. The calling
 * process stays in its own. */
int namespaces_make_network(int *namespace_fd, struct error *err);

/* All capability sets empty, for the calling thread. */
int namespaces_drop_capabilities(struct error *err);

#endif
