/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Action and Command messages of a rustc call, encoded, with their
 * digests. Pure.
 */
#ifndef TOOLROOT_CLIENT_CARGO_ACTION_H
#define TOOLROOT_CLIENT_CARGO_ACTION_H

#include <stdbool.h>

#include "base/str.h"
#include "cas/digest.h"
#include "client/cargo_strings.h"

struct cargo_action_parts {
	const struct cargo_strings *arguments;   /* the program first */
	const struct cargo_strings *environment; /* "NAME=value", sorted */
	const char *input_root;                  /* where it is; "" for "/" */
	/* What is at "/"; NULL when that is the input root. */
	const struct digest *toolchain;
	/* Dep-info and metadata are wanted as soon as they are there. */
	bool early;
	/* Absolute, in the input root: */
	const char *directory; /* where it runs */
	const char *out_dir;
	const struct cargo_strings *outputs; /* names in out_dir, sorted */
	struct digest root;
};

struct cargo_action {
	struct str command; /* owned memory of malloc, both */
	struct str action;
	struct digest command_digest;
	struct digest digest;
	struct cargo_strings outputs; /* their paths in the command */
};

void cargo_action_make(
    struct cargo_action *action, const struct cargo_action_parts *parts);
void cargo_action_clear(struct cargo_action *action);

#endif
