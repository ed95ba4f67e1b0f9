/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a file system image (worker/erofs_image.h) of a tree in the local
 * store: small bodies are in it, large ones are files of a directory beside
 * it, which names them. Modes and times are those of worker/stage_file.h.
 * Blocks; one thread for an image.
 */
#ifndef TOOLROOT_WORKER_IMAGE_BUILD_H
#define TOOLROOT_WORKER_IMAGE_BUILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "cas/digest.h"

struct blob;
struct digest_list;
struct error;
struct store;

/* Layers that one image may refer to: each costs a little with every name that
 * is looked up. */
#define IMAGE_LAYERS_MAX 16
/* A name in the directory of large bodies. */
#define IMAGE_BODY_NAME_MAX 200

struct image_build {
	struct store *store;
	const char *what; /* the tree, in errors */
	int cancel_fd;    /* readable: CANCELLED; -1 = never */
	/* Blobs found absent are added; the build then fails with
	 * FAILED_PRECONDITION. May be NULL. */
	struct digest_list *missing;
	uint64_t max_bytes; /* of the image; RESOURCE_EXHAUSTED beyond */
	const char *limit;  /* the setting that this is */
	uid_t uid;          /* owner of everything */
	gid_t gid;
	int image; /* an empty file, to be written */
	/* NULL, or asked before the image grows by so many bytes. */
	int (*reserve)(void *cookie, uint64_t bytes, struct error *err);
	/* Sees to it that the blob (taken) is a file in the directory of large
	 * bodies, and names it. */
	int (*keep_body)(void *cookie, struct blob *blob,
	    char name[static IMAGE_BODY_NAME_MAX], struct error *err);
	void *cookie;
	/* The tree is in a directory of this name, alone; with top_if_layered
	 * only where it refers to layers, else it is the root itself. */
	const char *top;
	bool top_if_layered;
	/* NULL, or: 1 when what the directory (digest) holds, *entries in all,
	 * is found in a lower layer, in a directory whose name it gives, which
	 * stays: the top of another image; 0; -1. */
	int (*find_layer)(void *cookie, const struct digest *digest,
	    const char **layer, uint64_t *entries, struct error *err);
	/* NULL, or gets what was walked; plain: it asks for no property. */
	void (*walked)(void *cookie, const struct digest *digest,
	    uint64_t entries, bool plain);
	/* Filled: of the image, where the tree is in it (top, or "" for the
	 * root), and what its root directory asks for. */
	uint64_t bytes;
	const char *shown;
	uint64_t reserved; /* so far, also of an image that failed */
	mode_t root_mode;
	struct timespec root_time;
};

/* INVALID_ARGUMENT names what is malformed in the tree; RESOURCE_EXHAUSTED at
 * max_bytes and when the disk is full. */
int image_build(
    struct image_build *build, const struct digest *root, struct error *err);

#endif
