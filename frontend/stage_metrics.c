/* SPDX-License-Identifier: Apache-2.0 */
/* Series made at the start; times taken out of the result's metadata. */
#include "frontend/stage_metrics.h"

#include <stdlib.h>
#include <string.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "cas/directory.h"
#include "protos/arena_allocator.h"

#define ENVIRONMENT_ARENA (256u << 10)
#define ENVIRONMENT_TYPE "type.googleapis.com/toolroot.worker.v1.RunEnvironment"

static const struct metric_definition stage_definition = {
    .name = "toolroot_operation_stage_duration_seconds",
    .help = "Time that executed actions spent in each stage.",
    .type = METRIC_HISTOGRAM,
    .labels = {"stage"},
    .scale = 1e-9,
    .bounds = metric_duration_bounds,
    .bound_count = METRIC_DURATION_BOUNDS,
};

static const struct metric_definition staging_definition = {
    .name = "toolroot_staging_duration_seconds",
    .help = "Time from a worker's first look at an action's inputs to its "
	    "command, by what became of its toolchain.",
    .type = METRIC_HISTOGRAM,
    .labels = {"toolchain"},
    .scale = 1e-9,
    .bounds = metric_duration_bounds,
    .bound_count = METRIC_DURATION_BOUNDS,
};

enum toolchain { TOOLCHAIN_NONE, TOOLCHAIN_CACHED, TOOLCHAIN_LAID_OUT, KINDS };

static const char *const toolchain_names[KINDS] = {
    "none", "cached", "laid_out"};

struct stage_metrics {
	struct metric *durations[OPERATION_STAGES];
	struct metric *staging[KINDS];
};

struct stage_metrics *
stage_metrics_new(struct metrics *metrics)
{
	struct metric_family *durations =
	    metrics_register(metrics, &stage_definition);
	struct metric_family *staging =
	    metrics_register(metrics, &staging_definition);
	struct stage_metrics *stages = xcalloc(1, sizeof(*stages));

	for (int i = 0; i < OPERATION_STAGES; i++) {
		const char *name[] = {
		    operation_stage_name((enum operation_stage)i)};

		stages->durations[i] = metric_series(durations, name);
	}
	for (int i = 0; i < KINDS; i++)
		stages->staging[i] =
		    metric_series(staging, &toolchain_names[i]);
	return stages;
}

void
stage_metrics_free(struct stage_metrics *stages)
{
	free(stages);
}

/* Nanoseconds since 1970; -1 when absent or out of range. */
static int64_t
time_of(const Google__Protobuf__Timestamp *stamp)
{
	if (stamp == NULL || stamp->seconds < 0 ||
	    stamp->seconds > INT64_MAX / 1000000000 - 1 || stamp->nanos < 0 ||
	    stamp->nanos > 999999999)
		return -1;
	return stamp->seconds * 1000000000 + stamp->nanos;
}

/* -1 where it cannot be told. */
static int64_t
between(const Google__Protobuf__Timestamp *from,
    const Google__Protobuf__Timestamp *to)
{
	int64_t start = time_of(from);
	int64_t end = time_of(to);

	return start >= 0 && end >= start ? end - start : -1;
}

static uint64_t
size_of(const Reapi__Digest *digest)
{
	return digest != NULL && digest->size_bytes > 0
		   ? (uint64_t)digest->size_bytes
		   : 0;
}

static uint64_t
output_bytes(const Reapi__ActionResult *result)
{
	uint64_t bytes =
	    size_of(result->stdout_digest) + size_of(result->stderr_digest);

	for (size_t i = 0; i < result->n_output_files; i++)
		bytes += size_of(result->output_files[i]->digest);
	return bytes;
}

void
stage_read(const Reapi__ActionResult *result, struct operation_run *run)
{
	const Reapi__ExecutedActionMetadata *times =
	    result != NULL ? result->execution_metadata : NULL;

	*run = (struct operation_run){.told = times != NULL};
	if (times == NULL)
		return;
	run->exit_code = result->exit_code;
	run->output_bytes = output_bytes(result);
	run->ns[STAGE_QUEUE] =
	    between(times->queued_timestamp, times->worker_start_timestamp);
	run->ns[STAGE_FETCH] = between(times->input_fetch_start_timestamp,
	    times->input_fetch_completed_timestamp);
	run->ns[STAGE_STAGE] = between(times->input_fetch_completed_timestamp,
	    times->execution_start_timestamp);
	run->ns[STAGE_RUN] = between(times->execution_start_timestamp,
	    times->execution_completed_timestamp);
	run->ns[STAGE_COLLECT] = between(times->execution_completed_timestamp,
	    times->output_upload_start_timestamp);
	run->ns[STAGE_UPLOAD] = between(times->output_upload_start_timestamp,
	    times->output_upload_completed_timestamp);
}

/* What the worker tells of the action's trees. */
static enum toolchain
toolchain_of(const Reapi__ExecutedActionMetadata *metadata)
{
	enum toolchain kind = TOOLCHAIN_NONE;

	for (size_t i = 0; i < metadata->n_auxiliary_metadata; i++) {
		const Google__Protobuf__Any *any =
		    metadata->auxiliary_metadata[i];
		const Workerapi__RunEnvironment *environment;
		struct error ignored;
		struct arena arena;

		if (strcmp(any->type_url, ENVIRONMENT_TYPE) != 0)
			continue;
		arena_init(&arena, ENVIRONMENT_ARENA);
		environment = protos_unpack(&arena,
		    &workerapi__run_environment__descriptor,
		    directory_str(any->value), &ignored);
		if (environment != NULL && environment->n_trees > 0)
			kind = environment->trees_laid_out > 0
				   ? TOOLCHAIN_LAID_OUT
				   : TOOLCHAIN_CACHED;
		arena_clear(&arena);
	}
	return kind;
}

void
stage_metrics_observe(
    struct stage_metrics *stages, const Reapi__ActionResult *result)
{
	const Reapi__ExecutedActionMetadata *times =
	    result != NULL ? result->execution_metadata : NULL;
	struct operation_run run;
	int64_t staging;

	if (stages == NULL || times == NULL)
		return;
	stage_read(result, &run);
	for (int i = 0; i < OPERATION_STAGES; i++) {
		if (run.ns[i] >= 0)
			metric_observe(stages->durations[i], run.ns[i]);
	}
	staging = between(times->input_fetch_start_timestamp,
	    times->execution_start_timestamp);
	if (staging >= 0)
		metric_observe(stages->staging[toolchain_of(times)], staging);
}
