/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An end to connections that gRPC cannot end. It closes one when it has sent
 * what it has begun to send, and a peer that reads nothing puts that off: over
 * TCP until the kernel gives up, 20 s, which a few bytes read begin anew; over
 * a unix socket for ever.
 *
 * They are found among the descriptors of this process, and shut down: gRPC
 * then sees their peer as gone, and closes them. One that is closed, and its
 * number taken again by another, at the same moment may be shut down in its
 * place; its peer connects again. Any thread; some microseconds for each
 * descriptor, of which none need be free.
 */
#ifndef TOOLROOT_RPC_CONNECTION_H
#define TOOLROOT_RPC_CONNECTION_H

#include <stddef.h>

struct deaf_watch;

/* Room for a peer in gRPC's form, "ipv4:127.0.0.1:60028"; one that is cut short
 * is a unix socket's. */
#define RPC_PEER_MAX 80

/* Every socket that is bound to the port or path of this listening address, for
 * one on which nothing is accepted any more. */
void rpc_connection_cut_all(const char *listen);

/* Connections to a server. */
struct rpc_connection_choice {
	const char *listen;
	const char *local; /* a second listening address, or NULL */
	/* The peers of unix sockets have no name: any one stands for all of
	 * them. */
	char (*peers)[RPC_PEER_MAX];
	size_t count;
};

/* From now on these are watched (rpc/deaf_watch.h), and no others. One
 * thread. */
void rpc_connection_watch(
    struct deaf_watch *watch, const struct rpc_connection_choice *chosen);

#endif
