/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of input roots that are large and come again: from the second
 * time on they are trees of a cache (worker/tree_cache.h), which the images of
 * input roots refer to (worker/stage_image.h), so that only what is new in an
 * input root costs. Only with images (worker/staging.h). What was seen is
 * remembered in memory, by digest, and forgotten when it is too much. Any
 * thread; calls block on the disk.
 */
#ifndef TOOLROOT_WORKER_SUBTREES_H
#define TOOLROOT_WORKER_SUBTREES_H

#include <stdint.h>

#include "cas/digest.h"
#include "worker/staging.h"

struct error;
struct subtrees;
struct tree;
struct tree_request;

/* Files, directories and links from which on a directory is large. */
#define SUBTREES_ENTRIES_MIN 64

/* max_bytes on disk, in a directory that the cache alone uses. */
struct subtrees *subtrees_open(const char *path, enum staging staging,
    uint64_t max_bytes, struct error *err);
/* NULL is allowed. */
void subtrees_close(struct subtrees *subtrees);

/* A directory without properties of its own, with so many entries in all, was
 * seen. */
void subtrees_note(struct subtrees *subtrees, const struct digest *directory,
    uint64_t entries);
/* 1: it is a tree, pinned until subtrees_unpin, with so many entries; 0: it is
 * none, and stays none where it does not fit into the cache; -1: CANCELLED. */
int subtrees_get(struct subtrees *subtrees, const struct tree_request *request,
    struct tree **tree, uint64_t *entries, struct error *err);
void subtrees_unpin(struct subtrees *subtrees, struct tree *tree);

#endif
