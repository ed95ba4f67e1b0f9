/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lays out an action's input root in its sandbox by writing files, from blobs
 * that are in the local store: STAGING_TMPFS and STAGING_COPIES of
 * worker/staging.h. Blocks; any thread, one for a sandbox.
 *
 * Files are 0444 or 0555 and dated STAGE_TIME unless node properties say
 * otherwise; directories are 0755 and, like files, belong to the action's
 * user, so that outputs can be made anywhere. Bodies up to STAGE_COPY_MAX are
 * written into the sandbox's memory; larger ones are mounted read-only from
 * the store, or from the file cache where the store's file will not do, and
 * cost the same whatever their size. Nothing an action does reaches the store;
 * staging only dates the store's large files STAGE_TIME.
 */
#ifndef TOOLROOT_WORKER_STAGE_H
#define TOOLROOT_WORKER_STAGE_H

#include "base/str.h"
#include "cas/digest.h"

struct digest_list;
struct error;
struct file_cache;
struct sandbox;
struct store;

#define STAGE_COPY_MAX ((uint64_t)64 << 10)

struct stage {
	struct store *store;
	struct file_cache *files;
	struct sandbox *sandbox; /* laid out */
	int input_root;          /* sandbox_lay_out's */
	/* Blobs found absent are added; staging then fails with
	 * FAILED_PRECONDITION. */
	struct digest_list *missing;
};

/* INVALID_ARGUMENT names what is malformed in the tree; RESOURCE_EXHAUSTED
 * when it does not fit into the sandbox. */
int stage_input_root(
    const struct stage *stage, const struct digest *root, struct error *err);

/* Makes the directories that lead to path (and path itself with whole), as the
 * specification wants before a run. A symbolic link on the way is left to the
 * action. */
int stage_make_parents(
    const struct stage *stage, struct str path, bool whole, struct error *err);

#endif
