/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This worker's part of the host's control groups: "toolroot-<pid>-<random>"
 * below the worker's own group, and in it a group for each sandbox, numbered.
 * Groups are pooled: one that is removed lives on as long as page cache is
 * charged to it. Nothing in them is ever killed by writing cgroup.kill, after
 * which a group ends whatever is born in it.
 *
 *	tree = cgroup_tree_open();             the worker, one thread
 *	... the spawner is forked ...
 *	cgroup_tree_get(tree, &group, &err);   the spawner, for a sandbox
 *	cgroup_tree_put(tree, &group);         when that has ended
 *	cgroup_tree_close(tree);               the worker, after the spawner
 *
 * Version 2 is taken where it has controllers, else version 1. On version 2 a
 * group with processes can have no groups with limits below it, so the worker
 * (and the server, when that started it) moves to a group "toolroot-main"
 * first; where others are in its group, it tries beside that one. What workers
 * left behind that were killed is removed; a lock on the directory tells.
 */
#ifndef TOOLROOT_WORKER_CGROUP_TREE_H
#define TOOLROOT_WORKER_CGROUP_TREE_H

#include <stdbool.h>

#include "worker/cgroup.h"

struct cgroup_tree;
struct error;

/* Never NULL. Where the host gives no groups the kind is CGROUP_NONE, and
 * cgroup_tree_why says why. */
struct cgroup_tree *cgroup_tree_open(void);
/* Removes all groups; waits a little for those whose processes are just being
 * killed. NULL is allowed. */
void cgroup_tree_close(struct cgroup_tree *tree);

enum cgroup_kind cgroup_tree_kind(const struct cgroup_tree *tree);
/* Whether groups have this controller. */
bool cgroup_tree_has(
    const struct cgroup_tree *tree, enum cgroup_controller controller);
const char *cgroup_tree_why(const struct cgroup_tree *tree);

/* With kind CGROUP_NONE, a group without directories. */
int cgroup_tree_get(
    struct cgroup_tree *tree, struct cgroup *group, struct error *err);
/* Of a group without processes. Clears it; again, or after cgroup_tree_get has
 * failed, it does nothing. */
void cgroup_tree_put(struct cgroup_tree *tree, struct cgroup *group);

#endif
