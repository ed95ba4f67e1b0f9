/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a server for an action's result and having it executed. Any thread;
 * blocks, within bounds.
 */
#ifndef TOOLROOT_CLIENT_CARGO_EXECUTE_H
#define TOOLROOT_CLIENT_CARGO_EXECUTE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/digest.h"

struct arena;
struct error;
struct request_metadata;
struct rpc_channel;

struct cargo_execute {
	struct rpc_channel *channel;
	const char *instance;
	const struct request_metadata *metadata;
	struct arena *arena; /* results live in it */
	struct digest action;
	/* Path of a small output that is to come with the result; or NULL. */
	const char *wanted_inline;
	int64_t timeout_ms; /* of the execution, queueing included */
	int64_t silence_ms; /* of the server meanwhile */
	bool anew;          /* whatever the server has as the result */
	/* Told of outputs that are there while the execution goes on, perhaps
	 * of the same ones again (EarlyOutputs of worker.proto); may be NULL.
	 * Files are borrowed. */
	void (*early)(
	    void *cookie, Reapi__OutputFile *const *files, size_t count);
	void *cookie;
};

/* 1 and *result, 0 when the server has none, -1. */
int cargo_execute_find(const struct cargo_execute *execute,
    Reapi__ActionResult **result, struct error *err);
/* Action, command and inputs are there. */
int cargo_execute_run(const struct cargo_execute *execute,
    Reapi__ActionResult **result, struct error *err);

#endif
