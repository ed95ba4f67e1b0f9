/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's HTTP pages; nothing here changes anything:
 *
 *   /         what this is and where gRPC is served, as text
 *   /metrics  for Prometheus, in its text form or as OpenMetrics
 *   /status   JSON, see frontend/status.h
 *   /healthz  200 while the process answers
 *   /readyz   200 when it takes work, else 503 with the reason
 */
#ifndef TOOLROOT_FRONTEND_HTTP_H
#define TOOLROOT_FRONTEND_HTTP_H

#include "base/http_server.h"
#include "frontend/status.h"

struct metrics;

struct http_pages;

struct http_pages_options {
	const char *listen;       /* as struct http_options has it */
	bool insecure_listen;     /* likewise */
	const char *grpc_address; /* for the texts: "grpc://127.0.0.1:8980" */
	struct metrics *metrics;  /* borrowed */
	status_report_fn *report; /* runs on the HTTP thread */
	void *cookie;             /* of report */
	unsigned connections;     /* as struct http_options has it */
	unsigned timeout_s;       /* likewise */
};

/* As http_server_open. */
struct http_pages *http_pages_open(
    const struct http_pages_options *options, struct error *err);
/* "host:port" with the real port; owned by the pages. */
const char *http_pages_address(const struct http_pages *pages);
/* NULL is allowed. */
void http_pages_close(struct http_pages *pages);

#endif
