/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call of rustc asks for, read from its arguments as cargo writes them:
 * whether it can be an action elsewhere and, if so, what it reads and makes.
 * Whatever is not known here stays on this machine. Pure.
 */
#ifndef TOOLROOT_CLIENT_CARGO_ARGUMENTS_H
#define TOOLROOT_CLIENT_CARGO_ARGUMENTS_H

#include <stdbool.h>

#include "client/cargo_strings.h"

struct cargo_paths;

enum cargo_call {
	CARGO_CALL_VERSION, /* -vV: what cargo knows the compiler by */
	CARGO_CALL_COMPILE, /* can be an action */
	CARGO_CALL_LOCAL,   /* reason says why it cannot */
};

/* Texts are those of argv unless they are said to be owned. */
struct cargo_arguments {
	enum cargo_call call;
	char reason[128]; /* with CARGO_CALL_LOCAL */
	const char *crate_name;
	const char *crate_type; /* the last one; "bin" by default */
	const char *extra_filename;
	const char *out_dir;
	const char *incremental;      /* the directory, or NULL */
	struct cargo_strings externs; /* paths of --extern */
	struct cargo_strings native;  /* directories of -L but dependency= */
};

/* argv without the compiler itself, ends in NULL. */
void cargo_arguments_parse(
    struct cargo_arguments *arguments, char *const *argv);
void cargo_arguments_clear(struct cargo_arguments *arguments);

/* argv as the action has it: paths mapped, without what does not change the
 * outputs or means nothing elsewhere. */
void cargo_arguments_map(char *const *argv, const struct cargo_paths *paths,
    struct cargo_strings *out);
/* The names of the files that the call may leave in its output directory. */
void cargo_arguments_outputs(
    const struct cargo_arguments *arguments, struct cargo_strings *names);

#endif
