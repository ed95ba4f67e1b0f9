/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the descriptors. No state. */
#include "rpc/connection.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/memory.h"
#include "base/str.h"
#include "rpc/deaf_watch.h"
#include "rpc/listen.h"

/* Where the descriptors end for us when nobody says. */
#define DESCRIPTORS_MAX (1u << 20)

/* One end of a connection. */
struct end {
	const char *path;     /* of a unix socket, or NULL */
	struct in6_addr host; /* IPv4 as ::ffff:1.2.3.4 */
	uint16_t port;
};

/* Which sockets are meant, and for what. */
struct choice {
	struct end own[2]; /* without host */
	/* NULL: all of them; sorted. */
	const struct end *peers;
	size_t count;
	struct deaf_watch *watch; /* NULL: they are shut down */
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

/* Of peers, which have no path but "". */
static int
end_compare(const void *one, const void *other)
{
	const struct end *a = one, *b = other;

	if ((a->path != NULL) != (b->path != NULL))
		return a->path != NULL ? 1 : -1;
	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	return memcmp(&a->host, &b->host, sizeof(a->host));
}

static bool
end_is_peer(const struct choice *choice, int fd)
{
	union address address = {.any = {.sa_family = AF_UNSPEC}};
	socklen_t len = sizeof(address);
	struct end end;

	return getpeername(fd, &address.any, &len) == 0 &&
	       end_from_address(&end, &address) &&
	       bsearch(&end, choice->peers, choice->count, sizeof(end),
		   end_compare) != NULL;
}

static bool
is_chosen(const struct choice *choice, int fd)
{
	return (end_is_bound(&choice->own[0], fd) ||
		   end_is_bound(&choice->own[1], fd)) &&
	       (choice->peers == NULL || end_is_peer(choice, fd));
}

static void
treat(const struct choice *choice, int fd)
{
	if (!is_chosen(choice, fd))
		return;
	if (choice->watch != NULL)
		deaf_watch_add(choice->watch, fd);
	else
		shutdown(fd, SHUT_RDWR);
}

/* Where all descriptors are taken, they are those below the limit. */
static void
walk_numbers(const struct choice *choice)
{
	struct rlimit limit;
	rlim_t end = DESCRIPTORS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end)
		end = limit.rlim_cur;
	for (rlim_t fd = 0; fd < end; fd++)
		treat(choice, (int)fd);
}

static void
walk(const struct choice *choice)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	uint64_t fd;

	if (fds == NULL) {
		walk_numbers(choice);
		return;
	}
	while ((entry = readdir(fds)) != NULL)
		if (str_to_uint64(str_from(entry->d_name), INT32_MAX, &fd))
			treat(choice, (int)fd);
	closedir(fds);
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
	walk(&(struct choice){.own = {end_from_listen(listen)}});
}

void
rpc_connection_watch(
    struct deaf_watch *watch, const struct rpc_connection_choice *chosen)
{
	struct end *ends = xcalloc(chosen->count + 1, sizeof(*ends));
	struct choice choice = {
	    .own = {end_from_listen(chosen->listen)},
	    .peers = ends,
	    .watch = watch,
	};

	if (chosen->local != NULL)
		choice.own[1] = end_from_listen(chosen->local);
	for (size_t i = 0; i < chosen->count; i++)
		choice.count +=
		    end_from_peer(&ends[choice.count], chosen->peers[i]);
	qsort(ends, choice.count, sizeof(*ends), end_compare);
	deaf_watch_begin(watch);
	if (choice.count > 0)
		walk(&choice);
	free(ends);
}
