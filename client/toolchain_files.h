/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a toolchain that a server has, as a list in the order of their
 * paths: for show and diff. One thread at a time; blocks.
 */
#ifndef TOOLROOT_CLIENT_TOOLCHAIN_FILES_H
#define TOOLROOT_CLIENT_TOOLCHAIN_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "client/capture_tree.h"

struct cas_client;
struct error;

/* More than any toolchain has: no server can make us hold more. */
#define TOOLCHAIN_FILES_MAX (4u << 20)

/* The tree below root; the caller frees it (capture_tree_free). NULL on error:
 * FAILED_PRECONDITION names a directory that the server lacks. */
struct capture_tree *toolchain_files_read(
    struct cas_client *client, const struct digest *root, struct error *err);

#endif
