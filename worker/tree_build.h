/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a directory of the worker's cache that holds a whole tree of the
 * store, to be mounted read-only into sandboxes. Files are 0444 or 0555 and
 * dated STAGE_TIME like all inputs (worker/stage_file.h), directories 0755;
 * owner is the worker. Blocks; one thread for a tree.
 *
 * A large blob that is a file of the store with the right mode and date is
 * linked: no bytes are copied, and nobody can write to either, since the
 * store never does and sandboxes see only the read-only mount. The rest,
 * executables included (a mode belongs to the file), are copied, by a reflink
 * where the file system can. A small file that another tree has at the same
 * path, with the same bytes, is linked from there: toolchains that differ in a
 * few files share the rest, and making the second one is quick.
 */
#ifndef TOOLROOT_WORKER_TREE_BUILD_H
#define TOOLROOT_WORKER_TREE_BUILD_H

#include <stdint.h>

#include "cas/digest.h"

struct digest_list;
struct error;
struct store;

struct tree_build {
	struct store *store;
	uint64_t max_bytes; /* RESOURCE_EXHAUSTED beyond */
	int cancel_fd;      /* readable: CANCELLED; -1 = never */
	int like;           /* the root of another tree; -1 = none */
	/* Blobs found absent are added; the build then fails with
	 * FAILED_PRECONDITION. May be NULL. */
	struct digest_list *missing;
	/* What was made so far: bytes on disk by a simple reckoning. */
	uint64_t bytes;
};

/* Fills the empty directory. INVALID_ARGUMENT names what is malformed in the
 * tree. What was made stays after an error. */
int tree_build(struct tree_build *build, int directory,
    const struct digest *root, struct error *err);

/* Counts so many bytes. RESOURCE_EXHAUSTED past max_bytes, named as the
 * setting that it is. */
int tree_build_count(
    struct tree_build *build, uint64_t bytes, struct error *err);

#endif
