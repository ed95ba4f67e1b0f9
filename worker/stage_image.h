/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An action's input root as an image, for staging with images
 * (worker/staging.h): what it costs hardly depends on how many inputs there
 * are, nor at all on their modes. The image is a file without a name in the
 * file cache's directory; large bodies are pinned in the file cache. Blocks;
 * one thread.
 */
#ifndef TOOLROOT_WORKER_STAGE_IMAGE_H
#define TOOLROOT_WORKER_STAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "cas/digest.h"
#include "worker/image_build.h"
#include "worker/image_mount.h"
#include "worker/sandbox.h"

struct cached_file;
struct digest_list;
struct error;
struct file_cache;
struct store;
struct subtrees;
struct tree;

struct stage_image {
	/* Given. */
	struct store *store;
	struct file_cache *files;
	struct subtrees *subtrees;   /* NULL: none */
	struct digest_list *missing; /* gets blobs found absent; or NULL */
	uint64_t max_bytes;          /* of the image, without large bodies */
	int cancel_fd;               /* readable: CANCELLED; -1 = never */
	/* Made; the image is the caller's to clear. */
	struct sandbox_inputs inputs;
	uint64_t reserved; /* of the file cache, for the image */
	struct cached_file **pins;
	size_t pin_count;
	size_t pin_capacity;
	struct tree *trees[IMAGE_LAYERS_MAX];
	struct image_lower lowers[IMAGE_LAYERS_MAX];
	size_t tree_count;
};

/* CANCELLED; FAILED_PRECONDITION for absent blobs; INVALID_ARGUMENT names what
 * is malformed in the tree; RESOURCE_EXHAUSTED when it is too large or the disk
 * is full. To be cleared in any case. */
int stage_image_make(
    struct stage_image *image, const struct digest *root, struct error *err);
/* When the sandbox is gone. */
void stage_image_clear(struct stage_image *image);

#endif
