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

static const struct metric_definition stages_definition = {
    .name = "toolroot_operations",
    .help = "Operations by what happens to them now; of those at workers as "
	    "their last heartbeat told.",
    .type = METRIC_GAUGE,
    .labels = {"stage"},
};

static const struct metric_definition workers_definition = {
    .name = "toolroot_workers",
    .help = "Workers that are connected, by how they fence actions in.",
    .type = METRIC_GAUGE,
    .labels = {"sandbox"},
};

static const struct metric_definition lookups_definition = {
    .name = "toolroot_action_cache_lookups_total",
    .help = "Look-ups of action results, by GetActionResult and Execute: hit, "
	    "miss, or incomplete (a blob of the result was gone).",
    .type = METRIC_COUNTER,
    .labels = {"result"},
};

static const struct metric_definition recovery_definition = {
    .name = "toolroot_store_recovery_seconds",
    .help = "How long that took.",
    .type = METRIC_GAUGE,
    .scale = 1e-9,
};

static const struct metric_definition certificate_definition = {
    .name = "toolroot_tls_certificate_not_after_seconds",
    .help = "When the server's certificate runs out, in seconds since 1970; "
	    "0: it has none.",
    .type = METRIC_GAUGE,
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
    SHOWN(store.available, GAUGE, "store_available_bytes",
	"Bytes that are left until writes are refused: until the limit is "
	"reached, or the disk is full."),
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
    SHOWN(scrub.pass_blobs, GAUGE, "store_scrub_pass_blobs",
	"Of them in the pass under way; by store_blobs it is how far it is."),
    SHOWN(store.recovered_blobs, GAUGE, "store_recovered_blobs",
	"Blobs read again from the log when the store was opened."),
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
    SHOWN(execution.scheduler.slots, GAUGE, "worker_slots",
	"Actions that the connected workers can run at once."),
    SHOWN(execution.scheduler.slots_busy, GAUGE, "worker_slots_busy",
	"Slots of workers that have an action."),
    SHOWN(execution.streams, GAUGE, "execution_streams",
	"Clients that wait for an operation."),
    SHOWN(execution.cache_hits, COUNTER, "execution_cache_hits_total",
	"Execute calls that were answered from the action cache."),
    SHOWN(explainer.dropped, COUNTER, "action_misses_unexplained_total",
	"Misses and results that were not looked at: too many waited."),
    SHOWN(explainer.dropped_hits, COUNTER, "action_hits_unremembered_total",
	"Hits that the history was not told of: too much waited, or it had "
	"forgotten the action. What misses later may be compared with an older "
	"action, or count as first-seen."),
    SHOWN(explainer.waiting, GAUGE, "action_misses_waiting",
	"Misses and results that wait to be looked at."),
    SHOWN(explainer.save_failures, COUNTER, "history_save_failures_total",
	"Times that what toolroot explain knows could not be stored."),
    SHOWN(explainer.unsaved, GAUGE, "history_unsaved_changes",
	"Actions whose history a crash now would forget."),
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
    SHOWN(execution.scheduler.early_outputs, COUNTER, "early_outputs_total",
	"Outputs that workers told of while the action still ran."),
    SHOWN(execution.scheduler.early_bytes, COUNTER, "early_output_bytes_total",
	"Bytes of those outputs."),
    SHOWN(execution.scheduler.sessions_lost, COUNTER,
	"worker_sessions_lost_total",
	"Workers that fell silent, or went without saying so."),
    SHOWN(calls_ended_for_memory, COUNTER, "memory_ended_calls_total",
	"Calls that were ended while they waited for their peer, since memory "
	"was short."),
};

#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

/* Before, at (lease_stage) and after a worker. */
#define STAGES_SHOWN (LEASE_STAGES + 1)
static const char *const stages_shown[STAGES_SHOWN] = {"queued", "fetching",
    "staging", "running", "collecting", "uploading", "storing"};

enum lookup { LOOKUP_HIT, LOOKUP_MISS, LOOKUP_INCOMPLETE, LOOKUP_RESULTS };
static const char *const lookups_shown[LOOKUP_RESULTS] = {
    "hit", "miss", "incomplete"};

struct server_metrics {
	status_report_fn *report;
	void *cookie;
	struct metric *ready;
	struct metric *recovery;
	struct metric *certificate;
	struct metric *stages[STAGES_SHOWN];
	struct metric *workers[SANDBOX_KINDS];
	struct metric *lookups[LOOKUP_RESULTS];
	struct metric *misses[EXPLAIN_CAUSES];
	struct metric *shown[SHOWN_COUNT];
};

static void
show_execution(const struct server_metrics *server_metrics,
    const struct scheduler_statistics *statistics)
{
	metric_set(server_metrics->stages[0], (int64_t)statistics->queued);
	for (int i = LEASE_FETCHING; i < LEASE_STAGES; i++) {
		size_t count = statistics->stages[i];

		/* One that has not told yet is where all begin. */
		if (i == LEASE_FETCHING)
			count += statistics->stages[LEASE_UNSPECIFIED];
		metric_set(server_metrics->stages[i], (int64_t)count);
	}
	metric_set(
	    server_metrics->stages[LEASE_STAGES], (int64_t)statistics->storing);
	for (int i = 0; i < SANDBOX_KINDS; i++)
		metric_set(server_metrics->workers[i],
		    (int64_t)statistics->sandboxes[i]);
}

static void
server_metrics_collect(void *cookie)
{
	const struct server_metrics *server_metrics = cookie;
	struct status_report report = {.grpc_address = ""};

	server_metrics->report(&report, server_metrics->cookie);
	metric_set(server_metrics->ready, report.not_ready == NULL);
	metric_set(server_metrics->recovery, report.store.recovery_ns);
	metric_set(server_metrics->certificate, report.certificate_not_after_s);
	show_execution(server_metrics, &report.execution.scheduler);
	metric_set(server_metrics->lookups[LOOKUP_HIT],
	    (int64_t)report.store.lookups.hits);
	metric_set(server_metrics->lookups[LOOKUP_MISS],
	    (int64_t)report.store.lookups.misses);
	metric_set(server_metrics->lookups[LOOKUP_INCOMPLETE],
	    (int64_t)report.store.lookups.incomplete);
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

/* A series for each of the names. */
static void
add_series(struct metrics *metrics, const struct metric_definition *definition,
    const char *const *names, size_t count, struct metric **series)
{
	struct metric_family *family = metrics_register(metrics, definition);

	for (size_t i = 0; i < count; i++)
		series[i] = metric_series(family, &names[i]);
}

static void
server_metrics_add_labelled(
    struct server_metrics *server_metrics, struct metrics *metrics)
{
	const char *causes[EXPLAIN_CAUSES];
	const char *sandboxes[SANDBOX_KINDS];

	for (int i = 0; i < EXPLAIN_CAUSES; i++)
		causes[i] = explain_cause_name((enum explain_cause)i);
	for (int i = 0; i < SANDBOX_KINDS; i++)
		sandboxes[i] = session_sandbox_name((enum session_sandbox)i);
	add_series(metrics, &misses_definition, causes, EXPLAIN_CAUSES,
	    server_metrics->misses);
	add_series(metrics, &lookups_definition, lookups_shown, LOOKUP_RESULTS,
	    server_metrics->lookups);
	add_series(metrics, &stages_definition, stages_shown, STAGES_SHOWN,
	    server_metrics->stages);
	add_series(metrics, &workers_definition, sandboxes, SANDBOX_KINDS,
	    server_metrics->workers);
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
	server_metrics->recovery =
	    metrics_single(metrics, &recovery_definition);
	server_metrics->certificate =
	    metrics_single(metrics, &certificate_definition);
	server_metrics_add_labelled(server_metrics, metrics);
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
