/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directories of an action's root that are none of its inputs, and the
 * list of mounts that fill them. Part of worker/sandbox.c, which owns the
 * result.
 */
#ifndef TOOLROOT_WORKER_SANDBOX_LAYOUT_H
#define TOOLROOT_WORKER_SANDBOX_LAYOUT_H

#include <stdbool.h>

#include "worker/host_root.h"
#include "worker/run_spec.h"
#include "worker/sandbox_graft.h"

struct error;

#define SANDBOX_LAYOUT_MOUNTS_MAX HOST_ROOT_MAX

struct sandbox_layout {
	bool fenced;   /* dev, proc, tmp and the host's are wanted */
	bool new_root; /* it is not furnished yet */
	/* Ignored when the input root or a tree is "/". */
	bool host_root;
	bool chown; /* what is made must be given to the action's user */
	const char *input_root; /* no leading slash; "" = the root */
	/* What will be mounted there; -1: nothing. */
	int inputs;
	/* Items and where they are mounted; the rest is filled in. */
	struct sandbox_grafts grafts;
	struct host_root_entry host[HOST_ROOT_MAX];
	struct run_mount mounts[SANDBOX_LAYOUT_MOUNTS_MAX];
	size_t mount_count;
};

/* Fills layout's host and mounts, and returns a descriptor of the input root
 * below root. INVALID_ARGUMENT for an input_root that is no plain path or
 * collides with what every action finds, and see sandbox_graft_all. */
int sandbox_layout_make(
    struct sandbox_layout *layout, int root, struct error *err);

/* Makes dev, proc and tmp, which every root has. */
int sandbox_layout_furnish(int root, struct error *err);

#endif
