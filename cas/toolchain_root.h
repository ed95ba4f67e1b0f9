/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which trees of the store make up an action's root file system, as its
 * platform properties say:
 *
 *	toolchain-root=<hash>/<size>         the tree at "/"
 *	toolchain-root:/path=<hash>/<size>   the tree at /path; may repeat
 *	chrootRootDigest=<hash>/<size>       BuildBox's name for the first
 *
 * Each names a Directory of the action's digest function, or of another one:
 * <function>/<hash>/<size>. The server checks with it what an action needs,
 * the worker what it shows. Pure; any thread.
 */
#ifndef TOOLROOT_CAS_TOOLCHAIN_ROOT_H
#define TOOLROOT_CAS_TOOLCHAIN_ROOT_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "cas/digest.h"

struct error;

#define TOOLCHAIN_ROOTS_MAX 16
#define TOOLCHAIN_ROOT_PATH_MAX 1024

struct toolchain_root {
	struct digest digest;
	/* Plain, without leading slash, "" = the root itself. Borrowed from
	 * the property. */
	struct str path;
};

struct toolchain_roots {
	/* Sorted by path: what is mounted inside another comes after it. */
	struct toolchain_root items[TOOLCHAIN_ROOTS_MAX];
	size_t count;
};

/* The properties that hold: the action's or, where it has none, the command's
 * (REAPI: Action.platform; it may be NULL in both, as may command). */
const Reapi__Platform *toolchain_roots_platform(
    const Reapi__Action *action, const Reapi__Command *command);

/* INVALID_ARGUMENT names the property and what is wrong with it: a value that
 * is no digest, a path that is not absolute and plain or lies where each
 * sandbox has files of its own (/dev, /proc, /tmp), two trees at one path. */
int toolchain_roots_read(struct toolchain_roots *roots,
    const Reapi__Platform *platform, enum digest_function function,
    struct error *err);

/* Whether this path of a tree at / lies where each sandbox has files of its
 * own, so that no action sees the tree's. */
bool toolchain_root_hides(struct str path);

#endif
