/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The toolchain trees of one action: read from its platform properties, taken
 * from the tree cache and pinned until the action's sandbox is gone. Thread:
 * the slot's; blocks while a tree is fetched and made.
 */
#ifndef TOOLROOT_WORKER_RUN_ROOTS_H
#define TOOLROOT_WORKER_RUN_ROOTS_H

#include "cas/toolchain_root.h"
#include "worker/sandbox_graft.h"

struct error;
struct run_action;
struct tree;

struct run_roots {
	struct toolchain_roots wanted;
	struct tree *trees[TOOLCHAIN_ROOTS_MAX];
	struct sandbox_graft grafts[TOOLCHAIN_ROOTS_MAX]; /* of the trees */
	size_t count;                                     /* pinned */
	size_t laid_out; /* of them: were not there */
};

/* INVALID_ARGUMENT names a malformed property; FAILED_PRECONDITION when blobs
 * of a tree are missing, or the worker cannot show trees. roots is to be
 * cleared in any case. */
int run_roots_get(struct run_roots *roots, const struct run_action *run,
    const Reapi__Platform *platform, struct error *err);
void run_roots_clear(struct run_roots *roots, const struct run_action *run);

/* "<hash>/<size> at /path, ..." for a log or a message; cut if need be. */
#define RUN_ROOTS_TEXT_MAX 400
const char *run_roots_format(
    const struct toolchain_roots *roots, char text[static RUN_ROOTS_TEXT_MAX]);

#endif
