/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system that takes what one action writes: in memory, limited in
 * bytes and files. Detached mounts, gone with the last descriptor unless they
 * were attached. Made by the spawner, ahead of demand.
 */
#ifndef TOOLROOT_WORKER_SCRATCH_H
#define TOOLROOT_WORKER_SCRATCH_H

#include <stdbool.h>
#include <stdint.h>

struct error;

struct scratch_options {
	uint64_t bytes;
	uint64_t files;
	/* Directories for an overlay beside the root: IMAGE_MOUNT_UPPER and
	 * IMAGE_MOUNT_WORK of worker/image_mount.h. Needs Linux 6.15 ... */
	bool layers;
	/* ... or a directory, attached, on which the file system is attached
	 * for the time of this call; -1: none. */
	int place;
};

/* *root is an empty directory to lay out an action's root in; *layers the file
 * system with the other directories, out of the root's sight, else -1. Both
 * share the limits. */
int scratch_make(const struct scratch_options *options, int *root, int *layers,
    struct error *err);

#endif
