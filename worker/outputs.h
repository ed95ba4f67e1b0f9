/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads what an action left: files, directories and symbolic links at the
 * paths it declared, as an ActionResult and the list of blobs that this names.
 * To be called when all processes of the action are gone (but for what says
 * otherwise), while its sandbox still stands. Blocks; any thread.
 *
 * The tree is the action's work and not to be trusted: every path is resolved
 * beneath the input root, links that lead out are refused, no link is followed
 * at the end of a path, and whatever is no file, directory or link (a device,
 * say, or a socket) fails the collection. A declared output that is absent is
 * left out of the result (REAPI, ActionResult.output_files).
 */
#ifndef TOOLROOT_WORKER_OUTPUTS_H
#define TOOLROOT_WORKER_OUTPUTS_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/str.h"
#include "cas/digest.h"

struct arena;
struct run_command;
struct error;

/* A blob that the result names: its content, or else the file that has it. */
struct output_blob {
	struct digest digest;
	struct str content; /* data NULL: see path */
	const char *path;   /* below the input root */
};

struct outputs {
	/* --- given --- */
	struct arena *arena; /* all that is returned lives in it */
	const struct run_command *command;
	int input_root;
	enum digest_function function;
	/* A file that claims more bytes than the sandbox could have stored
	 * (sparse) is refused. */
	uint64_t max_file_size;
	/* --- returned --- */
	struct output_blob *blobs; /* allocated; outputs_clear */
	size_t blob_count;
	size_t blob_capacity;
	uint64_t content_bytes; /* of blobs that are held in memory */
};

/* Fills the output_* fields of result. FAILED_PRECONDITION names the output
 * that is of a wrong kind or leads out; RESOURCE_EXHAUSTED at the arena's cap.
 */
int outputs_collect(
    struct outputs *outputs, Reapi__ActionResult *result, struct error *err);
/* Adds content (borrowed) as a blob and sets *digest to its digest message. */
int outputs_add_content(struct outputs *outputs, struct str content,
    Reapi__Digest **digest, struct error *err);
void outputs_clear(struct outputs *outputs);

/* Opens a blob's file for reading; -1 on error. */
int outputs_open(int input_root, const char *path, struct error *err);

/* For early outputs (worker/early_outputs.h), while the action may be running:
 * one output, 1 and *file, with its blob added; 0 when it is no regular file of
 * at most max_size bytes. The arena's. */
struct run_command_output;
int outputs_read_file(struct outputs *outputs,
    const struct run_command_output *output, uint64_t max_size,
    Reapi__OutputFile **file, struct error *err);
/* The directory of an output's place, with O_PATH; -1 on error. */
int outputs_open_parent(int input_root, const char *path, struct error *err);

#endif
