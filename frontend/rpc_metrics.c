/* SPDX-License-Identifier: Apache-2.0 */
/* A table from method path to its series, constant once it is made. */
#include "frontend/rpc_metrics.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/metrics.h"
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

enum direction { RECEIVED, SENT, DIRECTIONS };

static const struct metric_definition bytes_definitions[DIRECTIONS] = {
    [RECEIVED] = {.name = "toolroot_rpc_received_bytes_total",
	.help = "Bytes of request messages, by method and how blobs in them "
		"are compressed.",
	.type = METRIC_COUNTER,
	.labels = {"method", "compression"}},
    [SENT] = {.name = "toolroot_rpc_sent_bytes_total",
	.help = "Bytes of response messages, by method and how blobs in them "
		"are compressed.",
	.type = METRIC_COUNTER,
	.labels = {"method", "compression"}},
};

struct method_metrics {
	struct metric *requests[CODE_COUNT];
	struct metric *duration;
	/* NULL where the method moves no blobs in that form. */
	struct metric *bytes[DIRECTIONS][RPC_NOTES];
};

struct families {
	struct metric_family *requests;
	struct metric_family *duration;
	struct metric_family *bytes[DIRECTIONS];
};

struct rpc_metrics {
	struct map by_path;             /* path -> struct method_metrics */
	struct method_metrics *methods; /* method_count + 1; last: "other" */
	size_t method_count;
};

/* Those that move blobs. */
static bool
may_be_compressed(const char *name)
{
	static const char *const names[] = {
	    "google.bytestream.ByteStream/Read",
	    "google.bytestream.ByteStream/Write",
	    "build.bazel.remote.execution.v2.ContentAddressableStorage/"
	    "BatchReadBlobs",
	    "build.bazel.remote.execution.v2.ContentAddressableStorage/"
	    "BatchUpdateBlobs",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static void
method_metrics_init(struct method_metrics *method, const char *name,
    const struct families *families)
{
	static const char *const compressions[] = {"identity", "zstd"};
	const char *values[METRIC_LABELS_MAX] = {name};

	for (size_t code = 0; code < CODE_COUNT; code++) {
		values[1] = error_code_name((enum error_code)code);
		method->requests[code] =
		    metric_series(families->requests, values);
	}
	method->duration = metric_series(families->duration, values);
	for (int note = 0; note < RPC_NOTES; note++) {
		values[1] = compressions[note];
		if (note != RPC_NOTE_IDENTITY && !may_be_compressed(name))
			continue;
		for (int i = 0; i < DIRECTIONS; i++)
			method->bytes[i][note] =
			    metric_series(families->bytes[i], values);
	}
}

struct rpc_metrics *
rpc_metrics_new(struct metrics *metrics, const struct rpc_method *methods,
    size_t method_count)
{
	struct rpc_metrics *rpc_metrics = xcalloc(1, sizeof(*rpc_metrics));
	const struct families families = {
	    .requests = metrics_register(metrics, &requests_definition),
	    .duration = metrics_register(metrics, &duration_definition),
	    .bytes = {metrics_register(metrics, &bytes_definitions[RECEIVED]),
		metrics_register(metrics, &bytes_definitions[SENT])},
	};

	map_init(&rpc_metrics->by_path);
	rpc_metrics->method_count = method_count;
	rpc_metrics->methods =
	    xcalloc(method_count + 1, sizeof(*rpc_metrics->methods));
	for (size_t i = 0; i < method_count; i++) {
		/* Without the leading slash, as other gRPC metrics have it. */
		method_metrics_init(
		    &rpc_metrics->methods[i], methods[i].path + 1, &families);
		map_put(&rpc_metrics->by_path, str_from(methods[i].path),
		    &rpc_metrics->methods[i]);
	}
	method_metrics_init(
	    &rpc_metrics->methods[method_count], "other", &families);
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
rpc_metrics_count(struct rpc_metrics *rpc_metrics, struct str path,
    const struct rpc_outcome *outcome)
{
	struct method_metrics *method = map_get(&rpc_metrics->by_path, path);
	int status = outcome->status;
	unsigned note =
	    outcome->note < RPC_NOTES ? outcome->note : RPC_NOTE_IDENTITY;

	if (method == NULL)
		method = &rpc_metrics->methods[rpc_metrics->method_count];
	if (status < 0 || (size_t)status >= CODE_COUNT)
		status = ERROR_UNKNOWN;
	metric_add(method->requests[status], 1);
	metric_observe(method->duration, outcome->duration_ns);
	metric_add(
	    method->bytes[RECEIVED][note], (int64_t)outcome->received_bytes);
	metric_add(method->bytes[SENT][note], (int64_t)outcome->sent_bytes);
}
