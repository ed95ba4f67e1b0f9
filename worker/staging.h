/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How inputs and trees get into sandboxes. Which ways there are on a host is
 * found out by trying, never by versions. Both have the same effect for an
 * action, and cost different amounts (docs/architecture.md, Staging).
 */
#ifndef TOOLROOT_WORKER_STAGING_H
#define TOOLROOT_WORKER_STAGING_H

#include <stdbool.h>

struct error;

enum staging {
	STAGING_AUTO, /* the first of those below that works here */
	/* Images: a tree is a file system image (worker/image_build.h), below
	 * an overlay in memory. */
	STAGING_EROFS,
	/* The same where the kernel, before Linux 6.15, wants mounts attached
	 * and layers named by path (worker/image_mount.h). */
	STAGING_EROFS_PATH,
	/* Files: small ones are written into memory, large ones mounted one
	 * by one; a toolchain is a directory of files on disk. */
	STAGING_TMPFS,
	/* Files in a directory of the host: without a sandbox. */
	STAGING_COPIES,
};

/* "auto", "erofs", "erofs-path", "tmpfs", "copies". */
const char *staging_name(enum staging staging);
/* Of all but the last; false for other names. */
bool staging_parse(const char *name, enum staging *staging);
/* Whether inputs and trees are images: one of the two with EROFS. */
bool staging_has_images(enum staging staging);

/* Whether images in one of these two ways work with this directory of the
 * worker's cache, by all that staging with them does. -1: err says what is
 * missing and how to mend it. In the mount namespace that sandboxes are to be
 * made from. */
int staging_probe(enum staging staging, const char *cache, struct error *err);

#endif
