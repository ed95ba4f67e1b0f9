/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blobs that a collection must not touch, whatever their age: what hangs
 * below its roots. A set of the first eight bytes of hashes, so that a million
 * blobs take 16 MiB; two blobs that share them are both kept, which does no
 * harm. One thread adds, then any number look.
 */
#ifndef TOOLROOT_CAS_KEEP_H
#define TOOLROOT_CAS_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/digest.h"

struct error;
struct store;

struct keep {
	struct store *store; /* borrowed: where trees are read */
	uint64_t *slots;     /* 0 = free */
	size_t capacity;     /* a power of two, or 0 */
	size_t count;
	uint64_t roots;
	/* Of the tree that was added last: blobs, bytes of their digests. */
	uint64_t tree_blobs;
	uint64_t tree_bytes;
};

void keep_init(struct keep *keep, struct store *store);
void keep_clear(struct keep *keep);

/* A blob for itself. */
void keep_add_blob(struct keep *keep, const struct digest *digest);
/* A Directory and all below it. What is absent or malformed is logged and
 * left out: a broken root must not stop collections. -1 for errors of the
 * disk. */
int keep_add_tree(
    struct keep *keep, const struct digest *root, struct error *err);
/* An Action, its Command, its input root, and the roots that platform
 * properties named toolchain-root... or chrootRootDigest name. */
int keep_add_action(
    struct keep *keep, const struct digest *action, struct error *err);
bool keep_has(const struct keep *keep, const struct digest *digest);

#endif
