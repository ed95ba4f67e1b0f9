/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output files that are wanted while their action still runs (platform property
 * "early-outputs", protos/early_outputs.h): a thread watches the directories of
 * the declared outputs, and what is renamed to an output's path, or closed
 * there after writing, is taken for complete, digested, uploaded and reported,
 * once. An addition to the result, never more: what cannot be read or uploaded
 * is logged and comes with the result.
 *
 * The action runs meanwhile and is not to be trusted: paths are resolved
 * beneath its input root, only regular files are taken, of bounded size.
 */
#ifndef TOOLROOT_WORKER_EARLY_OUTPUTS_H
#define TOOLROOT_WORKER_EARLY_OUTPUTS_H

#include <stdint.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/str.h"
#include "cas/digest.h"

struct early_outputs;
struct error;
struct outputs;
struct run_command;

struct early_outputs_options {
	struct str wanted;                 /* the property's value */
	const struct run_command *command; /* borrowed, all */
	int input_root;
	enum digest_function function;
	uint64_t max_file_size; /* as in struct outputs */
	/* Both on the thread. The message has all up to now, without a lease;
	 * it is borrowed. */
	int (*upload)(
	    void *cookie, const struct outputs *outputs, struct error *err);
	void (*report)(void *cookie, Workerapi__EarlyOutputs *message);
	void *cookie;
};

/* Before the action starts. NULL when nothing is wanted, or directories cannot
 * be watched (that is logged). */
struct early_outputs *early_outputs_start(
    const struct early_outputs_options *options);
/* Waits for an upload that is under way, which a cancelled lease ends; no other
 * begins, and nothing is reported any more. NULL is allowed. */
void early_outputs_stop(struct early_outputs *early);

#endif
