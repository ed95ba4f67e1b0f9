/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the peer of a socket takes what is sent to it. A socket that cannot
 * take another byte tells little: that of a peer which reads as fast as we send
 * is like that, too, most of the time. So it is looked at again and again, and
 * its peer is deaf when it has taken nothing meanwhile: over TCP no byte was
 * acknowledged, and there was time for that. Of a unix socket's queue the
 * length alone is known, and one that is filled again may have the same length
 * each time. So the socket is held then: given no room for more, it is looked
 * at for as long again, and what its peer takes shows, as soon as that is a
 * buffer of the kernel's (36 KiB at most). It has its room back when its peer
 * takes something, or when it is watched no more.
 *
 * Which sockets are watched is said anew now and then, since that is expensive
 * (rpc/connection.h); to look at those is cheap. One thread. Times are those of
 * the monotonic clock, passed in.
 */
#ifndef TOOLROOT_RPC_DEAF_WATCH_H
#define TOOLROOT_RPC_DEAF_WATCH_H

#include <stddef.h>
#include <stdint.h>

/* So long, and two round trips, a peer has to take something, and so often it
 * is looked at; that of a unix socket the same again when it is held. */
#define DEAF_MS 100
#define DEAF_LOOKS 10

struct deaf_look;

struct deaf_watch {
	struct deaf_look *looks; /* by descriptor */
	size_t count;
	size_t held;
	unsigned round; /* of saying which ones */
};

void deaf_watch_init(struct deaf_watch *watch);
void deaf_watch_clear(struct deaf_watch *watch);
/* None are watched from here on but those that are added; what was seen of
 * these before counts. */
void deaf_watch_begin(struct deaf_watch *watch);
void deaf_watch_add(struct deaf_watch *watch, int fd);
/* Looks at all of them, and shuts down those whose peer has been deaf since
 * some earlier look. Returns how many. */
size_t deaf_watch_cut(struct deaf_watch *watch, int64_t now_ms);
/* The same of those that are held alone, until each is cut or released: so what
 * was begun comes to an end, however short the time in which peers are watched.
 */
size_t deaf_watch_cut_held(struct deaf_watch *watch, int64_t now_ms);
/* None are held: before a time in which they are not looked at. */
void deaf_watch_release(struct deaf_watch *watch);

#endif
