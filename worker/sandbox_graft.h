/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees that are shown in an action's root, each by a handful of read-only
 * mounts whatever its size. A tree is mounted whole, unless something else has
 * to be inside it (the input root, another tree, at "/" also /dev, /proc and
 * /tmp): then the directories that lead there are made anew in the root, and
 * what lies beside the way is mounted entry by entry, symbolic links copied.
 * So no tree has to bring mount points. Part of worker/sandbox_layout.c.
 */
#ifndef TOOLROOT_WORKER_SANDBOX_GRAFT_H
#define TOOLROOT_WORKER_SANDBOX_GRAFT_H

#include <stddef.h>

#include "base/str.h"

struct error;

/* Mounts that the trees of one action may take. */
#define SANDBOX_GRAFT_MOUNTS_MAX 2000

struct sandbox_graft {
	int directory;   /* the tree; borrowed */
	struct str path; /* plain, below the root; "" = the root */
};

struct sandbox_grafts {
	const struct sandbox_graft *items; /* sorted by path */
	size_t count;
	/* Where something else goes: plain paths below the root. */
	const struct str *places;
	size_t place_count;
	/* What will be mounted at input_root; trees inside it have their mount
	 * points made there. -1: nothing. */
	int inputs;
	struct str input_root;
	/* Has fd (taken) mounted read-only on target, which exists. */
	void (*bind)(void *cookie, int fd, const char *target);
	void *cookie;
};

/* Makes directories, links and mount points below root, an empty directory but
 * for what the sandbox provides. INVALID_ARGUMENT when something is to be
 * inside a tree where that has no directory, or too much lies beside. */
int sandbox_graft_all(
    const struct sandbox_grafts *grafts, int root, struct error *err);

#endif
