/* SPDX-License-Identifier: Apache-2.0 */
/* Walks /proc/self/fd. No state. */
#include "rpc/connection.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/memory.h"
#include "base/str.h"
#include "rpc/listen.h"

/* One end of a connection. */
struct end {
	const char *path;     /* of a unix socket, or NULL */
	struct in6_addr host; /* IPv4 as ::ffff:1.2.3.4 */
	uint16_t port;
};

/* Which sockets are meant. */
struct choice {
	struct end own; /* without host */
	const struct end *peers;
	size_t count;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
	struct sockaddr_storage storage;
};

static void
end_set_v4(struct end *end, struct in_addr host)
{
	end->host = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	memcpy(&end->host.s6_addr[12], &host, sizeof(host));
}

/* Borrows the path. False for what is no socket of ours. */
static bool
end_from_address(struct end *end, const union address *address)
{
	*end = (struct end){.path = NULL};
	switch (address->any.sa_family) {
	case AF_INET:
		end_set_v4(end, address->v4.sin_addr);
		end->port = ntohs(address->v4.sin_port);
		return true;
	case AF_INET6:
		end->host = address->v6.sin6_addr;
		end->port = ntohs(address->v6.sin6_port);
		return true;
	case AF_UNIX:
		end->path = address->local.sun_path;
		return true;
	default:
		return false;
	}
}

/* "ipv4:1.2.3.4:5", "ipv6:%5Bfe80::1%25eth0%5D:5" or "unix:". */
static bool
end_from_peer(struct end *end, const char *peer)
{
	struct str rest = str_from(peer);
	struct str scheme = str_cut(&rest, ':');
	const char *colon = strrchr(peer, ':');
	char host[INET6_ADDRSTRLEN];
	struct in_addr v4;
	uint64_t port;

	*end = (struct end){.path = NULL};
	if (str_equal(scheme, STR("unix"))) {
		end->path = "";
		return true;
	}
	if (colon == NULL || !str_to_uint64(str_from(colon + 1), 65535, &port))
		return false;
	end->port = (uint16_t)port;
	if (str_starts_with(rest, STR("%5B")))
		rest = str_from(rest.data + 3);
	/* To the zone or bracket, or to the port. */
	rest = (struct str){rest.data,
	    strcspn(rest.data, str_equal(scheme, STR("ipv4")) ? ":" : "%")};
	if (rest.len >= sizeof(host))
		return false;
	memcpy(host, rest.data, rest.len);
	host[rest.len] = '\0';
	if (inet_pton(AF_INET6, host, &end->host) == 1)
		return true;
	if (inet_pton(AF_INET, host, &v4) != 1)
		return false;
	end_set_v4(end, v4);
	return true;
}

static bool
end_is_bound(const struct end *own, int fd)
{
	union address address = {.any = {.sa_family = AF_UNSPEC}};
	socklen_t len = sizeof(address);
	struct end end;

	if (getsockname(fd, &address.any, &len) == -1 ||
	    !end_from_address(&end, &address))
		return false;
	if (own->path != NULL || end.path != NULL)
		return own->path != NULL && end.path != NULL &&
		       strncmp(own->path, end.path,
			   sizeof(address.local.sun_path)) == 0;
	return own->port != 0 && own->port == end.port;
}

static bool
end_is_peer(const struct choice *choice, int fd)
{
	union address address = {.any = {.sa_family = AF_UNSPEC}};
	socklen_t len = sizeof(address);
	struct end end;

	if (getpeername(fd, &address.any, &len) == -1 ||
	    !end_from_address(&end, &address))
		return false;
	for (size_t i = 0; i < choice->count; i++) {
		const struct end *peer = &choice->peers[i];

		if ((peer->path != NULL) == (end.path != NULL) &&
		    peer->port == end.port &&
		    memcmp(&peer->host, &end.host, sizeof(end.host)) == 0)
			return true;
	}
	return false;
}

static bool
is_writable(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};

	return poll(&wait, 1, 0) == 1 && (wait.revents & POLLOUT) != 0;
}

static bool
is_chosen(const struct choice *choice, int fd)
{
	return end_is_bound(&choice->own, fd) &&
	       (choice->peers == NULL ||
		   (end_is_peer(choice, fd) && !is_writable(fd)));
}

static size_t
cut(const struct choice *choice)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t count = 0;
	uint64_t fd;

	while (fds != NULL && (entry = readdir(fds)) != NULL)
		if (str_to_uint64(str_from(entry->d_name), INT32_MAX, &fd) &&
		    is_chosen(choice, (int)fd) &&
		    shutdown((int)fd, SHUT_RDWR) == 0)
			count++;
	if (fds != NULL)
		closedir(fds);
	return count;
}

static struct end
end_from_listen(const char *listen)
{
	struct end end = {.path = rpc_listen_path(listen)};
	const char *colon = strrchr(listen, ':');
	uint64_t port = 0;

	if (end.path == NULL && colon != NULL)
		str_to_uint64(str_from(colon + 1), 65535, &port);
	end.port = (uint16_t)port;
	return end;
}

void
rpc_connection_cut_all(const char *listen)
{
	cut(&(struct choice){.own = end_from_listen(listen)});
}

size_t
rpc_connection_cut_deaf(
    const char *listen, char (*peers)[RPC_PEER_MAX], size_t count)
{
	struct end *ends = xcalloc(count, sizeof(*ends));
	struct choice choice = {end_from_listen(listen), ends, 0};
	size_t ended;

	for (size_t i = 0; i < count; i++)
		choice.count += end_from_peer(&ends[choice.count], peers[i]);
	ended = cut(&choice);
	free(ends);
	return ended;
}
