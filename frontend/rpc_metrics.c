/* SPDX-License-Identifier: Apache-2.0 */
/* A table from method path to its series, constant once it is made. */
#include "frontend/rpc_metrics.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "rpc/call.h"
#include "rpc/server.h"

#define CODE_COUNT ((size_t)ERROR_UNAUTHENTICATED + 1)

static const struct metric_definition requests_definition = {
    .name = "toolroot_rpc_requests_total",
    .help = "Finished RPCs by method and gRPC status code.",
    .type = METRIC_COUNTER,
    .labels = {"method", "code"},
    /* Bounded by the methods that we register; the default would be less. */
    .max_series = 4000,
};

static const struct metric_definition duration_definition = {
    .name = "toolroot_rpc_duration_seconds",
    .help = "Time from the arrival of an RPC to its end.",
    .type = METRIC_HISTOGRAM,
    .labels = {"method"},
    .scale = 1e-9,
    .bounds = metric_duration_bounds,
    .bound_count = METRIC_DURATION_BOUNDS,
};

struct method_metrics {
	struct metric *requests[CODE_COUNT];
	struct metric *duration;
};

struct rpc_metrics {
	struct map by_path;             /* path -> struct method_metrics */
	struct method_metrics *methods; /* method_count + 1; last: "other" */
	size_t method_count;
};

static void
method_metrics_init(struct method_metrics *method, const char *name,
    struct metric_family *requests, struct metric_family *duration)
{
	const char *values[METRIC_LABELS_MAX] = {name};

	for (size_t code = 0; code < CODE_COUNT; code++) {
		values[1] = error_code_name((enum error_code)code);
		method->requests[code] = metric_series(requests, values);
	}
	method->duration = metric_series(duration, values);
}

struct rpc_metrics *
rpc_metrics_new(struct metrics *metrics, const struct rpc_method *methods,
    size_t method_count)
{
	struct rpc_metrics *rpc_metrics = xcalloc(1, sizeof(*rpc_metrics));
	struct metric_family *requests =
	    metrics_register(metrics, &requests_definition);
	struct metric_family *duration =
	    metrics_register(metrics, &duration_definition);

	map_init(&rpc_metrics->by_path);
	rpc_metrics->method_count = method_count;
	rpc_metrics->methods =
	    xcalloc(method_count + 1, sizeof(*rpc_metrics->methods));
	for (size_t i = 0; i < method_count; i++) {
		/* Without the leading slash, as other gRPC metrics have it. */
		method_metrics_init(&rpc_metrics->methods[i],
		    methods[i].path + 1, requests, duration);
		map_put(&rpc_metrics->by_path, str_from(methods[i].path),
		    &rpc_metrics->methods[i]);
	}
	method_metrics_init(
	    &rpc_metrics->methods[method_count], "other", requests, duration);
	return rpc_metrics;
}

void
rpc_metrics_free(struct rpc_metrics *rpc_metrics)
{
	if (rpc_metrics == NULL)
		return;
	map_clear(&rpc_metrics->by_path);
	free(rpc_metrics->methods);
	free(rpc_metrics);
}

void
rpc_metrics_count(struct rpc_metrics *rpc_metrics, struct str path, int status,
    int64_t duration_ns)
{
	struct method_metrics *method = map_get(&rpc_metrics->by_path, path);

	if (method == NULL)
		method = &rpc_metrics->methods[rpc_metrics->method_count];
	if (status < 0 || (size_t)status >= CODE_COUNT)
		status = ERROR_UNKNOWN;
	metric_add(method->requests[status], 1);
	metric_observe(method->duration, duration_ns);
}

void
rpc_metrics_finished(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie)
{
	rpc_metrics_count(cookie, rpc_call_path(call), status, duration_ns);
}
