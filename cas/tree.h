/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tree messages: a whole Merkle tree in one blob, as action results name them.
 * The digests of the directories in it are those of their bytes as they stand
 * in the message. Pure functions, any thread.
 */
#ifndef TOOLROOT_CAS_TREE_H
#define TOOLROOT_CAS_TREE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "cas/digest.h"

struct error;

struct tree_options {
	enum digest_function function;
	/* The message claims to be sorted (REAPI
	 * OutputDirectory.is_topologically_sorted): no directory stands twice,
	 * each is referred to, parents stand before their children. Checked,
	 * since readers may rely on it. */
	bool sorted;
	/* Each directory that is reachable from the root, once, a parent
	 * before what is below it. -1 ends the walk. */
	int (*visit)(void *cookie, const struct digest *digest,
	    const Reapi__Directory *directory, struct error *err);
	void *cookie;
};

/* Walks the tree and sets *root to the digest of its root. A message without a
 * root has an empty one. INVALID_ARGUMENT, with the path: malformed, or a
 * directory is referred to that is not in the message. */
int tree_walk(struct str bytes, const struct tree_options *options,
    struct digest *root, struct error *err);

#endif
