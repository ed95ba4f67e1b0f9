/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata of a library that cargo was told of before the library was done, and
 * that other crates may have been compiled with: when the compiler has to run
 * once more, here, what it leaves must be the same, and not be newer than what
 * was made of it. For one thread; blocks on the disk.
 */
#ifndef TOOLROOT_CLIENT_CARGO_EARLY_METADATA_H
#define TOOLROOT_CLIENT_CARGO_EARLY_METADATA_H

#include <stdbool.h>

struct error;

struct cargo_early_metadata {
	const char *path; /* borrowed; NULL: cargo was told of none */
	int before;       /* the file, which the compiler replaces */
};

/* Before the compiler runs. path "" or NULL: none was given. */
void cargo_early_metadata_open(
    struct cargo_early_metadata *metadata, const char *path);
void cargo_early_metadata_close(struct cargo_early_metadata *metadata);
bool cargo_early_metadata_is_given(const struct cargo_early_metadata *metadata);
/* After it ended well. FAILED_PRECONDITION, with what to do, when there is
 * other metadata now. */
int cargo_early_metadata_check(
    const struct cargo_early_metadata *metadata, struct error *err);

#endif
