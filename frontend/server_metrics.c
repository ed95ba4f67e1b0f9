/* SPDX-License-Identifier: Apache-2.0 */
/* One table says which field of the report each metric shows. */
#include "frontend/server_metrics.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/metrics.h"

#define FIELD(name) offsetof(struct status_report, name)

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "fields are copied alike");

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

static const struct metric_definition misses_definition = {
    .name = "toolroot_action_misses_total",
    .help = "Actions that were not in the cache and were then made, by cause.",
    .type = METRIC_COUNTER,
    .labels = {"cause"},
};

/* Fields that are shown as they are, all uint64_t or size_t. */
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
    SHOWN(scrub.blobs, COUNTER, "store_scrubbed_blobs_total",
	"Blobs that the scrub has read and compared with their digests."),
    SHOWN(scrub.bytes, COUNTER, "store_scrubbed_bytes_total",
	"Bytes that the scrub has read."),
    SHOWN(scrub.passes, COUNTER, "store_scrub_passes_total",
	"Passes over the whole store that the scrub has finished."),
    SHOWN(collector.collections, COUNTER, "store_collections_total",
	"Collections that ran."),
    SHOWN(collector.failures, COUNTER, "store_collection_failures_total",
	"Collections that failed."),
    SHOWN(collector.blobs, COUNTER, "store_evicted_blobs_total",
	"Blobs that collections removed."),
    SHOWN(collector.bytes, COUNTER, "store_evicted_bytes_total",
	"What those blobs and action results took."),
    SHOWN(collector.results, COUNTER, "store_evicted_action_results_total",
	"Action results that collections removed."),
    SHOWN(collector.moved_bytes, COUNTER, "store_moved_bytes_total",
	"Bytes that compaction of segments wrote anew."),
    SHOWN(collector.youngest_age_s, GAUGE, "store_youngest_evicted_age_seconds",
	"How long the youngest blob or result that the last collection removed "
	"had not been used; 0: none was removed. Near min-age, the store is "
	"too small."),
    SHOWN(execution.scheduler.workers, GAUGE, "workers",
	"Workers that are connected."),
    SHOWN(execution.scheduler.slots, GAUGE, "worker_slots",
	"Actions that the connected workers can run at once."),
    SHOWN(execution.scheduler.slots_busy, GAUGE, "worker_slots_busy",
	"Slots of workers that have an action."),
    SHOWN(execution.scheduler.queued, GAUGE, "operations_queued",
	"Operations that wait for a worker."),
    SHOWN(execution.scheduler.leased, GAUGE, "operations_executing",
	"Operations that a worker has."),
    SHOWN(execution.scheduler.storing, GAUGE, "operations_storing",
	"Operations whose result is being made durable."),
    SHOWN(execution.streams, GAUGE, "execution_streams",
	"Clients that wait for an operation."),
    SHOWN(execution.cache_hits, COUNTER, "execution_cache_hits_total",
	"Execute calls that were answered from the action cache."),
    SHOWN(explainer.dropped, COUNTER, "action_misses_unexplained_total",
	"Misses and results that were not looked at: too many waited."),
    SHOWN(explainer.waiting, GAUGE, "action_misses_waiting",
	"Misses and results that wait to be looked at."),
    SHOWN(execution.scheduler.submitted, COUNTER, "operations_submitted_total",
	"Operations that were queued."),
    SHOWN(execution.scheduler.merged, COUNTER, "operations_merged_total",
	"Execute calls that joined an equal operation in flight."),
    SHOWN(execution.scheduler.refused, COUNTER, "operations_refused_total",
	"Execute calls that were refused: no worker matches, or too many."),
    SHOWN(execution.scheduler.completed, COUNTER, "operations_completed_total",
	"Operations that ended with an answer of a worker."),
    SHOWN(execution.scheduler.failed, COUNTER, "operations_failed_total",
	"Operations that ended with an error of the server or of workers."),
    SHOWN(execution.scheduler.cancelled, COUNTER, "operations_cancelled_total",
	"Of the failed: cancelled on request."),
    SHOWN(execution.scheduler.abandoned, COUNTER, "operations_abandoned_total",
	"Of the failed: nobody waited for them any more."),
    SHOWN(execution.scheduler.leases_offered, COUNTER, "leases_offered_total",
	"Attempts of workers at operations."),
    SHOWN(execution.scheduler.leases_lost, COUNTER, "leases_lost_total",
	"Attempts that ended with the worker lost or too late."),
    SHOWN(execution.scheduler.requeued, COUNTER, "operations_requeued_total",
	"Operations that went back to the queue for another attempt."),
    SHOWN(execution.scheduler.sessions_lost, COUNTER,
	"worker_sessions_lost_total", "Workers that fell silent."),
    SHOWN(calls_ended_for_memory, COUNTER, "memory_ended_calls_total",
	"Calls that were ended while they waited for their peer, since memory "
	"was short."),
};

#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

struct server_metrics {
	status_report_fn *report;
	void *cookie;
	struct metric *ready;
	struct metric *start;
	struct metric *misses[EXPLAIN_CAUSES];
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
	for (size_t i = 0; i < EXPLAIN_CAUSES; i++)
		metric_set(server_metrics->misses[i],
		    (int64_t)report.explainer.misses[i]);
	for (size_t i = 0; i < SHOWN_COUNT; i++) {
		const char *field = (const char *)&report + shown[i].offset;
		uint64_t value;

		memcpy(&value, field, sizeof(value));
		metric_set(server_metrics->shown[i], (int64_t)value);
	}
}

static void
server_metrics_add_misses(
    struct server_metrics *server_metrics, struct metrics *metrics)
{
	struct metric_family *family =
	    metrics_register(metrics, &misses_definition);

	for (int i = 0; i < EXPLAIN_CAUSES; i++) {
		const char *cause[] = {
		    explain_cause_name((enum explain_cause)i)};

		server_metrics->misses[i] = metric_series(family, cause);
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
	server_metrics_add_misses(server_metrics, metrics);
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
