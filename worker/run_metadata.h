/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When and where each step of a run happened, and what it took: REAPI's
 * ExecutedActionMetadata. Pure; everything is made in the arena.
 */
#ifndef TOOLROOT_WORKER_RUN_METADATA_H
#define TOOLROOT_WORKER_RUN_METADATA_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct error;
struct run_limits;
struct sandbox_outcome;
struct toolchain_roots;

struct run_place {
	const char *worker;
	/* Hello.sandbox_tier; NULL = nothing is said of the rest. */
	const char *sandbox_tier;
	const char *staging; /* staging_name (worker/staging.h) */
	bool host_root;
	const struct toolchain_roots *roots;
	size_t roots_laid_out; /* of them: were not there before */
	const struct run_limits *limits;
	const char *limited_by; /* cgroup_kind_name */
};

/* Nanoseconds of the wall clock; 0 = did not happen. */
struct run_times {
	int64_t queued;
	int64_t worker_start;
	int64_t worker_completed;
	int64_t input_fetch_start;
	int64_t input_fetch_completed;
	int64_t output_upload_start;
	int64_t output_upload_completed;
};

/* Execution times, virtual duration and usage come from outcome, which may be
 * NULL. Usage is an Any of the message that other workers use for it too,
 * buildbarn.resourceusage.POSIXResourceUsage, so existing viewers show it.
 * The place is an Any of toolroot.worker.v1.RunEnvironment beside it. NULL with
 * RESOURCE_EXHAUSTED at the arena's cap. */
Reapi__ExecutedActionMetadata *run_metadata_make(struct arena *arena,
    const struct run_place *place, const struct run_times *times,
    const struct sandbox_outcome *outcome, struct error *err);

#endif
