/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an action may take of its worker, as its platform properties and the
 * worker's settings say, and for people what it ran into. No state.
 */
#ifndef TOOLROOT_WORKER_RUN_LIMITS_H
#define TOOLROOT_WORKER_RUN_LIMITS_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>

#include "worker/action_limits.h"

struct arena;
struct error;
struct sandbox_outcome;
struct spawner_options;

struct run_limits {
	struct action_limits limits;
	bool network; /* the host's */
};

/* INVALID_ARGUMENT names the property that makes no sense; FAILED_PRECONDITION
 * for network=true where options do not allow it. */
int run_limits_read(struct run_limits *limits,
    const struct spawner_options *options, const Reapi__Platform *platform,
    struct error *err);

/* Which limits the action reached, and where they are set, for
 * ExecuteResponse.message; "" when none. The arena's; NULL at its cap. */
const char *run_limits_explain(struct arena *arena,
    const struct run_limits *limits, const struct spawner_options *options,
    const struct sandbox_outcome *outcome);

#endif
