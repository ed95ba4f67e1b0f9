/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts finished RPCs: toolroot_rpc_requests_total{method,code} and
 * toolroot_rpc_duration_seconds{method}. Every series is made at the start, so
 * that a finished call costs one look-up and three atomic additions, and a
 * rate over a code that was never seen before is right.
 */
#ifndef TOOLROOT_FRONTEND_RPC_METRICS_H
#define TOOLROOT_FRONTEND_RPC_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct metrics;
struct rpc_call;
struct rpc_method;
struct rpc_metrics;

/* The methods' paths are borrowed as long as it lives. */
struct rpc_metrics *rpc_metrics_new(struct metrics *metrics,
    const struct rpc_method *methods, size_t method_count);
/* Not before the server has stopped. NULL is allowed. */
void rpc_metrics_free(struct rpc_metrics *rpc_metrics);

/* Any thread. A path that is none of the methods counts as "other", a status
 * that gRPC does not know as UNKNOWN. */
void rpc_metrics_count(struct rpc_metrics *rpc_metrics, struct str path,
    int status, int64_t duration_ns);
/* The same in the form that rpc_server_options.finished wants; cookie is the
 * struct rpc_metrics. */
void rpc_metrics_finished(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie);

#endif
