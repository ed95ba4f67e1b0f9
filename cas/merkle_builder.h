/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds Merkle trees: files, symbolic links and directories are added by
 * path, in any order; finish makes canonical Directory messages and the digest
 * of the root. Equal trees give equal bytes. One thread at a time.
 *
 *	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
 *	merkle_builder_add_file(builder, STR("bin/cc"), &file, &err);
 *	merkle_builder_finish(builder, &err);
 *	... merkle_builder_directories() are what is to be uploaded ...
 *
 * Paths are relative, with "/" between names and none at either end; the empty
 * path is the root itself. Parents come into being as needed. After an error
 * the builder can only be freed.
 */
#ifndef TOOLROOT_CAS_MERKLE_BUILDER_H
#define TOOLROOT_CAS_MERKLE_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct buffer;
struct error;
struct merkle_builder;

struct merkle_builder *merkle_builder_new(enum digest_function function);
/* NULL is allowed. */
void merkle_builder_free(struct merkle_builder *builder);

/* Node properties, where an action asked for them. */
struct merkle_properties {
	bool has_mode;
	bool has_mtime;
	uint32_t mode;         /* at most 07777 */
	int32_t mtime_nanos;   /* 0 .. 999,999,999 */
	int64_t mtime_seconds; /* since 1970 */
};

struct merkle_file {
	struct digest digest;
	bool executable;
	struct merkle_properties properties;
};

/* All four: INVALID_ARGUMENT, naming the path, when it is malformed
 * (cas/directory.h), too deep, taken by an entry of another kind, or given
 * twice (a directory may be). */
int merkle_builder_add_file(struct merkle_builder *builder, struct str path,
    const struct merkle_file *file, struct error *err);
int merkle_builder_add_symlink(struct merkle_builder *builder, struct str path,
    struct str target, struct error *err);
int merkle_builder_add_directory(
    struct merkle_builder *builder, struct str path, struct error *err);
/* A directory that exists already, by its digest, in one piece: nothing can be
 * added below it. */
int merkle_builder_add_subtree(struct merkle_builder *builder, struct str path,
    const struct digest *directory, struct error *err);

/* Nothing can be added afterwards. */
int merkle_builder_finish(struct merkle_builder *builder, struct error *err);

/* --- after finish; all live as long as the builder ------------------------ */

struct merkle_directory {
	struct digest digest;
	struct str bytes; /* the encoded message */
};

const struct digest *merkle_builder_root(const struct merkle_builder *builder);
/* Each directory once, the root first, parents before their children, in an
 * order that depends on nothing but the tree. Without those added by digest. */
const struct merkle_directory *merkle_builder_directories(
    const struct merkle_builder *builder, size_t *count);
/* Appends the Tree message, which is topologically sorted in REAPI's sense.
 * FAILED_PRECONDITION when a directory was added by its digest;
 * RESOURCE_EXHAUSTED past the buffer's limit. */
int merkle_builder_tree(const struct merkle_builder *builder,
    struct buffer *tree, struct error *err);

#endif
