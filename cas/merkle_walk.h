/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over Merkle trees of Directory messages: each directory is loaded,
 * checked and shown once, a parent before what is below it, however often it
 * is referred to. Nothing recurses; memory, depth and number of directories
 * are bounded (cas/closure.h has the limits), and the depth is that of the
 * tree as it would be laid out, not of the walk. One thread at a time.
 */
#ifndef TOOLROOT_CAS_MERKLE_WALK_H
#define TOOLROOT_CAS_MERKLE_WALK_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "cas/digest.h"

struct error;

struct merkle_walk_options {
	enum digest_function function; /* of every digest in the trees */
	/* *bytes, good until the next call, is the encoded directory. 1, 0
	 * when absent, -1. */
	int (*load)(void *cookie, const struct digest *digest,
	    struct str *bytes, struct error *err);
	/* directory is checked, and gone after the call; NULL = absent. -1
	 * ends the walk. */
	int (*visit)(void *cookie, const struct digest *digest,
	    const Reapi__Directory *directory, struct error *err);
	void *cookie;
	/* Most files, directories and links of a tree as it would be laid
	 * out, what is referred to twice counted twice; 0 = any number. */
	uint64_t entries_max;
};

struct merkle_walk;
struct merkle_walk *merkle_walk_new(const struct merkle_walk_options *options);
/* NULL is allowed. */
void merkle_walk_free(struct merkle_walk *walk);
/* May be called for several roots: what was seen below an earlier one is not
 * shown again. INVALID_ARGUMENT, naming the path, for a malformed directory
 * and past a limit. After an error the walk can only be freed. */
int merkle_walk_run(
    struct merkle_walk *walk, const struct digest *root, struct error *err);

#endif
