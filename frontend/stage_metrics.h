/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long the stages of actions take, from what workers tell with each
 * result: toolroot_operation_stage_duration_seconds{stage}, where stage is
 * queue, fetch, run or upload. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_STAGE_METRICS_H
#define TOOLROOT_FRONTEND_STAGE_METRICS_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

struct metrics;
struct stage_metrics;

struct stage_metrics *stage_metrics_new(struct metrics *metrics);
/* NULL is allowed. */
void stage_metrics_free(struct stage_metrics *stages);
/* Both may be NULL. A stage whose times are absent or run backwards is left
 * out. */
void stage_metrics_observe(
    struct stage_metrics *stages, const Reapi__ExecutedActionMetadata *times);

#endif
