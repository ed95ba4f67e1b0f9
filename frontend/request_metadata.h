/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RequestMetadata: what a client says of itself with each call (header
 * `build.bazel.remote.execution.v2.requestmetadata-bin`). Used for fairness,
 * logs and quirks, never trusted for anything else. Parsed in place; the parts
 * point into the call's memory. A header that is malformed counts as absent.
 */
#ifndef TOOLROOT_FRONTEND_REQUEST_METADATA_H
#define TOOLROOT_FRONTEND_REQUEST_METADATA_H

#include "base/str.h"

struct rpc_call;

#define REQUEST_METADATA_KEY \
	"build.bazel.remote.execution.v2.requestmetadata-bin"

struct request_metadata {
	struct str raw;          /* the serialised message, to be handed on */
	struct str tool_details; /* encoded */
	struct str action_id;
	struct str tool_invocation_id;
	struct str correlated_invocations_id;
	struct str action_mnemonic;
	struct str target_id;
};

/* The serialised message as it came, unchecked; may be empty. */
struct str request_metadata_raw(const struct rpc_call *call);
void request_metadata_read(
    const struct rpc_call *call, struct request_metadata *metadata);
/* The same from bytes. */
void request_metadata_parse(struct str raw, struct request_metadata *metadata);
/* The name of the client's program, "" when it has none. */
struct str request_metadata_tool(const struct request_metadata *metadata);

#endif
