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

/* The invocation alone. */
struct str request_metadata_find_invocation(struct str raw);
/* The same, inline for the hot path: what stands behind it is not looked at,
 * where what stands before it is short. */
static inline struct str
request_metadata_invocation(struct str raw)
{
	const unsigned char *at = (const unsigned char *)raw.data;
	size_t left = raw.len;

	/* Texts of less than 128 bytes, with a tag of one byte. */
	while (left >= 2 && (at[0] & 0x87) == 2 && at[0] > 7 && at[1] < 0x80 &&
	       left - 2 >= at[1]) {
		if (at[0] == (3 << 3 | 2))
			return (struct str){(const char *)at + 2, at[1]};
		left -= 2u + at[1];
		at += 2 + at[1];
	}
	return left == 0 ? STR("") : request_metadata_find_invocation(raw);
}

#endif
