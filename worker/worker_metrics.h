/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker counts of itself, and the pages that show it: /metrics,
 * /healthz (the process answers) and /readyz (it takes leases: connected, and
 * not about to end). Counting is for any thread; the pages have one of their
 * own (base/http_server.h).
 */
#ifndef TOOLROOT_WORKER_WORKER_METRICS_H
#define TOOLROOT_WORKER_WORKER_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct worker;
struct worker_metrics;
struct Reapi__ExecutedActionMetadata;

/* The worker is borrowed, complete but for its sessions. */
struct worker_metrics *worker_metrics_new(struct worker *worker);
/* After worker_metrics_stop. NULL is allowed. */
void worker_metrics_free(struct worker_metrics *metrics);

/* Serves the pages at "host:port". As http_server_open. */
int worker_metrics_serve(struct worker_metrics *metrics, const char *listen,
    bool insecure_listen, struct error *err);
/* Ends it, before what it shows goes. */
void worker_metrics_stop(struct worker_metrics *metrics);

/* A lease has ended so. metadata: of its result, or NULL. trees: that it asked
 * for; laid_out: of them were not there. */
struct worker_lease_end {
	enum error_code code;
	const struct Reapi__ExecutedActionMetadata *metadata;
	size_t trees;
	size_t laid_out;
};
void worker_metrics_count(
    struct worker_metrics *metrics, const struct worker_lease_end *end);

#endif
