/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Toolchain trees on the worker's disk, one directory for each digest of a
 * root Directory, made once and then mounted read-only into any number of
 * sandboxes, so that an action costs the same whatever its toolchain's size.
 *
 *	$path/<function>-<hash>-<size>/root/     the tree (worker/tree_build.h)
 *	$path/<function>-<hash>-<size>/...       or more (worker/tree_image.h)
 *	$path/<function>-<hash>-<size>/complete  written last; its date is that
 *	                                         of the last use
 *	$path/new-<n>/, $path/old-<n>/           in the making, on the way out
 *
 * With images it is an image, mounted; else files. The tree is made
 *under another name and renamed. What has no valid "complete", or was made for
 * another way of staging, is removed when the cache opens; so is a tree of
 *before the last boot, since nothing is synced to disk: the blobs are, and
 *making it anew is cheap. Trees outlive the process. Each counts in full,
 *though they share files with the store and one another. Above the limit those
 *longest unused go; a pinned one never does. Any thread; calls block on disk
 *and network.
 */
#ifndef TOOLROOT_WORKER_TREE_CACHE_H
#define TOOLROOT_WORKER_TREE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cas/digest.h"
#include "worker/staging.h"

struct digest_list;
struct error;
struct image_lower;
struct store;
struct tree;
struct tree_cache;

/* The directory is made when absent and owned by the cache alone. */
struct tree_cache_options {
	const char *path;
	uint64_t max_bytes;
	size_t max_trees; /* 0 = any number */
	enum staging staging;
	/* With images: trees serve as layers of other images alone
	 * (tree_lower), and are shown to nobody. */
	bool layers;
	uid_t uid; /* owner of what is in images */
	gid_t gid;
	bool quiet; /* what is made and evicted is told at level debug */
};
struct tree_cache *tree_cache_open(
    const struct tree_cache_options *options, struct error *err);
/* No tree may be pinned. The trees stay on disk. NULL is allowed. */
void tree_cache_close(struct tree_cache *cache);

struct tree_request {
	struct digest root;
	struct store *store;
	/* Brings the tree's blobs into the store; NULL = they are there. */
	int (*fetch)(
	    void *cookie, const struct digest *root, struct error *err);
	void *cookie;
	int cancel_fd;               /* readable: CANCELLED; -1 = never */
	struct digest_list *missing; /* gets blobs found absent; or NULL */
	bool *made;                  /* set to true when it was not there */
};

/* The tree, pinned until tree_unpin. One thread fetches and makes it while
 * others that want the same wait; when it fails, the next one tries. NULL on
 * error: the fetch's, those of tree_build. */
struct tree *tree_cache_get(struct tree_cache *cache,
    const struct tree_request *request, struct error *err);
void tree_unpin(struct tree_cache *cache, struct tree *tree);
/* Of its root directory, the tree's own; not of a layer. */
int tree_descriptor(const struct tree *tree);

/* Of a layer: where it lies for other images (worker/image_build.h), the
 * tree's own. */
const char *tree_top(const struct tree *tree);
const struct image_lower *tree_lower(const struct tree *tree);

/* Digests of the trees that are there, as many as fit; returns how many. */
size_t tree_cache_list(
    struct tree_cache *cache, struct digest *digests, size_t max);

/* Grows with each tree that comes or goes. */
uint64_t tree_cache_generation(struct tree_cache *cache);

struct tree_cache_usage {
	uint64_t bytes; /* by the reckoning that the limit goes by */
	size_t trees;
	uint64_t made; /* since it was opened */
	uint64_t evicted;
};
void tree_cache_usage(struct tree_cache *cache, struct tree_cache_usage *usage);

#endif
