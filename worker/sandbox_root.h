/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The action's root file system as the sandbox's first process sees it. It is
 * entered ahead of time, while nobody waits, empty but for /dev, /proc and
 * /tmp; what else an action needs is attached when that is known. Every target
 * is looked up without following links, since the tree is the action's.
 */
#ifndef TOOLROOT_WORKER_SANDBOX_ROOT_H
#define TOOLROOT_WORKER_SANDBOX_ROOT_H

#include <stddef.h>

#include "worker/host_root.h"

struct error;
struct run_spec;

struct sandbox_root {
	int fd; /* the root */
	/* Detached mounts of the host's directories, which the template has
	 * with --host-root. */
	struct {
		char name[16];
		int mount;
	} host[HOST_ROOT_MAX];
	size_t host_count;
};

/* In the template's namespace: makes the detached mount, which has the
 * directories dev and proc, "/"; nothing else is reachable afterwards. */
int sandbox_root_enter(struct sandbox_root *root, int mount, struct error *err);
/* The same with another root, in place of that one. */
int sandbox_root_replace(
    struct sandbox_root *root, int mount, struct error *err);
/* The spec's mounts except those that are sent. */
int sandbox_root_attach_known(
    struct sandbox_root *root, const struct run_spec *spec, struct error *err);
/* Attaches a detached mount at target. */
int sandbox_root_attach(struct sandbox_root *root, int mount,
    const char *target, struct error *err);

#endif
