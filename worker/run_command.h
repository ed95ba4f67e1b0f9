/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A REAPI Command, checked and in the form that a run needs. Pure: bytes in,
 * struct or error out; everything lives in the arena.
 */
#ifndef TOOLROOT_WORKER_RUN_COMMAND_H
#define TOOLROOT_WORKER_RUN_COMMAND_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct arena;
struct error;

enum run_command_output_kind {
	RUN_COMMAND_OUTPUT_ANY,       /* of output_paths */
	RUN_COMMAND_OUTPUT_FILE,      /* of the older output_files */
	RUN_COMMAND_OUTPUT_DIRECTORY, /* of the older output_directories */
};

struct run_command_output {
	struct str path;   /* as the client wrote it */
	const char *place; /* the same, seen from the input root */
	enum run_command_output_kind kind;
};

struct run_command {
	const Reapi__Command *message;
	const char **arguments; /* at least one; ends in NULL */
	size_t argument_count;
	const char **environment; /* "NAME=value", ends in NULL */
	size_t environment_count;
	const char *search_path;       /* PATH of the environment, or the
					* default */
	const char *working_directory; /* plain, seen from the input root */
	struct run_command_output *outputs;
	size_t output_count;
	/* Node properties asked for. */
	bool want_mode;
	bool want_mtime;
	/* How output directories are wanted. */
	bool want_tree;
	bool want_directories;
};

/* A command without PATH in its environment gets this one added. */
#define RUN_COMMAND_DEFAULT_PATH "/bin:/usr/bin"

/* INVALID_ARGUMENT says what is wrong: no argument, NUL bytes, names of
 * variables with "=", paths that are absolute, end in "/", or lead out of the
 * input root, node properties that are not known. default_path NULL:
 * RUN_COMMAND_DEFAULT_PATH. */
int run_command_decode(struct run_command *command, struct arena *arena,
    struct str bytes, const char *default_path, struct error *err);

/* The value of the first platform property of this name; data NULL when it is
 * absent. platform may be NULL. */
struct str run_command_property(
    const Reapi__Platform *platform, struct str name);

/* path, relative to base, as a plain path without ".", ".." or doubled "/";
 * "" for the root itself. NULL with INVALID_ARGUMENT when it is absolute, ends
 * in "/", holds a NUL or leads out of the root. */
const char *run_command_resolve(
    struct arena *arena, struct str base, struct str path, struct error *err);

#endif
