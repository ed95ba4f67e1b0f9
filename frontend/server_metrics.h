/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics that show the status report: build and start, store usage,
 * workers and operations. They are copied before each rendering.
 */
#ifndef TOOLROOT_FRONTEND_SERVER_METRICS_H
#define TOOLROOT_FRONTEND_SERVER_METRICS_H

#include "frontend/status.h"

struct metrics;
struct server_metrics;

/* Free it after metrics has rendered for the last time. */
struct server_metrics *server_metrics_new(
    struct metrics *metrics, status_report_fn *report, void *cookie);
/* NULL is allowed. */
void server_metrics_free(struct server_metrics *server_metrics);

#endif
