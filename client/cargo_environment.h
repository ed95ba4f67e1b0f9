/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which variables of a rustc call belong to the action: those that cargo set,
 * told by comparing with the environment that the build began with, those with
 * cargo's names, and those that a crate was seen to read. What would differ
 * between machines without meaning anything is left out. Pure.
 */
#ifndef TOOLROOT_CLIENT_CARGO_ENVIRONMENT_H
#define TOOLROOT_CLIENT_CARGO_ENVIRONMENT_H

#include <stdbool.h>

#include "client/cargo_paths.h"
#include "client/cargo_strings.h"

struct cargo_dep_info;

struct cargo_environment {
	char *const *call;                   /* rustc's, ends in NULL */
	char *const *build;                  /* the front's, likewise */
	const struct cargo_strings *learned; /* names that the crate reads */
	const struct cargo_paths *paths;     /* that values are mapped by */
	bool macro;  /* one may read any of them, unseen */
	bool clippy; /* the call is one of clippy-driver */
};

/* "NAME=value", sorted by name, paths mapped, with a fixed PATH. */
void cargo_environment_choose(
    const struct cargo_environment *environment, struct cargo_strings *out);

/* Appends the names of variables that the crate looked at and that have another
 * value here than they had there; none when all is well. info is as the action
 * wrote it, with the action's paths. */
void cargo_environment_mismatches(const struct cargo_environment *environment,
    const struct cargo_dep_info *info, struct cargo_strings *names);

/* A variable with the place of the package, of what is built or of anything
 * below paths, where programs may look when they run: it must be the true one.
 * One that names what was included, such as OUT_DIR with generated code, is
 * none. The text is info's: up to "=" is the name. direction: away from the
 * paths that info has. NULL when there is none. */
const char *cargo_environment_place(const struct cargo_dep_info *info,
    const struct cargo_paths *paths, enum cargo_paths_direction direction);

#endif
