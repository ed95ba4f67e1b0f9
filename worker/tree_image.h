/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree of the worker's cache as a file system image (worker/image_build.h),
 * for staging with images: made in a fraction of the time that files take,
 *whatever their number. In the tree's directory:
 *
 *	image		directories, links, small bodies
 *	bodies/		large bodies: the store's own files, linked where that
 *			can be, so that the store may drop them
 *	root/		where it is mounted, for this worker alone, unless it is
 *			a layer of other images
 *	lower/, whole/	where mounts are attached with STAGING_EROFS_PATH, the
 *			first as long as the tree is a layer
 */
#ifndef TOOLROOT_WORKER_TREE_IMAGE_H
#define TOOLROOT_WORKER_TREE_IMAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "cas/digest.h"

struct error;
struct image_lower;
struct tree_build;

struct tree_image {
	int directory;   /* the tree's, with an empty root/ */
	const char *top; /* in the image, where the tree is */
	uid_t uid;       /* owner of all in it */
	gid_t gid;
	bool by_path; /* STAGING_EROFS_PATH */
};

/* Fills the directory. As tree_build; the tree that it could be like does not
 * matter. */
int tree_image_build(struct tree_build *build, const struct tree_image *tree,
    const struct digest *root, struct error *err);
/* Mounts it on root/, read-only. */
int tree_image_mount(const struct tree_image *tree, struct error *err);
/* As a layer for image_mount instead: *lower is the caller's. */
int tree_image_open_layer(const struct tree_image *tree,
    struct image_lower *lower, struct error *err);
/* path is the tree's directory. What is still in use stays for its users. */
void tree_image_unmount(const char *path);

#endif
