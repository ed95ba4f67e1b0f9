/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of pages over libmicrohttpd, which owns the connections and the
 * thread. We bind the socket ourselves, so that port 0 and the refusal of
 * foreign addresses are in our hands.
 */
#include "base/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"

#define PAGE_LIMIT ((size_t)16 << 20)
/* For the request line and headers of one connection. */
#define CONNECTION_MEMORY ((size_t)32 << 10)
#define CONNECTIONS_DEFAULT 64
#define TIMEOUT_DEFAULT_S 10
#define LISTEN_BACKLOG 64

struct http_server {
	struct MHD_Daemon *daemon;
	struct http_options options; /* without listen */
	char *address;
};

/* --- answering ------------------------------------------------------------ */

static bool
method_served(const char *method)
{
	return strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
	       strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

/* A fixed text; one that does not fit is none that we wrote. */
static void
answer_text(struct http_answer *answer, unsigned status, const char *text)
{
	buffer_reset(answer->body);
	answer->status = status;
	answer->content_type = HTTP_TEXT;
	if (buffer_append(answer->body, text, strlen(text)) < 0)
		buffer_reset(answer->body);
}

static void
write_page(const struct http_server *server, const char *path,
    const char *accept, struct http_answer *answer)
{
	const struct http_options *options = &server->options;

	for (size_t i = 0; i < options->page_count; i++) {
		if (strcmp(options->pages[i].path, path) != 0)
			continue;
		if (options->pages[i].write(options->cookie, accept, answer) <
		    0)
			answer_text(answer, MHD_HTTP_INTERNAL_SERVER_ERROR,
			    "The page is too large.\n");
		return;
	}
	answer_text(answer, MHD_HTTP_NOT_FOUND, options->absent);
}

static enum MHD_Result
queue_response(struct MHD_Connection *connection,
    const struct http_answer *answer, bool refused)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
	    answer->body->len, answer->body->data, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result queued = MHD_NO;

	if (response == NULL) {
		buffer_clear(answer->body);
		return MHD_NO;
	}
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
		answer->content_type) == MHD_YES &&
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
		"no-store") == MHD_YES &&
	    (!refused || MHD_add_response_header(response,
			     MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES))
		queued =
		    MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return queued;
}

static enum MHD_Result
respond(const struct http_server *server, struct MHD_Connection *connection,
    const char *method, const char *path)
{
	const char *accept = MHD_lookup_connection_value(
	    connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	struct buffer body;
	struct http_answer answer = {
	    .status = MHD_HTTP_OK, .content_type = HTTP_TEXT, .body = &body};
	bool served = method_served(method);

	buffer_init(&body, PAGE_LIMIT);
	if (served)
		write_page(server, path, accept != NULL ? accept : "", &answer);
	else
		answer_text(&answer, MHD_HTTP_METHOD_NOT_ALLOWED,
		    server->options.refused);
	return queue_response(connection, &answer, !served);
}

/* libmicrohttpd calls it when the headers are there, then for pieces of a body
 * if there is one, then at the end of the request. Another method than GET is
 * refused at once, which makes it close the connection and never read the
 * body; a GET with a body is cut off. */
static enum MHD_Result
handle(void *cookie, struct MHD_Connection *connection, const char *path,
    const char *method, const char *version, const char *upload,
    size_t *upload_size, void **state)
{
	static char seen;

	(void)version;
	(void)upload;
	if (*state == NULL && method_served(method)) {
		*state = &seen;
		return MHD_YES;
	}
	if (*upload_size > 0)
		return MHD_NO;
	return respond(cookie, connection, method, path);
}

/* --- opening -------------------------------------------------------------- */

static bool
is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)address;

		return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
	}
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(
		   &((const struct sockaddr_in6 *)(const void *)address)
			->sin6_addr);
}

/* The caller frees it with freeaddrinfo; NULL on failure. */
static struct addrinfo *
resolve(const char *listen_on, struct error *err)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	    .ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(listen_on, ':');
	struct addrinfo *found = NULL;
	struct str host = {listen_on, 0};
	uint64_t port;
	char *name;
	int rc;

	if (colon == NULL || colon == listen_on ||
	    !str_to_uint64(str_from(colon + 1), UINT16_MAX, &port)) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "HTTP address \"%s\" is not of the form host:port, with a "
		    "number up to 65535 as the port",
		    listen_on);
		return NULL;
	}
	host.len = (size_t)(colon - listen_on);
	if (host.len > 2 && host.data[0] == '[' &&
	    host.data[host.len - 1] == ']')
		host = (struct str){host.data + 1, host.len - 2};
	name = xstrndup(host.data, host.len);
	rc = getaddrinfo(name, colon + 1, &hints, &found);
	free(name);
	if (rc != 0) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "HTTP address \"%s\": %s", listen_on, gai_strerror(rc));
		return NULL;
	}
	return found;
}

/* A listening socket, or -1. */
static int
listen_at(const struct addrinfo *address, const struct http_options *options,
    struct error *err)
{
	const int on = 1;
	int fd = -1;

	if (!options->insecure_listen && !is_loopback(address->ai_addr))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "HTTP address %s is not loopback and HTTP has no "
		    "protection; use a loopback address behind a proxy, or "
		    "--insecure-listen",
		    options->listen);
	fd = socket(
	    address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return error_set_errno(err, errno, "socket for HTTP");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
	    bind(fd, address->ai_addr, address->ai_addrlen) == -1 ||
	    listen(fd, LISTEN_BACKLOG) == -1) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "cannot listen for HTTP on %s: %s", options->listen,
		    strerror(errno));
		file_close(&fd);
	}
	return fd;
}

static char *
real_address(int fd, struct error *err)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(fd, (struct sockaddr *)&address, &len) == -1 ||
	    getnameinfo((struct sockaddr *)&address, len, host, sizeof(host),
		port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		error_set(err, ERROR_INTERNAL,
		    "the address of the HTTP socket cannot be read");
		return NULL;
	}
	if (address.ss_family == AF_INET6)
		return xasprintf("[%s]:%s", host, port);
	return xasprintf("%s:%s", host, port);
}

/* The daemon owns fd from now on if it starts. */
static int
start_daemon(struct http_server *server, int fd, bool ipv6, struct error *err)
{
	const struct http_options *options = &server->options;
	unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO |
			 MHD_USE_ITC | (ipv6 ? MHD_USE_IPv6 : 0);
	unsigned connections = options->connections > 0 ? options->connections
							: CONNECTIONS_DEFAULT;
	unsigned timeout =
	    options->timeout_s > 0 ? options->timeout_s : TIMEOUT_DEFAULT_S;

	server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, server,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	    connections, MHD_OPTION_CONNECTION_TIMEOUT, timeout,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
	    MHD_OPTION_END);
	if (server->daemon == NULL)
		return error_set(err, ERROR_INTERNAL,
		    "libmicrohttpd did not start on %s", server->address);
	return 0;
}

struct http_server *
http_server_open(const struct http_options *options, struct error *err)
{
	struct http_server *server = xcalloc(1, sizeof(*server));
	struct addrinfo *address = NULL;
	int rc = -1, fd = -1;

	server->options = *options;
	server->options.listen = NULL;
	address = resolve(options->listen, err);
	if (address == NULL)
		goto out;
	fd = listen_at(address, options, err);
	if (fd < 0)
		goto out;
	server->address = real_address(fd, err);
	if (server->address == NULL)
		goto out;
	if (start_daemon(server, fd, address->ai_family == AF_INET6, err) < 0)
		goto out;
	fd = -1;
	rc = 0;
out:
	if (address != NULL)
		freeaddrinfo(address);
	file_close(&fd);
	if (rc < 0) {
		http_server_close(server);
		return NULL;
	}
	return server;
}

const char *
http_server_address(const struct http_server *server)
{
	return server->address;
}

void
http_server_close(struct http_server *server)
{
	if (server == NULL)
		return;
	if (server->daemon != NULL)
		MHD_stop_daemon(server->daemon);
	free(server->address);
	free(server);
}
