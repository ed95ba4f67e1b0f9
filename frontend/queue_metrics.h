/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits for which kind of worker: toolroot_queue_operations{platform} and
 * toolroot_queue_unplaceable_operations{platform}. A platform keeps its series
 * once it has waited; past QUEUE_PLATFORMS_MAX they share "other". Collected
 * before each rendering.
 */
#ifndef TOOLROOT_FRONTEND_QUEUE_METRICS_H
#define TOOLROOT_FRONTEND_QUEUE_METRICS_H

struct metrics;
struct queue_metrics;
struct scheduler;

#define QUEUE_PLATFORMS_MAX 32

struct queue_metrics *queue_metrics_new(
    struct metrics *metrics, struct scheduler *scheduler);
/* Not before metrics has rendered for the last time. NULL is allowed. */
void queue_metrics_free(struct queue_metrics *queues);

#endif
