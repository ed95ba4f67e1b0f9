/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few pages over HTTP, for people and their monitoring: GET and HEAD only,
 * one thread of its own, a bounded number of connections (what is above waits
 * in the listen queue) that are closed after a time without traffic.
 */
#ifndef TOOLROOT_BASE_HTTP_SERVER_H
#define TOOLROOT_BASE_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer;
struct error;
struct http_server;

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_JSON "application/json"

struct http_answer {
	unsigned status;          /* 200 when the page leaves it */
	const char *content_type; /* static; HTTP_TEXT when it leaves it */
	struct buffer *body;      /* to be appended to */
};

/* Runs on the HTTP thread; must not block. accept: the header, or "". -1 when
 * the body is too large: then it is answered with 500. */
typedef int http_page_fn(
    void *cookie, const char *accept, struct http_answer *answer);

struct http_page {
	const char *path; /* "/metrics" */
	http_page_fn *write;
};

struct http_options {
	/* "host:port" with a number as port; port 0 takes a free one. */
	const char *listen;
	/* A host that is not loopback is refused without it: the pages tell
	 * strangers about the builds. */
	bool insecure_listen;
	const struct http_page *pages; /* borrowed */
	size_t page_count;
	const char *absent;   /* answer for all other paths; borrowed */
	const char *refused;  /* and for other methods */
	void *cookie;         /* of the pages */
	unsigned connections; /* 0 = 64 */
	unsigned timeout_s;   /* of an idle connection; 0 = 10 */
};

/* Binds and answers from now on. FAILED_PRECONDITION names the address that is
 * taken, INVALID_ARGUMENT one that is none or may not be listened on. */
struct http_server *http_server_open(
    const struct http_options *options, struct error *err);
/* "host:port" with the real port; owned by the server. */
const char *http_server_address(const struct http_server *server);
/* Ends running answers and joins the thread. NULL is allowed. */
void http_server_close(struct http_server *server);

#endif
