/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashing the files of a captured tree, several at once. A file must stay what
 * it is while it is read. Blocks.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_HASH_H
#define TOOLROOT_CLIENT_CAPTURE_HASH_H

#include <stdatomic.h>
#include <stdint.h>

struct capture_tree;
struct error;

/* What another thread may read meanwhile. */
struct capture_progress {
	_Atomic uint64_t files;
	_Atomic uint64_t bytes;
	_Atomic uint64_t files_total;
	_Atomic uint64_t bytes_total;
};

/* Every file without a digest gets one. FAILED_PRECONDITION names a file that
 * changes meanwhile. progress may be NULL. */
int capture_hash(struct capture_tree *tree, struct capture_progress *progress,
    struct error *err);

#endif
