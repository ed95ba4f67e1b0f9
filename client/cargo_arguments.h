/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call of rustc asks for, read from its arguments as cargo writes them:
 * whether it can be an action elsewhere and, if so, what it reads and makes.
 * Whatever is not known here stays on this machine. Pure, but for argument
 * files.
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
	char reason[256]; /* with CARGO_CALL_LOCAL */
	const char *crate_name;
	const char *crate_type;     /* the last one; "bin" by default */
	struct cargo_strings types; /* all of them */
	const char *extra_filename; /* "" when there is none */
	const char *out_dir;
	const char *incremental; /* the directory, or NULL */
	bool of_cargo;           /* of a package, not a build script's probe */
	bool dep_info;           /* is among what it writes */
	bool metadata;           /* likewise */
	bool emits_link;
	bool notices;                 /* cargo is told of files as they come */
	bool test;                    /* a program, whatever the types say */
	bool links;                   /* it calls a linker */
	const char *linker;           /* -C linker=, or NULL */
	struct cargo_strings externs; /* paths of --extern */
	struct cargo_strings native;  /* directories of -L but dependency= */
	/* Those of -L and -B of -C link-arg=. */
	struct cargo_strings linked;
	bool linked_follows; /* the next link argument is one */
	bool run_path; /* a link argument is one to be written: -rpath, -R */
};

/* Appends argv with each "@FILE" replaced by the lines of the file, which may
 * be relative to directory; one that cannot be read, or is too long for a
 * command line elsewhere, stays as it is. Reads these files. */
void cargo_arguments_read(
    char *const *argv, const char *directory, struct cargo_strings *out);
/* argv without the compiler itself, ends in NULL; it is borrowed. */
void cargo_arguments_parse(
    struct cargo_arguments *arguments, char *const *argv);
void cargo_arguments_clear(struct cargo_arguments *arguments);
/* For a reason that the arguments alone do not tell; the first one counts. */
void cargo_arguments_keep_local(
    struct cargo_arguments *arguments, const char *reason);

/* argv as the action has it: paths mapped, without what does not change the
 * outputs or means nothing elsewhere; incremental state only if it is wanted.
 */
void cargo_arguments_map(char *const *argv, const struct cargo_paths *paths,
    bool incremental, struct cargo_strings *out);
/* argv of a call that writes dep-info to the path, and nothing else. */
void cargo_arguments_discover(
    char *const *argv, const char *path, struct cargo_strings *out);
/* The names of the files that the call may leave in its output directory. */
void cargo_arguments_outputs(
    const struct cargo_arguments *arguments, struct cargo_strings *names);
/* Whether cargo goes on when the metadata is there, before the library is. */
bool cargo_arguments_pipelined(const struct cargo_arguments *arguments);
/* Of the files that it must leave there, one that is not among names; the
 * caller frees it. NULL when none is missing. */
char *cargo_arguments_missing(
    const struct cargo_arguments *arguments, const struct cargo_strings *names);

#endif
