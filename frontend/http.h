/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP side, for people and their monitoring; nothing here changes
 * anything:
 *
 *   /         what this is and where gRPC is served, as text
 *   /metrics  Prometheus text form
 *   /status   JSON, see frontend/status.h
 *   /healthz  200 while the process answers
 *   /readyz   200 when it takes work, else 503 with the reason
 *
 * GET and HEAD only, one thread of its own, a bounded number of connections
 * (what is above waits in the listen queue) that are closed after a time
 * without traffic.
 */
#ifndef TOOLROOT_FRONTEND_HTTP_H
#define TOOLROOT_FRONTEND_HTTP_H

#include <stdbool.h>

#include "frontend/status.h"

struct error;
struct http_server;
struct metrics;

struct http_options {
	/* "host:port" with a number as port; port 0 takes a free one. */
	const char *listen;
	/* A host that is not loopback is refused without it: the pages tell
	 * strangers about the builds. */
	bool insecure_listen;
	const char *grpc_address; /* for the texts: "grpc://127.0.0.1:8980" */
	struct metrics *metrics;  /* borrowed */
	status_report_fn *report; /* runs on the HTTP thread */
	void *cookie;             /* of report */
	unsigned connections;     /* 0 = 64 */
	unsigned timeout_s;       /* of an idle connection; 0 = 10 */
};

/* Binds and answers from now on. The options' texts are copied.
 * FAILED_PRECONDITION names the address that is taken, INVALID_ARGUMENT one
 * that is none or may not be listened on. */
struct http_server *http_server_open(
    const struct http_options *options, struct error *err);
/* "host:port" with the real port; owned by the server. */
const char *http_server_address(const struct http_server *server);
/* Ends running answers and joins the thread. NULL is allowed. */
void http_server_close(struct http_server *server);

#endif
