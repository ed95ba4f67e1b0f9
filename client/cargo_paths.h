/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real paths and the fixed ones that an action sees in their place, so that
 * equal packages in two checkouts are equal actions: /b/w is the workspace,
 * /b/t the target directory, /b/r the registry's sources, /b/g git's, /tc the
 * toolchain. Maps whole texts: arguments, dep-info files, diagnostics. Pure;
 * a table is set up by one thread and then read by any.
 *
 * A path counts where it stands alone: neither in the middle of a longer path
 * nor with a name that merely begins alike.
 */
#ifndef TOOLROOT_CLIENT_CARGO_PATHS_H
#define TOOLROOT_CLIENT_CARGO_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct buffer;

#define CARGO_PATHS_MAX 8

struct cargo_path {
	char *real;  /* owned; absolute, no "/" at its end */
	char *fixed; /* owned; likewise */
};

/* All zero is an empty table. */
struct cargo_paths {
	struct cargo_path items[CARGO_PATHS_MAX]; /* longest real first */
	size_t count;
};

enum cargo_paths_direction { CARGO_PATHS_TO_FIXED, CARGO_PATHS_TO_REAL };

/* At most CARGO_PATHS_MAX. */
void cargo_paths_add(
    struct cargo_paths *paths, const char *real, const char *fixed);
void cargo_paths_clear(struct cargo_paths *paths);

/* Appends the text with every path mapped; -1 past the buffer's limit. */
int cargo_paths_map(const struct cargo_paths *paths,
    enum cargo_paths_direction direction, struct str text, struct buffer *out)
    __attribute__((warn_unused_result));
/* The same for a string; the caller frees it. */
char *cargo_paths_map_text(const struct cargo_paths *paths,
    enum cargo_paths_direction direction, const char *text);
/* An absolute path without ".", ".." and empty names; the caller frees it. */
char *cargo_paths_plain(const char *path);
/* Whether the absolute path is one of the table's or below it. */
bool cargo_paths_cover(const struct cargo_paths *paths, const char *path);
/* Whether it is a directory of the system's libraries, such as /usr/lib or
 * /lib/x86_64-linux-gnu: linkers look there in any case. */
bool cargo_paths_is_system(const char *path);

#endif
