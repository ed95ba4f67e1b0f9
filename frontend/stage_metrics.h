/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What executed actions spent their time with, from what workers tell with
 * each result: toolroot_operation_stage_duration_seconds{stage}, and how long
 * it took until the command ran, by whether its toolchain was laid out
 * already: toolroot_staging_duration_seconds{toolchain}. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_STAGE_METRICS_H
#define TOOLROOT_FRONTEND_STAGE_METRICS_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "executor/operation.h"

struct metrics;
struct stage_metrics;

struct stage_metrics *stage_metrics_new(struct metrics *metrics);
/* NULL is allowed. */
void stage_metrics_free(struct stage_metrics *stages);
/* stages may be NULL. A stage whose times are absent or run backwards is left
 * out. */
void stage_metrics_observe(
    struct stage_metrics *stages, const Reapi__ActionResult *result);

/* The same for one operation. Pure. */
void stage_read(const Reapi__ActionResult *result, struct operation_run *run);

#endif
