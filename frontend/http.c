/* SPDX-License-Identifier: Apache-2.0 */
/* The pages and what they say. */
#include "frontend/http.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/metrics.h"

#define STATUS_UNAVAILABLE 503

struct http_pages {
	struct http_server *server;
	struct http_pages_options options; /* without listen */
	char *grpc_address;
	char *refused;
};

static int
page_index(void *cookie, const char *accept, struct http_answer *answer)
{
	const struct http_pages *pages = cookie;

	(void)accept;
	return buffer_printf(answer->body,
	    "Toolroot %s, a Bazel-compatible remote execution server.\n"
	    "Builds talk gRPC to %s; this is the HTTP side:\n\n"
	    "  /metrics  for Prometheus\n"
	    "  /status   the same in short, as JSON\n"
	    "  /healthz  200 while the process answers\n"
	    "  /readyz   200 when it takes work\n",
	    TOOLROOT_VERSION, pages->grpc_address);
}

static int
page_metrics(void *cookie, const char *accept, struct http_answer *answer)
{
	const struct http_pages *pages = cookie;

	return metrics_page(pages->options.metrics, accept, answer);
}

static void
get_report(const struct http_pages *pages, struct status_report *report)
{
	*report = (struct status_report){.grpc_address = pages->grpc_address};
	pages->options.report(report, pages->options.cookie);
}

static int
page_status(void *cookie, const char *accept, struct http_answer *answer)
{
	struct status_report report;

	(void)accept;
	get_report(cookie, &report);
	answer->content_type = HTTP_JSON;
	return status_write(&report, answer->body);
}

static int
page_health(void *cookie, const char *accept, struct http_answer *answer)
{
	(void)cookie;
	(void)accept;
	return buffer_append(answer->body, "ok\n", 3);
}

static int
page_ready(void *cookie, const char *accept, struct http_answer *answer)
{
	struct status_report report;

	get_report(cookie, &report);
	if (report.not_ready == NULL)
		return page_health(cookie, accept, answer);
	answer->status = STATUS_UNAVAILABLE;
	return buffer_printf(answer->body, "%s\n", report.not_ready);
}

static const struct http_page table[] = {
    {"/", page_index},
    {"/metrics", page_metrics},
    {"/status", page_status},
    {"/healthz", page_health},
    {"/readyz", page_ready},
};

struct http_pages *
http_pages_open(const struct http_pages_options *options, struct error *err)
{
	struct http_pages *pages = xcalloc(1, sizeof(*pages));
	struct http_options http = {.listen = options->listen,
	    .insecure_listen = options->insecure_listen,
	    .pages = table,
	    .page_count = sizeof(table) / sizeof(table[0]),
	    .absent = "There is no such page. There are /, /metrics, /status, "
		      "/healthz and /readyz.\n",
	    .cookie = pages,
	    .connections = options->connections,
	    .timeout_s = options->timeout_s};

	pages->options = *options;
	pages->grpc_address = xstrdup(options->grpc_address);
	pages->refused =
	    xasprintf("Only GET and HEAD are served here. gRPC is served at "
		      "%s.\n",
		options->grpc_address);
	http.refused = pages->refused;
	pages->server = http_server_open(&http, err);
	if (pages->server != NULL)
		return pages;
	http_pages_close(pages);
	return NULL;
}

const char *
http_pages_address(const struct http_pages *pages)
{
	return http_server_address(pages->server);
}

void
http_pages_close(struct http_pages *pages)
{
	if (pages == NULL)
		return;
	http_server_close(pages->server);
	free(pages->grpc_address);
	free(pages->refused);
	free(pages);
}
