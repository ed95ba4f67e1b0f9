/* SPDX-License-Identifier: Apache-2.0 */
/* What was seen of each socket, by its descriptor; its cookie tells when that
 * became another's. */
#include "rpc/deaf_watch.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/memory.h"

struct deaf_look {
	uint64_t cookie;  /* which socket it was */
	uint64_t taken;   /* by the peer, or what it has yet to take */
	int64_t since_ms; /* when that was seen first */
	unsigned looks;   /* that saw it; 0: none */
	unsigned round;   /* in which it was added last */
	int room;         /* SO_SNDBUF of one that is held, or 0 */
};

void
deaf_watch_init(struct deaf_watch *watch)
{
	*watch = (struct deaf_watch){.round = 1};
}

void
deaf_watch_clear(struct deaf_watch *watch)
{
	free(watch->looks);
}

/* Neither has it room, nor was it shut down. */
static bool
is_full(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};

	return poll(&wait, 1, 0) == 0;
}

static uint64_t
cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	/* Without one, what the peer has taken must do. */
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == -1)
		return 0;
	return cookie;
}

/* The milliseconds of two round trips, or -1: the number is of what it has yet
 * to take, as it is for a unix socket. */
static int64_t
taken_by_peer(int fd, uint64_t *taken)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int queued = 0;

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	    len >= offsetof(struct tcp_info, tcpi_bytes_acked) +
		       sizeof(info.tcpi_bytes_acked)) {
		*taken = info.tcpi_bytes_acked;
		return 2 * (int64_t)info.tcpi_rtt / 1000;
	}
	*taken = ioctl(fd, SIOCOUTQ, &queued) == 0 ? (uint64_t)queued : 0;
	return -1;
}

/* The kernel takes half of what it then tells, and no less than it needs. */
static void
set_room(int fd, int room)
{
	room /= 2;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

static void
hold(struct deaf_watch *watch, struct deaf_look *look, int fd)
{
	socklen_t len = sizeof(look->room);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &look->room, &len) == -1)
		look->room = 0;
	if (look->room == 0)
		return;
	set_room(fd, 0);
	watch->held++;
	/* It may have become another's just now. */
	if (cookie_of(fd) != look->cookie) {
		set_room(fd, look->room);
		look->room = 0;
		watch->held--;
	}
}

/* Whoever waits for room to send is woken. */
static void
release(struct deaf_watch *watch, struct deaf_look *look, int fd)
{
	if (look->room == 0)
		return;
	if (cookie_of(fd) == look->cookie)
		set_room(fd, look->room);
	look->room = 0;
	watch->held--;
}

static struct deaf_look *
look_of(struct deaf_watch *watch, size_t fd)
{
	if (fd >= watch->count) {
		size_t count = fd + fd / 2 + 64;

		watch->looks =
		    xrealloc(watch->looks, count * sizeof(*watch->looks));
		memset(watch->looks + watch->count, 0,
		    (count - watch->count) * sizeof(*watch->looks));
		watch->count = count;
	}
	return &watch->looks[fd];
}

void
deaf_watch_begin(struct deaf_watch *watch)
{
	watch->round++;
}

void
deaf_watch_add(struct deaf_watch *watch, int fd)
{
	struct deaf_look *look = look_of(watch, (size_t)fd);
	uint64_t cookie = cookie_of(fd);

	if (look->cookie != cookie) {
		release(watch, look, fd);
		*look = (struct deaf_look){.cookie = cookie};
	}
	look->round = watch->round;
}

/* Sees the same as before, or begins anew. */
static void
see(struct deaf_watch *watch, struct deaf_look *look, int fd, uint64_t taken,
    int64_t now_ms)
{
	if (look->looks == 0 || look->taken != taken) {
		release(watch, look, fd);
		look->looks = 0;
		look->taken = taken;
		look->since_ms = now_ms;
	}
	look->looks++;
}

static bool
is_deaf(
    struct deaf_watch *watch, struct deaf_look *look, int fd, int64_t now_ms)
{
	int64_t trips_ms;
	uint64_t taken;

	/* Or else it is another by now. */
	if (!is_full(fd) || cookie_of(fd) != look->cookie) {
		release(watch, look, fd);
		look->looks = 0;
		return false;
	}
	trips_ms = taken_by_peer(fd, &taken);
	see(watch, look, fd, taken, now_ms);
	if (look->looks < DEAF_LOOKS ||
	    now_ms - look->since_ms < DEAF_MS + (trips_ms > 0 ? trips_ms : 0))
		return false;
	if (trips_ms >= 0 || look->room > 0)
		return true;
	hold(watch, look, fd);
	look->looks = 1;
	look->since_ms = now_ms;
	return false;
}

static bool
cut(struct deaf_watch *watch, struct deaf_look *look, int fd)
{
	release(watch, look, fd);
	look->looks = 0;
	return shutdown(fd, SHUT_RDWR) == 0;
}

size_t
deaf_watch_cut(struct deaf_watch *watch, int64_t now_ms)
{
	size_t ended = 0;

	for (size_t fd = 0; fd < watch->count; fd++) {
		struct deaf_look *look = &watch->looks[fd];

		if (look->round != watch->round)
			release(watch, look, (int)fd);
		else if (is_deaf(watch, look, (int)fd, now_ms))
			ended += cut(watch, look, (int)fd);
	}
	return ended;
}

size_t
deaf_watch_cut_held(struct deaf_watch *watch, int64_t now_ms)
{
	size_t ended = 0;

	for (size_t fd = 0; fd < watch->count && watch->held > 0; fd++) {
		struct deaf_look *look = &watch->looks[fd];

		if (look->room > 0 && is_deaf(watch, look, (int)fd, now_ms))
			ended += cut(watch, look, (int)fd);
	}
	return ended;
}

void
deaf_watch_release(struct deaf_watch *watch)
{
	for (size_t fd = 0; fd < watch->count && watch->held > 0; fd++)
		release(watch, &watch->looks[fd], (int)fd);
}
