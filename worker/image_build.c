/* SPDX-License-Identifier: Apache-2.0 */
/* A visitor of the tree's walk that writes an image. */
#include "worker/image_build.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"
#include "worker/erofs_image.h"
#include "worker/stage_file.h"
#include "worker/tree_walk.h"

/* Up to here a body is read into memory at once, and is in the image. */
#define SMALL_MAX ((uint64_t)64 << 10)
/* Up to here a body that the store has no file of is in the image, too. */
#define PACKED_MAX ((uint64_t)256 << 10)

/* What the visitor has beside the walk. */
struct work {
	struct image_build *build;
	struct tree_walk walk;
	struct erofs_image *image;
	struct buffer content; /* of the file at hand */
	struct erofs_directory *top;
	uint64_t root; /* the tree's, a node of the image */
};

struct place {
	struct erofs_directory *directory;
	size_t next; /* the entry whose turn it is, as named */
};

static int
write_image(void *cookie, uint64_t offset, const void *data, size_t len,
    struct error *err)
{
	struct image_build *build = cookie;
	uint64_t end = offset + len;

	if (build->reserve != NULL && end > build->reserved) {
		if (build->reserve(build->cookie, end - build->reserved, err) <
		    0)
			return -1;
		build->reserved = end;
	}
	if (file_pwrite(build->image, data, len, offset, err) == 0)
		return 0;
	if (err->code == ERROR_RESOURCE_EXHAUSTED)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the worker's cache disk is full: no room for an image of "
		    "the %s; free some, or lower cache-size and "
		    "tree-cache-size",
		    build->what);
	error_prefix(err, "write an image of the %s", build->what);
	return -1;
}

static void
visit_leave(void *place)
{
	struct place *here = place;

	erofs_directory_free(here->directory);
	free(here);
}

static int
visit_enter(struct tree_walk *walk, void *parent, const char *name,
    const Reapi__Directory *message, void **place, struct error *err)
{
	struct work *work = walk->cookie;
	struct place *above = parent;
	const struct erofs_attributes attributes = {
	    .mode = stage_directory_mode(message->node_properties),
	    .time = stage_file_time(message->node_properties)};
	struct place *here = xcalloc(1, sizeof(*here));

	(void)name;
	here->directory = erofs_directory_new(
	    work->image, above != NULL ? above->directory : work->top);
	/* In the order in which they are shown. */
	for (size_t i = 0; i < message->n_files; i++)
		erofs_directory_name(here->directory,
		    directory_str(message->files[i]->name), EROFS_FILE);
	for (size_t i = 0; i < message->n_symlinks; i++)
		erofs_directory_name(here->directory,
		    directory_str(message->symlinks[i]->name), EROFS_SYMLINK);
	for (size_t i = 0; i < message->n_directories; i++)
		erofs_directory_name(here->directory,
		    directory_str(message->directories[i]->name),
		    EROFS_DIRECTORY);
	*place = here;
	if (erofs_directory_begin(here->directory, &attributes, err) < 0) {
		visit_leave(here);
		return -1;
	}
	if (above != NULL) {
		erofs_directory_set(above->directory, above->next++,
		    erofs_directory_node(here->directory));
	} else {
		work->root = erofs_directory_node(here->directory);
		erofs_directory_set(work->top, 0, work->root);
		work->build->root_mode = attributes.mode;
		work->build->root_time = attributes.time;
	}
	return 0;
}

/* An empty directory here, which overlayfs merges with the layer's. */
static int
add_layer(struct work *work, struct place *above, const char *layer,
    struct error *err)
{
	const struct erofs_attributes attributes = {
	    stage_directory_mode(NULL), stage_file_time(NULL)};
	struct erofs_directory *directory =
	    erofs_directory_new(work->image, above->directory);
	char redirect[IMAGE_BODY_NAME_MAX + 1];
	int rc = -1;

	snprintf(redirect, sizeof(redirect), "/%s", layer);
	erofs_directory_redirect(directory, str_from(redirect));
	if (erofs_directory_begin(directory, &attributes, err) == 0 &&
	    erofs_directory_end(directory, err) == 0) {
		erofs_directory_set(above->directory, above->next++,
		    erofs_directory_node(directory));
		work->build->shown = work->build->top;
		rc = 1;
	}
	erofs_directory_free(directory);
	return rc;
}

static int
visit_skip(struct tree_walk *walk, void *parent, const struct digest *digest,
    uint64_t *entries, struct error *err)
{
	struct work *work = walk->cookie;
	const struct image_build *build = work->build;
	const char *layer;
	int rc = 0;

	if (build->find_layer != NULL)
		rc = build->find_layer(
		    build->cookie, digest, &layer, entries, err);
	return rc == 1 ? add_layer(work, parent, layer, err) : rc;
}

static void
visit_walked(struct tree_walk *walk, const struct digest *digest,
    const Reapi__Directory *message, uint64_t entries)
{
	const struct work *work = walk->cookie;

	if (work->build->walked != NULL)
		work->build->walked(work->build->cookie, digest, entries,
		    message->node_properties == NULL);
}

static int
add_packed(struct work *work, const struct tree_file *file, uint64_t *node,
    struct error *err)
{
	const struct erofs_attributes attributes = {file->mode, file->time};

	if (file->content.data != NULL)
		return erofs_image_file(
		    work->image, &attributes, file->content, node, err);
	buffer_reset(&work->content);
	if (tree_walk_read(&work->walk, &file->digest, &work->content, err) < 0)
		return -1;
	return erofs_image_file(
	    work->image, &attributes, buffer_str(&work->content), node, err);
}

static int
add_large(struct work *work, const struct tree_file *file, uint64_t *node,
    struct error *err)
{
	const struct erofs_attributes attributes = {file->mode, file->time};
	const struct image_build *build = work->build;
	struct blob *blob = NULL;
	char redirect[IMAGE_BODY_NAME_MAX + 1] = "/";

	if (tree_walk_open(&work->walk, &file->digest, &blob, err) < 0)
		return -1;
	if (blob_descriptor(blob) == -1 && file->digest.size <= PACKED_MAX) {
		blob_free(blob);
		return add_packed(work, file, node, err);
	}
	if (build->keep_body(build->cookie, blob, redirect + 1, err) < 0)
		return -1;
	return erofs_image_file_elsewhere(work->image, &attributes,
	    file->digest.size, str_from(redirect), node, err);
}

static int
visit_file(struct tree_walk *walk, void *place, const struct tree_file *file,
    struct error *err)
{
	struct work *work = walk->cookie;
	struct place *here = place;
	uint64_t node;
	int rc = file->digest.size <= SMALL_MAX
		     ? add_packed(work, file, &node, err)
		     : add_large(work, file, &node, err);

	if (rc == 0)
		erofs_directory_set(here->directory, here->next++, node);
	return rc;
}

static int
visit_link(struct tree_walk *walk, void *place, const struct tree_link *link,
    struct error *err)
{
	const struct erofs_attributes attributes = {0777, link->time};
	struct work *work = walk->cookie;
	struct place *here = place;
	uint64_t node;

	if (erofs_image_symlink(work->image, &attributes,
		str_from(link->target), &node, err) < 0)
		return -1;
	erofs_directory_set(here->directory, here->next++, node);
	return 0;
}

static int
visit_complete(struct tree_walk *walk, void *parent, void *place,
    const Reapi__Directory *message, struct error *err)
{
	const struct place *here = place;

	(void)walk;
	(void)parent;
	(void)message;
	return erofs_directory_end(here->directory, err);
}

int
image_build(
    struct image_build *build, const struct digest *root, struct error *err)
{
	static const struct tree_visitor visitor = {.enter = visit_enter,
	    .file = visit_file,
	    .link = visit_link,
	    .complete = visit_complete,
	    .leave = visit_leave,
	    .skip = visit_skip,
	    .walked = visit_walked};
	const struct erofs_attributes attributes = {
	    stage_directory_mode(NULL), stage_file_time(NULL)};
	const struct erofs_image_options options = {.uid = build->uid,
	    .gid = build->gid,
	    .time = STAGE_TIME,
	    .max_bytes = build->max_bytes,
	    .limit = build->limit,
	    .write = write_image,
	    .cookie = build};
	struct work work = {.build = build,
	    .walk = {.visitor = &visitor,
		.store = build->store,
		.what = build->what,
		.cancel_fd = build->cancel_fd,
		.ahead_max = SMALL_MAX,
		.missing = build->missing},
	    .image = erofs_image_new(&options)};
	int rc;

	work.walk.cookie = &work;
	build->shown = build->top_if_layered ? "" : build->top;
	buffer_init(&work.content, PACKED_MAX);
	work.top = erofs_directory_new(work.image, NULL);
	erofs_directory_name(work.top, str_from(build->top), EROFS_DIRECTORY);
	rc = erofs_directory_begin(work.top, &attributes, err);
	if (rc == 0)
		rc = tree_walk_run(&work.walk, root, err);
	if (rc == 0)
		rc = erofs_directory_end(work.top, err);
	erofs_directory_free(work.top);
	if (build->shown[0] == '\0')
		erofs_image_set_root(work.image, work.root);
	if (rc == 0)
		rc = erofs_image_finish(work.image, &build->bytes, err);
	buffer_clear(&work.content);
	erofs_image_free(work.image);
	return rc;
}
