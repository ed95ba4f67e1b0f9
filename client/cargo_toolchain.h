/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The toolchain of a build as a tree: the Rust compiler that cargo calls and
 * the C compiler and libraries that it links with, in one root. Which files
 * belong to it is remembered from one build to the next; what they hold is
 * looked at each time, by their status (client/stat_ledger.h), as are the
 * directories they are in. So it is the digest of what is there now. Blocks;
 * one thread, then any may read.
 */
#ifndef TOOLROOT_CLIENT_CARGO_TOOLCHAIN_H
#define TOOLROOT_CLIENT_CARGO_TOOLCHAIN_H

#include <stdbool.h>

#include "base/settings.h"
#include "cas/digest.h"

struct capture_tree;
struct error;
struct merkle_builder;
struct stat_ledger;

struct cargo_toolchain {
	char *rustc;   /* the compiler itself, behind rustup's */
	char *sysroot; /* what stands at /tc; NULL: all is in place */
	char *program; /* what is called: its path in the root */
	char *version; /* its answer to -vV and our line with the digest */
	struct capture_tree *tree;
	struct merkle_builder *builder; /* finished */
	struct digest root;
	bool captured; /* anew, not from the last build */
};

struct cargo_toolchain_options {
	const char *rustc; /* as cargo calls it */
	/* A program that is called in its place and uses its libraries, as
	 * clippy-driver does: then it is in the root, too. Or NULL. */
	const char *driver;
	/* The linker, as the compiler is told by -C linker=; NULL: cc. */
	const char *linker;
	const char *cache; /* directory, exists */
	struct stat_ledger *ledger;
	enum digest_function function;
	const struct setting_list *libraries; /* to link with, as after -l */
};

/* NULL on error. */
struct cargo_toolchain *cargo_toolchain_open(
    const struct cargo_toolchain_options *options, struct error *err);
/* NULL is allowed. */
void cargo_toolchain_close(struct cargo_toolchain *toolchain);

#endif
