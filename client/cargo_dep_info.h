/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rustc writes into a dep-info file (".d"): the sources that a crate was
 * made of and the environment variables that it looked at with env! and
 * option_env!. A result is believed only when these are what they would be
 * here. Pure.
 */
#ifndef TOOLROOT_CLIENT_CARGO_DEP_INFO_H
#define TOOLROOT_CLIENT_CARGO_DEP_INFO_H

#include "base/str.h"
#include "client/cargo_strings.h"

struct buffer;
struct cargo_paths;

struct cargo_dep_info {
	struct cargo_strings sources;   /* as rustc named them */
	struct cargo_strings variables; /* "NAME=value", or "NAME": unset */
};

/* Never fails: what is no line of these is passed over. */
void cargo_dep_info_parse(struct cargo_dep_info *info, struct str text);
void cargo_dep_info_clear(struct cargo_dep_info *info);

/* Appends the text of such a file with true paths for fixed ones, as rustc
 * would have written it here: blanks are escaped in sources, not in outputs
 * and values of variables. -1 past the buffer's limit. */
int cargo_dep_info_map(const struct cargo_paths *paths, struct str text,
    struct buffer *out) __attribute__((warn_unused_result));

#endif
