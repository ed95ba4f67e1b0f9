/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing a directory of this machine. Symbolic links are kept as they are,
 * never followed; sockets, FIFOs and devices are left out with a note. Nothing
 * is read but names and sizes: capture_hash does the rest. Blocks.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_DIRECTORY_H
#define TOOLROOT_CLIENT_CAPTURE_DIRECTORY_H

#include <stdbool.h>

#include "base/str.h"

struct capture_notes;
struct capture_tree;
struct error;

struct capture_directory_options {
	const char *path; /* may itself be a symbolic link */
	struct str into;  /* where it comes in the tree; "" = its root */
	/* Whether an entry, by its path below the directory, is captured (and
	 * a directory gone into); NULL = all. */
	bool (*wanted)(void *cookie, struct str path, bool directory);
	void *cookie;
	struct capture_notes *notes;
};

int capture_directory(struct capture_tree *tree,
    const struct capture_directory_options *options, struct error *err);

#endif
