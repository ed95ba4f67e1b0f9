/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree of files that is being captured: what will be a toolchain's root. It
 * holds names, kinds, executable bits and link targets, and where each file's
 * bytes are; owners, modes and times never enter it, so they cannot change the
 * digest. Bounded in entries and bytes. One thread at a time.
 *
 * Paths are relative to the root, names joined by "/"; "" is the root, which
 * is always there. Parents come into being as needed. What is added later
 * replaces what stood there, as in an archive; a directory over a directory
 * leaves its content. INVALID_ARGUMENT names a bad path, RESOURCE_EXHAUSTED
 * the limit that was passed.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_TREE_H
#define TOOLROOT_CLIENT_CAPTURE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct capture_tree;
struct error;
struct merkle_builder;

enum capture_kind { CAPTURE_DIRECTORY, CAPTURE_FILE, CAPTURE_SYMLINK };

struct capture_limits {
	uint64_t entries; /* files, directories and symbolic links */
	uint64_t bytes;   /* of all files */
};

/* Where a file's bytes are and what is known of them. */
struct capture_file {
	bool executable;
	const char *source; /* a file of this machine; NULL: in the spool */
	uint64_t offset;    /* in the spool */
	uint64_t size;
	/* Already computed (always so for the spool); else NULL, and
	 * capture_hash does it. */
	const struct digest *digest;
};

struct capture_entry {
	char *path; /* owned; the key */
	enum capture_kind kind;
	bool executable;
	bool hashed; /* digest is set */
	struct digest digest;
	uint64_t size;
	char *source; /* owned; NULL: in the spool */
	uint64_t offset;
	char *target;   /* owned; of a symbolic link */
	unsigned layer; /* the last one that had it */
};

struct capture_totals {
	uint64_t files;
	uint64_t directories; /* with the root */
	uint64_t symlinks;
	uint64_t bytes; /* of all files, equal ones each time */
};

struct capture_tree *capture_tree_new(
    enum digest_function function, const struct capture_limits *limits);
/* NULL is allowed. */
void capture_tree_free(struct capture_tree *tree);
enum digest_function capture_tree_function(const struct capture_tree *tree);

int capture_tree_add_directory(
    struct capture_tree *tree, struct str path, struct error *err);
int capture_tree_add_file(struct capture_tree *tree, struct str path,
    const struct capture_file *file, struct error *err);
int capture_tree_add_symlink(struct capture_tree *tree, struct str path,
    struct str target, struct error *err);
/* A second name for the file at existing, which must be there: NOT_FOUND. */
int capture_tree_add_link(struct capture_tree *tree, struct str path,
    struct str existing, struct error *err);
/* With all below it; a path that is absent is no error. */
void capture_tree_remove(struct capture_tree *tree, struct str path);
/* All below it, not itself. */
void capture_tree_remove_below(struct capture_tree *tree, struct str path);

/* For images: what is added from now on belongs to the next layer. */
void capture_tree_next_layer(struct capture_tree *tree);
/* What earlier layers put at the path, with all below it; and what they put
 * below it alone. A whiteout hides nothing of its own layer. */
void capture_tree_hide(struct capture_tree *tree, struct str path);
void capture_tree_hide_below(struct capture_tree *tree, struct str path);

/* RESOURCE_EXHAUSTED when a file of so many bytes would pass the limit. */
int capture_tree_check_room(
    const struct capture_tree *tree, uint64_t size, struct error *err);

/* NULL when absent; the root has no entry. */
struct capture_entry *capture_tree_find(
    const struct capture_tree *tree, struct str path);
/* The path with the symbolic links among its parents followed as they would be
 * with the tree as root file system; the last name stays as it is. The caller
 * frees it. NULL with INVALID_ARGUMENT on a loop. */
char *capture_tree_resolve(
    const struct capture_tree *tree, struct str path, struct error *err);

/* All entries by path; the caller frees the array. */
struct capture_entry **capture_tree_list(
    const struct capture_tree *tree, size_t *count);
void capture_tree_totals(
    const struct capture_tree *tree, struct capture_totals *totals);
/* Of what the files are: each content once. */
uint64_t capture_tree_unique_bytes(const struct capture_tree *tree);
/* Every file is hashed. Adds all to an empty builder and finishes it. */
int capture_tree_build(const struct capture_tree *tree,
    struct merkle_builder *builder, struct error *err);

#endif
