/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One action, from its inputs in the local store to its ActionResult: stage,
 * run in a sandbox, collect, upload. Blocks; one thread for a slot.
 */
#ifndef TOOLROOT_WORKER_RUN_ACTION_H
#define TOOLROOT_WORKER_RUN_ACTION_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/digest.h"
#include "cas/toolchain_root.h"
#include "worker/run_metadata.h"

struct arena;
struct digest_list;
struct error;
struct file_cache;
struct live_output;
struct outputs;
struct spawner;
struct store;
struct subtrees;
struct tree_cache;
struct Workerapi__EarlyOutputs;

enum run_stage {
	RUN_STAGING,
	RUN_RUNNING,
	RUN_COLLECTING,
	RUN_UPLOADING,
};

struct run_action {
	/* What serves all actions. */
	struct spawner *spawner;
	size_t slot;
	struct store *store; /* holds command and inputs */
	struct file_cache *files;
	struct subtrees *subtrees; /* NULL: only with images */
	struct tree_cache *trees;  /* NULL: none can be shown */
	const char *worker_name;
	const char *default_path; /* NULL = RUN_COMMAND_DEFAULT_PATH */
	size_t stream_limit;      /* bytes of stdout and of stderr */
	/* What is special to this one. */
	const Reapi__Action *action;
	enum digest_function function;
	int64_t timeout_ms;
	uint32_t inline_stdout_limit; /* bytes; 0 = digests only */
	uint32_t inline_stderr_limit;
	int cancel_fd;               /* readable: stop; -1 = never */
	struct live_output *live;    /* shows the streams; or NULL */
	struct arena *arena;         /* for the result */
	struct digest_list *missing; /* gets blobs found absent */
	struct run_times times; /* those before the run; the rest is ours */
	/* Tells how far it is; may be NULL. */
	void (*progress)(void *cookie, enum run_stage stage);
	/* Brings a tree's blobs into the store; NULL = they are there. */
	int (*fetch)(
	    void *cookie, const struct digest *root, struct error *err);
	/* Makes the blobs durable on the server; files may be read until it
	 * returns. Also called on the thread of early outputs. */
	int (*upload)(
	    void *cookie, const struct outputs *outputs, struct error *err);
	/* Tells of outputs that an action asks for while it runs, on their
	 * thread (worker/early_outputs.h); NULL: they come with the result. */
	void (*early)(void *cookie, struct Workerapi__EarlyOutputs *message);
	void *cookie;
	/* Filled: what the action asked for; borrows from its messages. */
	struct toolchain_roots roots;
	size_t roots_laid_out; /* of them: were not there before */
	/* Filled: for people, what limits it ran into; "" or the arena's. */
	const char *message;
};

/* 0: the command ran to its end. -1: it did not; *result is set nevertheless
 * when it ran for a while (DEADLINE_EXCEEDED, CANCELLED), and its output
 * streams are uploaded. Codes are those of LeaseResult.status. */
int run_action(
    struct run_action *run, Reapi__ActionResult **result, struct error *err);

#endif
