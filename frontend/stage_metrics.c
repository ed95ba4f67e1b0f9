/* SPDX-License-Identifier: Apache-2.0 */
/* One series a stage, made at the start. */
#include "frontend/stage_metrics.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/metrics.h"

enum stage { STAGE_QUEUE, STAGE_FETCH, STAGE_RUN, STAGE_UPLOAD, STAGES };

static const char *const stage_names[STAGES] = {
    "queue", "fetch", "run", "upload"};

static const struct metric_definition definition = {
    .name = "toolroot_operation_stage_duration_seconds",
    .help = "Time that executed actions spent in each stage.",
    .type = METRIC_HISTOGRAM,
    .labels = {"stage"},
    .scale = 1e-9,
    .bounds = metric_duration_bounds,
    .bound_count = METRIC_DURATION_BOUNDS,
};

struct stage_metrics {
	struct metric *durations[STAGES];
};

struct stage_metrics *
stage_metrics_new(struct metrics *metrics)
{
	struct metric_family *family = metrics_register(metrics, &definition);
	struct stage_metrics *stages = xcalloc(1, sizeof(*stages));

	for (int i = 0; i < STAGES; i++)
		stages->durations[i] = metric_series(family, &stage_names[i]);
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

static void
observe(struct metric *metric, const Google__Protobuf__Timestamp *from,
    const Google__Protobuf__Timestamp *to)
{
	int64_t start = time_of(from);
	int64_t end = time_of(to);

	if (start >= 0 && end >= start)
		metric_observe(metric, end - start);
}

void
stage_metrics_observe(
    struct stage_metrics *stages, const Reapi__ExecutedActionMetadata *times)
{
	if (stages == NULL || times == NULL)
		return;
	observe(stages->durations[STAGE_QUEUE], times->queued_timestamp,
	    times->worker_start_timestamp);
	observe(stages->durations[STAGE_FETCH],
	    times->input_fetch_start_timestamp,
	    times->input_fetch_completed_timestamp);
	observe(stages->durations[STAGE_RUN], times->execution_start_timestamp,
	    times->execution_completed_timestamp);
	observe(stages->durations[STAGE_UPLOAD],
	    times->output_upload_start_timestamp,
	    times->output_upload_completed_timestamp);
}
