/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inlining: putting the content of small outputs into an ActionResult, as
 * GetActionResult and Execute are asked to. Blocks; any thread.
 */
#ifndef TOOLROOT_FRONTEND_ACTION_CACHE_H
#define TOOLROOT_FRONTEND_ACTION_CACHE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>

#include "cas/digest.h"

struct arena;
struct error;
struct store;

/* All contents together; what is beyond is left to the client to read. */
#define ACTION_CACHE_INLINE_MAX (3u << 20)

struct inline_options {
	bool stdout_wanted;
	bool stderr_wanted;
	const ProtobufCBinaryData *output_files; /* paths */
	size_t output_file_count;
};

/* Changes result, whose new content lives in arena. A hint of the client: what
 * does not fit or has vanished stays a digest. -1 only for read errors. */
int action_cache_inline(struct store *store,
    const struct inline_options *options, struct arena *arena,
    Reapi__ActionResult *result, enum digest_function function,
    struct error *err);

#endif
