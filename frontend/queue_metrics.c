/* SPDX-License-Identifier: Apache-2.0 */
/* All known series are set anew each time: those of queues that are gone to
 * 0. */
#include "frontend/queue_metrics.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/metrics.h"
#include "executor/scheduler_figures.h"

/* What is above is not looked at; far more kinds of workers than anybody has.
 */
#define QUEUES_MAX 1000

static const struct metric_definition queued_definition = {
    .name = "toolroot_queue_operations",
    .help = "Operations that wait for a worker, by the platform properties "
	    "that decide which one.",
    .type = METRIC_GAUGE,
    .labels = {"platform"},
    .max_series = QUEUE_PLATFORMS_MAX,
};

static const struct metric_definition unplaceable_definition = {
    .name = "toolroot_queue_unplaceable_operations",
    .help = "Of them: no worker that is connected can run them.",
    .type = METRIC_GAUGE,
    .labels = {"platform"},
    .max_series = QUEUE_PLATFORMS_MAX,
};

struct known {
	struct metric *queued;
	struct metric *unplaceable;
	int64_t queued_sum;
	int64_t unplaceable_sum;
};

struct queue_metrics {
	struct scheduler *scheduler;
	struct metric_family *queued;
	struct metric_family *unplaceable;
	/* Guards what follows: renderings may overlap. */
	pthread_mutex_t lock;
	struct queue_figure *figures; /* scratch, QUEUES_MAX many */
	struct known known[QUEUE_PLATFORMS_MAX + 1];
	size_t known_count;
};

/* Under the lock. */
static struct known *
known_of(struct queue_metrics *queues, const char *platform)
{
	const char *values[] = {platform};
	struct metric *queued = metric_series(queues->queued, values);
	struct known *known;

	for (size_t i = 0; i < queues->known_count; i++) {
		if (queues->known[i].queued == queued)
			return &queues->known[i];
	}
	known = &queues->known[queues->known_count++];
	known->queued = queued;
	known->unplaceable = metric_series(queues->unplaceable, values);
	return known;
}

static void
collect(void *cookie)
{
	struct queue_metrics *queues = cookie;
	size_t count;

	pthread_mutex_lock(&queues->lock);
	count = scheduler_queue_figures(
	    queues->scheduler, queues->figures, QUEUES_MAX);
	for (size_t i = 0; i < queues->known_count; i++)
		queues->known[i].queued_sum = queues->known[i].unplaceable_sum =
		    0;
	for (size_t i = 0; i < count; i++) {
		const struct queue_figure *figure = &queues->figures[i];
		struct known *known = known_of(queues, figure->platform);

		known->queued_sum += (int64_t)figure->queued;
		if (figure->unplaceable)
			known->unplaceable_sum += (int64_t)figure->queued;
	}
	for (size_t i = 0; i < queues->known_count; i++) {
		metric_set(
		    queues->known[i].queued, queues->known[i].queued_sum);
		metric_set(queues->known[i].unplaceable,
		    queues->known[i].unplaceable_sum);
	}
	pthread_mutex_unlock(&queues->lock);
}

struct queue_metrics *
queue_metrics_new(struct metrics *metrics, struct scheduler *scheduler)
{
	struct queue_metrics *queues = xcalloc(1, sizeof(*queues));

	queues->scheduler = scheduler;
	queues->queued = metrics_register(metrics, &queued_definition);
	queues->unplaceable =
	    metrics_register(metrics, &unplaceable_definition);
	queues->figures = xcalloc(QUEUES_MAX, sizeof(*queues->figures));
	pthread_mutex_init(&queues->lock, NULL);
	/* So that the families are there from the start. */
	known_of(queues, "");
	metrics_on_collect(metrics, collect, queues);
	return queues;
}

void
queue_metrics_free(struct queue_metrics *queues)
{
	if (queues == NULL)
		return;
	pthread_mutex_destroy(&queues->lock);
	free(queues->figures);
	free(queues);
}
