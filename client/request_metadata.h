/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call says about the tool and the action it is made for: REAPI's
 * RequestMetadata, which travels in a header of every call. Plain values, any
 * thread.
 */
#ifndef TOOLROOT_CLIENT_REQUEST_METADATA_H
#define TOOLROOT_CLIENT_REQUEST_METADATA_H

#include "base/str.h"

#define REQUEST_METADATA_KEY \
	"build.bazel.remote.execution.v2.requestmetadata-bin"

/* NULL = not said. */
struct request_metadata {
	const char *tool_name;
	const char *tool_version;
	const char *action_id;
	const char *tool_invocation_id;
	const char *correlated_invocations_id;
	const char *action_mnemonic;
	const char *target_id;
	const char *configuration_id;
};

/* The encoded message; the caller frees data. */
struct str request_metadata_pack(const struct request_metadata *metadata);

#endif
