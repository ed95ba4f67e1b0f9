/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person, a script or a monitor asks a running server first: one report,
 * which the server fills in on request and which /status, /readyz and /metrics
 * show. Names in the JSON are a promise to scripts; new ones may be added.
 */
#ifndef TOOLROOT_FRONTEND_STATUS_H
#define TOOLROOT_FRONTEND_STATUS_H

#include <stdint.h>

#include "base/error.h"
#include "cas/collector.h"
#include "cas/scrub.h"
#include "cas/store.h"
#include "frontend/execution.h"
#include "frontend/explainer.h"

struct buffer;

struct status_report {
	const char *grpc_address; /* "grpc://127.0.0.1:8980"; http.c sets it */
	const char *not_ready;    /* why no work is taken, a sentence; NULL = it
				   * is; static, or disk's */
	struct error disk;        /* set when not_ready is its text */
	/* When the server's certificate runs out, in seconds since 1970; 0: it
	 * has none. */
	int64_t certificate_not_after_s;
	int64_t started_ns; /* wall clock */
	int64_t now_ns;     /* wall clock */
	struct store_usage store;
	struct collector_statistics collector;
	struct scrub_statistics scrub;
	struct execution_statistics execution;
	struct explainer_statistics explainer;
	uint64_t calls_ended_for_memory;
};

/* Fills in a zeroed report. Any thread; must not block. */
typedef void status_report_fn(struct status_report *report, void *cookie);

/* Appends the report as one JSON object and a newline. -1 past the buffer's
 * limit. */
int status_write(const struct status_report *report, struct buffer *out);

#endif
