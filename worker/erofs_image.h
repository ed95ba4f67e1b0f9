/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the bytes of a read-only file system of the kernel's EROFS format:
 * directories, symbolic links, files with their bodies, and files whose bodies
 * lie elsewhere, for overlayfs to find in a data-only layer (the extended
 * attributes trusted.overlay.metacopy and .redirect). Format: Linux,
 * Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h; no feature of
 * it is used that is newer than Linux 5.4.
 *
 * The image is written as it grows, so memory is needed for one directory on
 * each level only:
 *
 *	image = erofs_image_new(&options);
 *	root = erofs_directory_new(image, NULL);
 *	erofs_directory_name(root, name, EROFS_FILE);    for all entries
 *	erofs_directory_begin(root, &attributes, &err);
 *	erofs_image_file(image, &attributes, content, &node, &err);
 *	erofs_directory_set(root, 0, node);              each entry's, in time
 *	erofs_directory_end(root, &err);
 *	erofs_directory_free(root);
 *	erofs_image_finish(image, &size, &err);
 *	erofs_image_free(image);
 *
 * Pure but for the sink; one thread for an image.
 */
#ifndef TOOLROOT_WORKER_EROFS_IMAGE_H
#define TOOLROOT_WORKER_EROFS_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/str.h"

struct error;
struct erofs_directory;
struct erofs_image;

struct erofs_image_options {
	uid_t uid; /* owner of everything */
	gid_t gid;
	time_t time;        /* entries of this time take half the room */
	uint64_t max_bytes; /* RESOURCE_EXHAUSTED beyond, which names ... */
	const char *limit;  /* ... the setting that this is */
	/* Offsets mostly grow, but for directories, which are completed late,
	 * and the superblock, which is last. */
	int (*write)(void *cookie, uint64_t offset, const void *data,
	    size_t len, struct error *err);
	void *cookie;
};

struct erofs_image *erofs_image_new(const struct erofs_image_options *options);
/* NULL is allowed. */
void erofs_image_free(struct erofs_image *image);

/* As in the format's directory entries. */
enum erofs_kind {
	EROFS_FILE = 1,
	EROFS_DIRECTORY = 2,
	EROFS_SYMLINK = 7,
};

struct erofs_attributes {
	mode_t mode; /* permissions only */
	struct timespec time;
};

/* *node is where it lies in the image, for the directory that names it. */
int erofs_image_file(struct erofs_image *image,
    const struct erofs_attributes *attributes, struct str content,
    uint64_t *node, struct error *err);
/* The body, size bytes, is the file redirect ("/name") of the data-only layer.
 * Without the overlay it cannot be read. */
#define EROFS_REDIRECT_MAX 255u
int erofs_image_file_elsewhere(struct erofs_image *image,
    const struct erofs_attributes *attributes, uint64_t size,
    struct str redirect, uint64_t *node, struct error *err);
int erofs_image_symlink(struct erofs_image *image,
    const struct erofs_attributes *attributes, struct str target,
    uint64_t *node, struct error *err);

/* The first one is the root (parent NULL). */
struct erofs_directory *erofs_directory_new(
    struct erofs_image *image, const struct erofs_directory *parent);
/* NULL is allowed. */
void erofs_directory_free(struct erofs_directory *directory);
/* Entries are counted from 0, in any order; names are unique, at most 255
 * bytes, and borrowed until the end. "." and ".." go without saying. */
void erofs_directory_name(
    struct erofs_directory *directory, struct str name, enum erofs_kind kind);
/* What the directory redirect ("/name") of a lower layer has is in it, too: the
 * attribute trusted.overlay.redirect. Before its place is given. */
void erofs_directory_redirect(
    struct erofs_directory *directory, struct str redirect);
/* Gives it its place, which depends on all its names. */
int erofs_directory_begin(struct erofs_directory *directory,
    const struct erofs_attributes *attributes, struct error *err);
uint64_t erofs_directory_node(const struct erofs_directory *directory);
void erofs_directory_set(
    struct erofs_directory *directory, size_t entry, uint64_t node);
int erofs_directory_end(struct erofs_directory *directory, struct error *err);

/* Another directory, by its node, is the root instead; one of the first. */
void erofs_image_set_root(struct erofs_image *image, uint64_t node);
/* Writes what is left; *size is that of the image. */
int erofs_image_finish(
    struct erofs_image *image, uint64_t *size, struct error *err);

#endif
