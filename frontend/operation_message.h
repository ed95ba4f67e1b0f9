/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations as clients see them: google.longrunning.Operation with
 * ExecuteOperationMetadata and, when done, ExecuteResponse. Pure; all memory is
 * the arena's or borrowed.
 *
 * The API has no field for the place in the queue; it is told as a
 * google.protobuf.StringValue in partial_execution_metadata's
 * auxiliary_metadata, where generic tools print it; and so is, as the client's
 * RequestMetadata, what the operation is for, and, as EarlyOutputs, which
 * outputs there are while the command runs (protos/early_outputs.h).
 */
#ifndef TOOLROOT_FRONTEND_OPERATION_MESSAGE_H
#define TOOLROOT_FRONTEND_OPERATION_MESSAGE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <google/longrunning/operations.pb-c.h>

#include "executor/scheduler.h"

struct arena;

struct operation_view {
	struct str name;
	struct digest action_digest;
	int64_t queued_ns;           /* wall clock; 0 = it never was */
	struct str request_metadata; /* of the client that asked first */
	struct operation_status status;
	/* What its worker has reported early (EarlyOutputs, encoded); those
	 * who send updates set it. */
	struct str early;
	/* When done: an encoded ExecuteResponse, or an error to make one of. */
	struct str response;
	const struct error *error;
};

/* Enough for any but the response, which is borrowed. */
#define OPERATION_MESSAGE_ARENA (64u << 10)

/* What the scheduler knows right now. Borrows from the operation. */
void operation_view_read(struct scheduler *scheduler,
    const struct operation *operation, struct operation_view *view);
/* NULL at the arena's cap. */
Longrunning__Operation *operation_message(
    struct arena *arena, const struct operation_view *view);
/* Packed, ready to send. */
struct rpc_message *operation_message_pack(const struct operation_view *view);
/* The view of the operation as of now, packed. *done: it is over. */
struct rpc_message *operation_message_now(
    struct scheduler *scheduler, const struct operation *operation, bool *done);
/* The same for one that is done, with contents put inline. What cannot be read
 * stays a digest. Blocks. */
struct inline_options;
struct store;
struct rpc_message *operation_message_inlined(struct scheduler *scheduler,
    const struct operation *operation, struct store *store,
    const struct inline_options *inlining);

#endif
