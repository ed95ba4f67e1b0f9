/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A captured tree to the server: what it lacks of files and directories, in
 * pieces, so that an upload that was broken off finds what it sent before.
 * Blocks.
 */
#ifndef TOOLROOT_CLIENT_TOOLCHAIN_UPLOAD_H
#define TOOLROOT_CLIENT_TOOLCHAIN_UPLOAD_H

#include <stdint.h>

struct capture_spool;
struct capture_tree;
struct cas_client;
struct error;
struct merkle_builder;
struct toolchain_progress;

struct toolchain_upload {
	struct cas_client *client;
	const struct capture_tree *tree;
	const struct merkle_builder *builder; /* finished */
	struct capture_spool *spool;          /* NULL when none was used */
	struct toolchain_progress *progress;
};

/* Each content once. */
struct toolchain_upload_stats {
	uint64_t blobs;
	uint64_t bytes;
	uint64_t present_blobs; /* the server had them */
	uint64_t present_bytes;
};

int toolchain_upload(const struct toolchain_upload *upload,
    struct toolchain_upload_stats *stats, struct error *err);

#endif
