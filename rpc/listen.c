/* SPDX-License-Identifier: Apache-2.0 */
/* Parses, resolves and tries listening addresses; accepts. No state; the thread
 * that owns the server, and gRPC's. */
#include "rpc/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"

#define LISTEN_HOST_MAX 256

struct listen_name {
	char host[LISTEN_HOST_MAX]; /* without brackets */
	char port[8];
};

const char *
rpc_listen_path(const char *listen)
{
	return str_starts_with(str_from(listen), STR("unix:"))
		   ? listen + strlen("unix:")
		   : NULL;
}

static int
listen_parse(const char *listen, struct listen_name *name, struct error *err)
{
	const char *colon = strrchr(listen, ':');
	struct str host;
	uint64_t port;

	if (colon == NULL || colon == listen ||
	    !str_to_uint64(str_from(colon + 1), 65535, &port))
		goto bad;
	host = (struct str){listen, (size_t)(colon - listen)};
	if (host.len >= 2 && host.data[0] == '[' &&
	    host.data[host.len - 1] == ']')
		host = (struct str){host.data + 1, host.len - 2};
	else if (memchr(host.data, ':', host.len) != NULL)
		goto bad;
	if (host.len == 0 || host.len >= sizeof(name->host))
		goto bad;
	snprintf(name->host, sizeof(name->host), "%.*s", STR_ARG(host));
	snprintf(name->port, sizeof(name->port), "%u", (unsigned)port);
	return 0;
bad:
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "listen address \"%s\": wanted HOST:PORT, [IPV6]:PORT or "
	    "unix:PATH",
	    listen);
}

static int
listen_resolve(
    const struct listen_name *name, struct addrinfo **found, struct error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	int rc = getaddrinfo(name->host, name->port, &hints, found);

	if (rc != 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "listen address %s: %s", name->host, gai_strerror(rc));
	return 0;
}

static bool
listen_is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;

	switch (address->sa_family) {
	case AF_INET:
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	default:
		return false;
	}
}

static int
listen_unix_address(
    const char *path, struct sockaddr_un *address, struct error *err)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (*path == '\0' || strlen(path) >= sizeof(address->sun_path))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "unix socket \"%s\": a path of 1 to %zu bytes is wanted",
		    path, sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path) + 1);
	return 0;
}

static int
listen_check_unix(const char *path, struct error *err)
{
	struct sockaddr_un address;
	int fd, rc;

	if (listen_unix_address(path, &address, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return error_set_errno(err, errno, "socket");
	rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
	file_close(&fd);
	if (rc == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "unix socket %s is taken: a server answers there", path);
	return 0;
}

int
rpc_listen_check(const char *listen, bool beyond_loopback, struct error *err)
{
	const char *path = rpc_listen_path(listen);
	struct listen_name name;
	struct addrinfo *found;
	int rc = 0;

	if (path != NULL)
		return listen_check_unix(path, err);
	if (listen_parse(listen, &name, err) < 0)
		return -1;
	if (listen_resolve(&name, &found, err) < 0)
		return -1;
	for (struct addrinfo *a = found; a != NULL && rc == 0; a = a->ai_next)
		if (!beyond_loopback && !listen_is_loopback(a->ai_addr))
			rc = error_set(err, ERROR_INVALID_ARGUMENT,
			    "plain text on %s, which is not a loopback "
			    "address, would let anybody on the network read "
			    "and write: set a TLS certificate, or allow it "
			    "with --insecure-listen",
			    listen);
	freeaddrinfo(found);
	return rc;
}

/* What bind says; 0 when it works now. */
static int
listen_try(const struct sockaddr *address, socklen_t len)
{
	int one = 1;
	int result = 0;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, address, len) == -1 || listen(fd, 1) == -1)
		result = errno;
	file_close(&fd);
	return result;
}

int
rpc_listen_explain(const char *listen, struct error *err)
{
	const char *path = rpc_listen_path(listen);
	struct sockaddr_un unix_address;
	struct listen_name name;
	struct addrinfo *found;
	int number = 0;

	if (path != NULL) {
		if (listen_unix_address(path, &unix_address, err) < 0)
			return -1;
		number = listen_try(
		    (struct sockaddr *)&unix_address, sizeof(unix_address));
		if (number == 0)
			unlink(path);
	} else {
		if (listen_parse(listen, &name, err) < 0 ||
		    listen_resolve(&name, &found, err) < 0)
			return -1;
		for (struct addrinfo *a = found; a != NULL && number == 0;
		     a = a->ai_next)
			number = listen_try(a->ai_addr, a->ai_addrlen);
		freeaddrinfo(found);
	}
	if (number == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "cannot listen on %s; it may have been taken for a "
		    "moment, try again",
		    listen);
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "cannot listen on %s: %s", listen, strerror(number));
}

char *
rpc_listen_address(const char *listen, int port)
{
	const char *colon = strrchr(listen, ':');

	if (rpc_listen_path(listen) != NULL)
		return xstrdup(listen);
	return xasprintf("%.*s:%d", (int)(colon - listen), listen, port);
}

/* --- accepting -------------------------------------------------------------
 */

/* Connections never take the last descriptors of the process. When there is
 * none for the next one, gRPC gives up listening for good, and peers need only
 * connect often to bring that about; and what is served needs some for files.
 * So the accept4 below stands before the C library's and leaves a part of
 * RLIMIT_NOFILE free: connections beyond are closed at once, and may come
 * again. Sockets that are accepted as blocking ones are accepted as ever. */

/* What is left free: a part of them, of which more are not needed. */
#define RESERVE_PART 4
#define RESERVE_MAX ((rlim_t)1024)

/* The kernel gives the lowest number that is free: as many are in use. */
static bool
is_in_reserve(int fd)
{
	struct rlimit limit;
	rlim_t reserve;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return false;
	reserve = limit.rlim_cur / RESERVE_PART;
	if (reserve > RESERVE_MAX)
		reserve = RESERVE_MAX;
	return (rlim_t)fd >= limit.rlim_cur - reserve;
}

static bool
is_exhaustion(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS ||
	       error == ENOMEM;
}

int
accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict len, int flags)
{
	const socklen_t room = len != NULL ? *len : 0;

	for (;;) {
		long got =
		    syscall(SYS_accept4, fd, address.__sockaddr__, len, flags);

		if ((flags & SOCK_NONBLOCK) == 0)
			return (int)got;
		/* What waits is accepted together with the next one. */
		if (got == -1 && is_exhaustion(errno))
			errno = EAGAIN;
		if (got == -1 || !is_in_reserve((int)got))
			return (int)got;
		close((int)got);
		if (len != NULL)
			*len = room;
	}
}
