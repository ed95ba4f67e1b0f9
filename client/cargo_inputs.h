/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input root of a rustc call: the toolchain, the package, the crates it
 * uses with those that they use, generated files, native libraries; each at
 * its fixed path. Also the list of what the server may have to be sent. One
 * thread; blocks on the disk.
 *
 * FAILED_PRECONDITION says what keeps the call on this machine.
 */
#ifndef TOOLROOT_CLIENT_CARGO_INPUTS_H
#define TOOLROOT_CLIENT_CARGO_INPUTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "cas/digest.h"
#include "client/cargo_strings.h"

struct cargo_paths;
struct cargo_toolchain;
struct cas_upload;
struct error;
struct merkle_builder;
struct stat_ledger;

struct cargo_inputs {
	const struct cargo_paths *paths; /* borrowed, all three */
	struct stat_ledger *ledger;
	const char *target; /* cargo's target directory, real */
	const char *root;   /* fixed path of the input root; "" for "/" */
	/* The rest is ours. */
	struct merkle_builder *builder;
	struct cargo_strings fixed; /* paths in the root */
	struct map known;           /* of fixed */
	struct cargo_strings files; /* real paths, beside digests */
	struct digest *digests;
	size_t digest_capacity;
	uint64_t bytes;
	bool macro; /* a crate among them runs within the compiler */
};

/* After the borrowed fields are set. */
void cargo_inputs_init(
    struct cargo_inputs *inputs, enum digest_function function);
void cargo_inputs_clear(struct cargo_inputs *inputs);

/* For an input root that is the whole root file system. */
int cargo_inputs_add_toolchain(struct cargo_inputs *inputs,
    const struct cargo_toolchain *toolchain, struct error *err);
int cargo_inputs_add_directory(
    struct cargo_inputs *inputs, const char *path, struct error *err);
int cargo_inputs_add_file(
    struct cargo_inputs *inputs, const char *path, struct error *err);
/* A directory with all below it, but for links to directories. NOT_FOUND when
 * it is not there. */
int cargo_inputs_add_tree(
    struct cargo_inputs *inputs, const char *path, struct error *err);
/* The same, without repositories, target directories and packages of their
 * own. */
int cargo_inputs_add_package(
    struct cargo_inputs *inputs, const char *path, struct error *err);
/* Crates by their files, and what these use in turn: see cargo_inputs_note. */
int cargo_inputs_add_crates(struct cargo_inputs *inputs,
    const struct cargo_strings *crates, struct error *err);

/* Whether the path, fixed and perhaps relative to directory, is an input or
 * the toolchain's. */
bool cargo_inputs_have(
    const struct cargo_inputs *inputs, const char *directory, const char *path);

/* Remembers, beside the target directory's files, which crates the one that
 * makes out_dir/name is made of. */
int cargo_inputs_note(const struct cargo_inputs *inputs, const char *name,
    const struct cargo_strings *crates, struct error *err);

/* No more can be added. */
int cargo_inputs_finish(struct cargo_inputs *inputs, struct error *err);
/* All but the toolchain's own; the caller frees the array. Borrows. */
struct cas_upload *cargo_inputs_uploads(
    const struct cargo_inputs *inputs, size_t *count);

#endif
