/* SPDX-License-Identifier: Apache-2.0 */
/* Glue between image and file cache. */
#include "worker/stage_image.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "worker/file_cache.h"
#include "worker/image_build.h"
#include "worker/subtrees.h"
#include "worker/tree_cache.h"

/* In the image; no tree has such a name. */
#define TOP "inputs"

/* Takes the blob. */
static int
keep_body(void *cookie, struct blob *blob,
    char name[static IMAGE_BODY_NAME_MAX], struct error *err)
{
	struct stage_image *image = cookie;
	struct cached_file *file = file_cache_pin(image->files, blob, err);

	if (file == NULL)
		return -1;
	if (image->pin_count == image->pin_capacity) {
		image->pin_capacity = image->pin_capacity * 2 + 16;
		image->pins = xreallocarray(
		    image->pins, image->pin_capacity, sizeof(*image->pins));
	}
	image->pins[image->pin_count++] = file;
	snprintf(name, IMAGE_BODY_NAME_MAX, "%s", cached_file_name(file));
	return 0;
}

/* The tree, among those that the image refers to; at most IMAGE_LAYERS_MAX. */
static void
add_tree(struct stage_image *image, struct tree *tree)
{
	image->trees[image->tree_count] = tree;
	image->lowers[image->tree_count] = *tree_lower(tree);
	image->tree_count++;
}

static bool
has_tree(const struct stage_image *image, const struct tree *tree)
{
	for (size_t i = 0; i < image->tree_count; i++)
		if (image->trees[i] == tree)
			return true;
	return false;
}

static int
find_layer(void *cookie, const struct digest *digest, const char **layer,
    uint64_t *entries, struct error *err)
{
	struct stage_image *image = cookie;
	const struct tree_request request = {.root = *digest,
	    .store = image->store,
	    .cancel_fd = image->cancel_fd};
	struct tree *tree;
	int found;

	if (image->tree_count == IMAGE_LAYERS_MAX)
		return 0;
	found = subtrees_get(image->subtrees, &request, &tree, entries, err);
	if (found != 1)
		return found;
	*layer = tree_top(tree);
	if (has_tree(image, tree))
		subtrees_unpin(image->subtrees, tree);
	else
		add_tree(image, tree);
	return 1;
}

static void
walked(void *cookie, const struct digest *digest, uint64_t entries, bool plain)
{
	const struct stage_image *image = cookie;

	if (plain)
		subtrees_note(image->subtrees, digest, entries);
}

static int
reserve(void *cookie, uint64_t bytes, struct error *err)
{
	struct stage_image *image = cookie;

	if (file_cache_reserve(image->files, bytes, err) < 0)
		return -1;
	image->reserved += bytes;
	return 0;
}

int
stage_image_make(
    struct stage_image *image, const struct digest *root, struct error *err)
{
	int bodies = file_cache_directory(image->files);
	struct image_build build = {.store = image->store,
	    .what = "input root",
	    .cancel_fd = image->cancel_fd,
	    .missing = image->missing,
	    .max_bytes = image->max_bytes,
	    .limit = "scratch-size",
	    .uid = SANDBOX_UID,
	    .gid = SANDBOX_GID,
	    .image = file_cache_blank(image->files, err),
	    .reserve = reserve,
	    .keep_body = keep_body,
	    .cookie = image,
	    .top = TOP,
	    .top_if_layered = true,
	    .find_layer = image->subtrees != NULL ? find_layer : NULL,
	    .walked = image->subtrees != NULL ? walked : NULL};

	image->inputs =
	    (struct sandbox_inputs){.image = build.image, .bodies = bodies};
	if (build.image == -1 || image_build(&build, root, err) < 0)
		return -1;
	image->inputs.top = build.shown;
	image->inputs.lowers = image->lowers;
	image->inputs.lower_count = image->tree_count;
	image->inputs.mode = build.root_mode;
	image->inputs.time = build.root_time;
	return 0;
}

void
stage_image_clear(struct stage_image *image)
{
	/* Never made: 0 is no descriptor of ours. */
	if (image->files == NULL)
		return;
	file_close(&image->inputs.image);
	file_cache_release(image->files, image->reserved);
	while (image->pin_count > 0)
		file_cache_unpin(image->files, image->pins[--image->pin_count]);
	while (image->tree_count > 0)
		subtrees_unpin(
		    image->subtrees, image->trees[--image->tree_count]);
	free(image->pins);
	image->files = NULL;
}
