/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts finished RPCs: toolroot_rpc_requests_total{method,code},
 * toolroot_rpc_duration_seconds{method} and, by the encoding of the blobs in
 * them, toolroot_rpc_received_bytes_total and toolroot_rpc_sent_bytes_total
 * {method,compression}. Every series is made at the start, so that a finished
 * call costs one look-up and a few atomic additions, and a rate over a code
 * that was never seen before is right.
 */
#ifndef TOOLROOT_FRONTEND_RPC_METRICS_H
#define TOOLROOT_FRONTEND_RPC_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct metrics;
struct rpc_method;
struct rpc_metrics;

/* The methods' paths are borrowed as long as it lives. */
struct rpc_metrics *rpc_metrics_new(struct metrics *metrics,
    const struct rpc_method *methods, size_t method_count);
/* Not before the server has stopped. NULL is allowed. */
void rpc_metrics_free(struct rpc_metrics *rpc_metrics);

/* Handlers leave it with rpc_call_set_note: blobs came or went compressed. */
enum rpc_note { RPC_NOTE_IDENTITY, RPC_NOTE_ZSTD, RPC_NOTES };

struct rpc_outcome {
	int status;
	int64_t duration_ns;
	uint64_t received_bytes;
	uint64_t sent_bytes;
	unsigned note;
};
/* Any thread. A path that is none of the methods counts as "other", a status
 * that gRPC does not know as UNKNOWN. */
void rpc_metrics_count(struct rpc_metrics *rpc_metrics, struct str path,
    const struct rpc_outcome *outcome);

#endif
