/* SPDX-License-Identifier: Apache-2.0 */
/* One table says which field of the report each metric shows. */
#include "frontend/server_metrics.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "frontend/metrics.h"

#define FIELD(name) offsetof(struct status_report, name)

static const struct metric_definition build_definition = {
    .name = "toolroot_build_info",
    .help = "Always 1; the labels tell what runs.",
    .type = METRIC_GAUGE,
    .labels = {"version"},
};

static const struct metric_definition ready_definition = {
    .name = "toolroot_ready",
    .help = "Whether the server takes work.",
    .type = METRIC_GAUGE,
};

static const struct metric_definition start_definition = {
    .name = "toolroot_start_time_seconds",
    .help = "When the server started, in seconds since 1970.",
    .type = METRIC_GAUGE,
    .scale = 1e-9,
};

/* Fields that are shown as they are, all uint64_t. */
struct shown {
	size_t offset;
	struct metric_definition definition;
};

#define SHOWN(field, kind, metric_name, metric_help) \
	{ \
		FIELD(field), \
		{ \
			.name = "toolroot_" metric_name, \
			.help = (metric_help), .type = METRIC_##kind \
		} \
	}

static const struct shown shown[] = {
    SHOWN(store.bytes, GAUGE, "store_bytes",
	"Bytes that the store takes on disk, reservations included."),
    SHOWN(store.max_bytes, GAUGE, "store_limit_bytes",
	"Bytes at which writes are refused."),
    SHOWN(store.blobs, GAUGE, "store_blobs", "Blobs in the store."),
    SHOWN(store.action_results, GAUGE, "store_action_results",
	"Action results in the store."),
    SHOWN(store.segments, GAUGE, "store_segments",
	"Segment files, which hold the small blobs."),
    SHOWN(store.dropped, COUNTER, "store_dropped_blobs_total",
	"Blobs that could not be read back intact and were dropped."),
    SHOWN(store.commits, COUNTER, "store_commits_total",
	"Group commits to the store."),
    SHOWN(store.committed_blobs, COUNTER, "store_committed_blobs_total",
	"Blobs made durable by group commits."),
    SHOWN(workers, GAUGE, "workers", "Workers that are connected."),
    SHOWN(slots, GAUGE, "worker_slots",
	"Actions that the connected workers can run at once."),
    SHOWN(slots_busy, GAUGE, "worker_slots_busy",
	"Slots of workers that run an action."),
    SHOWN(queued, GAUGE, "operations_queued",
	"Operations that wait for a worker."),
    SHOWN(executing, GAUGE, "operations_executing",
	"Operations that a worker has."),
};

#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

struct server_metrics {
	status_report_fn *report;
	void *cookie;
	struct metric *ready;
	struct metric *start;
	struct metric *shown[SHOWN_COUNT];
};

static void
server_metrics_collect(void *cookie)
{
	const struct server_metrics *server_metrics = cookie;
	struct status_report report = {.grpc_address = ""};

	server_metrics->report(&report, server_metrics->cookie);
	metric_set(server_metrics->ready, report.not_ready == NULL);
	metric_set(server_metrics->start, report.started_ns);
	for (size_t i = 0; i < SHOWN_COUNT; i++) {
		const char *field = (const char *)&report + shown[i].offset;
		uint64_t value;

		memcpy(&value, field, sizeof(value));
		metric_set(server_metrics->shown[i], (int64_t)value);
	}
}

struct server_metrics *
server_metrics_new(
    struct metrics *metrics, status_report_fn *report, void *cookie)
{
	struct server_metrics *server_metrics =
	    xcalloc(1, sizeof(*server_metrics));
	const char *version[] = {TOOLROOT_VERSION};

	server_metrics->report = report;
	server_metrics->cookie = cookie;
	metric_set(metric_series(
		       metrics_register(metrics, &build_definition), version),
	    1);
	server_metrics->ready = metrics_single(metrics, &ready_definition);
	server_metrics->start = metrics_single(metrics, &start_definition);
	for (size_t i = 0; i < SHOWN_COUNT; i++)
		server_metrics->shown[i] =
		    metrics_single(metrics, &shown[i].definition);
	metrics_on_collect(metrics, server_metrics_collect, server_metrics);
	return server_metrics;
}

void
server_metrics_free(struct server_metrics *server_metrics)
{
	free(server_metrics);
}
