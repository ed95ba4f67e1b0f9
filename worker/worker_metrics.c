/* SPDX-License-Identifier: Apache-2.0 */
/* Series made at the start; what caches know is copied when asked for. */
#include "worker/worker_metrics.h"

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "base/process_metrics.h"
#include "cas/store.h"
#include "worker/lease_table.h"
#include "worker/spawner.h"
#include "worker/tree_cache.h"
#include "worker/worker_state.h"

#define CODES ((size_t)ERROR_UNAUTHENTICATED + 1)
#define STATUS_UNAVAILABLE 503

enum stage { FETCH, STAGE, RUN, COLLECT, UPLOAD, STAGES };
static const char *const stage_names[STAGES] = {
    "fetch", "stage", "run", "collect", "upload"};

enum tree_source { TREE_CACHED, TREE_LAID_OUT, TREE_SOURCES };
static const char *const tree_sources[TREE_SOURCES] = {"cached", "laid_out"};

static const struct metric_definition info_definition = {
    .name = "toolroot_worker_info",
    .help = "Always 1; the labels tell what runs.",
    .type = METRIC_GAUGE,
    .labels = {"version", "sandbox"},
};
static const struct metric_definition actions_definition = {
    .name = "toolroot_worker_actions_total",
    .help = "Actions that ended here, by the status that the server was told.",
    .type = METRIC_COUNTER,
    .labels = {"code"},
};
static const struct metric_definition stages_definition = {
    .name = "toolroot_worker_stage_duration_seconds",
    .help = "Time that actions spent in each stage on this worker.",
    .type = METRIC_HISTOGRAM,
    .labels = {"stage"},
    .scale = 1e-9,
    .bounds = metric_duration_bounds,
    .bound_count = METRIC_DURATION_BOUNDS,
};
static const struct metric_definition trees_definition = {
    .name = "toolroot_worker_tree_requests_total",
    .help = "Toolchain trees that actions asked for, by whether they were "
	    "laid out already.",
    .type = METRIC_COUNTER,
    .labels = {"result"},
};

/* What is copied when somebody asks. */
enum shown {
	CONNECTED,
	SLOTS,
	SLOTS_BUSY,
	TREES,
	TREE_BYTES,
	TREES_MADE,
	TREES_EVICTED,
	STORE_BYTES,
	STORE_LIMIT,
	SHOWN,
};
static const struct metric_definition shown_definitions[SHOWN] = {
    [CONNECTED] = {.name = "toolroot_worker_connected",
	.help = "Whether a server has welcomed the worker.",
	.type = METRIC_GAUGE},
    [SLOTS] = {.name = "toolroot_worker_slots",
	.help = "Actions that can run at once.",
	.type = METRIC_GAUGE},
    [SLOTS_BUSY] = {.name = "toolroot_worker_slots_busy",
	.help = "Slots that have an action.",
	.type = METRIC_GAUGE},
    [TREES] = {.name = "toolroot_worker_trees",
	.help = "Toolchain trees that are laid out.",
	.type = METRIC_GAUGE},
    [TREE_BYTES] = {.name = "toolroot_worker_tree_cache_bytes",
	.help = "Bytes that they take.",
	.type = METRIC_GAUGE},
    [TREES_MADE] = {.name = "toolroot_worker_trees_made_total",
	.help = "Trees that were laid out.",
	.type = METRIC_COUNTER},
    [TREES_EVICTED] = {.name = "toolroot_worker_trees_evicted_total",
	.help = "Trees that were removed for others.",
	.type = METRIC_COUNTER},
    [STORE_BYTES] = {.name = "toolroot_worker_store_bytes",
	.help = "Bytes of the store that inputs are read from; with "
		"--local-store that of the server.",
	.type = METRIC_GAUGE},
    [STORE_LIMIT] = {.name = "toolroot_worker_store_limit_bytes",
	.help = "What it may take; 0 with --local-store, where the "
		"server tells it.",
	.type = METRIC_GAUGE},
};

struct worker_metrics {
	struct worker *worker;
	struct metrics *metrics;
	struct process_metrics *process;
	struct http_server *http;
	struct metric *actions[CODES];
	struct metric *stages[STAGES];
	struct metric *trees[TREE_SOURCES];
	struct metric *shown[SHOWN];
};

/* --- collecting ----------------------------------------------------------- */

/* The store is opened with the first session. */
static void
show_store(const struct worker_metrics *metrics)
{
	struct store *store = atomic_load(&metrics->worker->shown_store);
	struct store_usage usage;

	if (store == NULL)
		return;
	store_usage(store, &usage);
	metric_set(metrics->shown[STORE_BYTES], (int64_t)usage.bytes);
	/* What the server's may take, the server alone knows. */
	if (metrics->worker->options->local_store == NULL)
		metric_set(
		    metrics->shown[STORE_LIMIT], (int64_t)usage.max_bytes);
}

static void
collect(void *cookie)
{
	const struct worker_metrics *metrics = cookie;
	struct worker *worker = metrics->worker;
	struct tree_cache_usage trees;

	metric_set(metrics->shown[CONNECTED], atomic_load(&worker->connected));
	metric_set(metrics->shown[SLOTS], (int64_t)worker->options->slots);
	metric_set(metrics->shown[SLOTS_BUSY],
	    (int64_t)lease_table_count(worker->leases));
	tree_cache_usage(worker->trees, &trees);
	metric_set(metrics->shown[TREES], (int64_t)trees.trees);
	metric_set(metrics->shown[TREE_BYTES], (int64_t)trees.bytes);
	metric_set(metrics->shown[TREES_MADE], (int64_t)trees.made);
	metric_set(metrics->shown[TREES_EVICTED], (int64_t)trees.evicted);
	show_store(metrics);
}

static void
add_series(struct worker_metrics *metrics)
{
	struct metric_family *actions =
	    metrics_register(metrics->metrics, &actions_definition);
	struct metric_family *stages =
	    metrics_register(metrics->metrics, &stages_definition);
	struct metric_family *trees =
	    metrics_register(metrics->metrics, &trees_definition);

	for (size_t i = 0; i < CODES; i++)
		metrics->actions[i] = metric_series(actions,
		    (const char *[]){error_code_name((enum error_code)i)});
	for (int i = 0; i < STAGES; i++)
		metrics->stages[i] = metric_series(stages, &stage_names[i]);
	for (int i = 0; i < TREE_SOURCES; i++)
		metrics->trees[i] = metric_series(trees, &tree_sources[i]);
	for (int i = 0; i < SHOWN; i++)
		metrics->shown[i] =
		    metrics_single(metrics->metrics, &shown_definitions[i]);
}

struct worker_metrics *
worker_metrics_new(struct worker *worker)
{
	struct worker_metrics *metrics = xcalloc(1, sizeof(*metrics));
	const char *info[] = {
	    TOOLROOT_VERSION, sandbox_tier_name(spawner_tier(worker->spawner))};

	metrics->worker = worker;
	metrics->metrics = metrics_new();
	metrics->process = process_metrics_new(metrics->metrics);
	metric_set(
	    metric_series(
		metrics_register(metrics->metrics, &info_definition), info),
	    1);
	add_series(metrics);
	metrics_on_collect(metrics->metrics, collect, metrics);
	return metrics;
}

void
worker_metrics_free(struct worker_metrics *metrics)
{
	if (metrics == NULL)
		return;
	process_metrics_free(metrics->process);
	metrics_free(metrics->metrics);
	free(metrics);
}

/* --- counting ------------------------------------------------------------- */

static void
observe(struct metric *metric, const Google__Protobuf__Timestamp *from,
    const Google__Protobuf__Timestamp *to)
{
	/* Of our own making, within a lease's life. */
	if (from != NULL && to != NULL)
		metric_observe(
		    metric, (to->seconds - from->seconds) * 1000000000 +
				to->nanos - from->nanos);
}

void
worker_metrics_count(
    struct worker_metrics *metrics, const struct worker_lease_end *end)
{
	const Reapi__ExecutedActionMetadata *times = end->metadata;

	metric_add(metrics->actions[end->code], 1);
	metric_add(metrics->trees[TREE_LAID_OUT], (int64_t)end->laid_out);
	metric_add(
	    metrics->trees[TREE_CACHED], (int64_t)(end->trees - end->laid_out));
	if (times == NULL)
		return;
	observe(metrics->stages[FETCH], times->input_fetch_start_timestamp,
	    times->input_fetch_completed_timestamp);
	observe(metrics->stages[STAGE], times->input_fetch_completed_timestamp,
	    times->execution_start_timestamp);
	observe(metrics->stages[RUN], times->execution_start_timestamp,
	    times->execution_completed_timestamp);
	observe(metrics->stages[COLLECT], times->execution_completed_timestamp,
	    times->output_upload_start_timestamp);
	observe(metrics->stages[UPLOAD], times->output_upload_start_timestamp,
	    times->output_upload_completed_timestamp);
}

/* --- pages ---------------------------------------------------------------- */

static int
page_index(void *cookie, const char *accept, struct http_answer *answer)
{
	const struct worker_metrics *metrics = cookie;

	(void)accept;
	return buffer_printf(answer->body,
	    "Toolroot %s, worker %s of %s.\n\n"
	    "  /metrics  for Prometheus\n"
	    "  /healthz  200 while the process answers\n"
	    "  /readyz   200 while it takes leases\n",
	    TOOLROOT_VERSION, metrics->worker->name,
	    metrics->worker->options->server);
}

static int
page_metrics(void *cookie, const char *accept, struct http_answer *answer)
{
	const struct worker_metrics *metrics = cookie;

	return metrics_page(metrics->metrics, accept, answer);
}

static int
page_health(void *cookie, const char *accept, struct http_answer *answer)
{
	(void)cookie;
	(void)accept;
	return buffer_printf(answer->body, "ok\n");
}

static int
page_ready(void *cookie, const char *accept, struct http_answer *answer)
{
	const struct worker_metrics *metrics = cookie;
	const struct worker *worker = metrics->worker;

	if (atomic_load(&worker->signals) > 0) {
		answer->status = STATUS_UNAVAILABLE;
		return buffer_printf(
		    answer->body, "the worker is about to end\n");
	}
	if (!atomic_load(&worker->connected)) {
		answer->status = STATUS_UNAVAILABLE;
		return buffer_printf(answer->body,
		    "no server has welcomed the worker: %s\n",
		    worker->options->server);
	}
	return page_health(cookie, accept, answer);
}

static const struct http_page pages[] = {
    {"/", page_index},
    {"/metrics", page_metrics},
    {"/healthz", page_health},
    {"/readyz", page_ready},
};

int
worker_metrics_serve(struct worker_metrics *metrics, const char *listen,
    bool insecure_listen, struct error *err)
{
	const struct http_options options = {.listen = listen,
	    .insecure_listen = insecure_listen,
	    .pages = pages,
	    .page_count = sizeof(pages) / sizeof(pages[0]),
	    .absent = "There is no such page. There are /, /metrics, /healthz "
		      "and /readyz.\n",
	    .refused = "Only GET and HEAD are served here.\n",
	    .cookie = metrics};

	metrics->http = http_server_open(&options, err);
	if (metrics->http == NULL)
		return -1;
	log_info(
	    "http", "address=http://%s", http_server_address(metrics->http));
	return 0;
}

void
worker_metrics_stop(struct worker_metrics *metrics)
{
	if (metrics == NULL)
		return;
	http_server_close(metrics->http);
	metrics->http = NULL;
}
