/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing an archive: tar with any compression, zip, and what else libarchive
 * reads. Contents go to the spool. An archive is not trusted: absolute paths,
 * "..", devices, FIFOs, hard links to nothing in it, encrypted entries and
 * paths below symbolic links are refused, each by name; the tree's limits bound
 * what it unpacks to, and so does the ratio to what was read. Blocks.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_ARCHIVE_H
#define TOOLROOT_CLIENT_CAPTURE_ARCHIVE_H

#include <stdbool.h>

#include "base/str.h"

struct capture_spool;
struct capture_tree;
struct error;

struct capture_archive_options {
	const char *path; /* the file, and its name in errors */
	struct str bytes; /* data not NULL: its content instead */
	/* A layer of an image: it is laid over what the tree holds, whiteouts
	 * (".wh.NAME", ".wh..wh..opq") remove, symbolic links in paths are
	 * followed within the tree, and devices are left out. */
	bool layer;
	struct capture_tree *tree;
	struct capture_spool *spool;
};

/* INVALID_ARGUMENT for what is refused, with the entry; RESOURCE_EXHAUSTED past
 * a limit. */
int capture_archive(
    const struct capture_archive_options *options, struct error *err);

#endif
