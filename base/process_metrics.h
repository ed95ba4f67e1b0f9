/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Prometheus' own client libraries tell of a process, under their names:
 * CPU time, memory, descriptors, read from /proc before each rendering.
 */
#ifndef TOOLROOT_BASE_PROCESS_METRICS_H
#define TOOLROOT_BASE_PROCESS_METRICS_H

struct metrics;
struct process_metrics;

/* Free it after metrics has rendered for the last time. */
struct process_metrics *process_metrics_new(struct metrics *metrics);
/* NULL is allowed. */
void process_metrics_free(struct process_metrics *process);

#endif
