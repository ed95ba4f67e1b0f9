/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts of a tree's image (worker/image_build.h): EROFS straight from its
 * file, below an overlay that finds large bodies by their names in a directory
 * of plain files, a data-only layer. Neither image nor bodies can be changed
 * through a mount. Results are detached: nothing else sees them, and closing
 * the descriptor ends them, unless they were attached. Needs CAP_SYS_ADMIN in
 * the first user namespace. Any thread.
 *
 * Since Linux 6.15 the kernel takes layers, and clones parts, of mounts that
 * are attached nowhere. With STAGING_EROFS_PATH, for kernels before it, such
 * mounts are attached at a private place first, and layers are given by path.
 * What was attached there is to be detached (image_mounts_detach, or with the
 * file system that has the place).
 */
#ifndef TOOLROOT_WORKER_IMAGE_MOUNT_H
#define TOOLROOT_WORKER_IMAGE_MOUNT_H

#include <stddef.h>

struct error;

/* Directories of a scratch file system for image_mount_writable. */
#define IMAGE_MOUNT_UPPER "upper"
#define IMAGE_MOUNT_WORK "work"
/* Where image_mount_lower attaches. */
#define IMAGE_MOUNT_LOWER "lower"

/* An image that is mounted already, below another one that refers to it. */
struct image_lower {
	int mount;
	int bodies; /* -1: it has none elsewhere */
};

struct image_layers {
	int image;       /* the file */
	int bodies;      /* directory of large bodies; -1: it has none */
	const char *top; /* the directory of the image that is shown; "": all */
	/* A directory, attached, to attach in; -1: that is not needed. What is
	 * in lowers and the scratch must be attached, too, then. */
	int place;
	const struct image_lower *lowers;
	size_t lower_count;
	/* The file system that has IMAGE_MOUNT_UPPER, which takes what is
	 * written, and IMAGE_MOUNT_WORK, both empty; -1: read-only. */
	int scratch;
};

struct image_mounts {
	int shown; /* what is wanted */
	/* The image alone, and the overlay with all tops (-1 when that is
	 * shown). The kernel takes some 0.2 ms to let go of a mount that is not
	 * attached: whoever is in a hurry closes these later. */
	int lower;
	int whole;
};
#define IMAGE_MOUNTS_NONE ((struct image_mounts){-1, -1, -1})

/* mounts are the caller's, -1 on error. The layers stay the caller's and may
 * be closed. Errors name the step that the kernel refused. */
int image_mount(const struct image_layers *layers, struct image_mounts *mounts,
    struct error *err);
/* One for an image_lower, attached in place as image_mount does (-1: not); the
 * caller's. */
int image_mount_lower(int image, int place, int *mount, struct error *err);
void image_mounts_close(struct image_mounts *mounts);
/* What image_mount attached, where that is in nobody's way. Whoever uses it
 * already, the shown one included, goes on. */
void image_mounts_detach(const struct image_mounts *mounts);
/* The mount of which this is the root, attached in our namespace, and all in
 * it. */
void image_mount_detach(int mount);
/* Attaches a mount on a directory. */
int image_mount_attach(int mount, int directory, struct error *err);

#endif
