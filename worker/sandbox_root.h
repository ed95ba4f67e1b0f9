/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The action's root file system while it is being completed: mounted on /new
 * of the template's namespace, given its mounts, then made "/". Every target
 * is looked up without following links, since the tree is the action's. Runs
 * in a sandbox's first process.
 */
#ifndef TOOLROOT_WORKER_SANDBOX_ROOT_H
#define TOOLROOT_WORKER_SANDBOX_ROOT_H

struct error;
struct run_spec;

struct sandbox_root {
	int fd;   /* the root, attached */
	int proc; /* detached mount; taken */
};

/* A detached mount of /proc for the calling process's PID namespace. */
int sandbox_root_make_proc(int *mount, struct error *err);
/* Attaches the detached mount. */
int sandbox_root_open(struct sandbox_root *root, int mount, struct error *err);
/* The spec's mounts except those that are sent. */
int sandbox_root_attach_known(
    struct sandbox_root *root, const struct run_spec *spec, struct error *err);
/* Attaches a detached mount at target. */
int sandbox_root_attach(struct sandbox_root *root, int mount,
    const char *target, struct error *err);
/* Makes it "/"; nothing else is reachable afterwards. */
int sandbox_root_enter(struct sandbox_root *root, struct error *err);
void sandbox_root_clear(struct sandbox_root *root);

#endif
