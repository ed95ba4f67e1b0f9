/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An end to connections that gRPC cannot end. It closes one when it has sent
 * what it has begun to send, and a peer that reads nothing puts that off: over
 * TCP until the kernel gives up, 20 s, which a few bytes read begin anew; over
 * a unix socket for ever.
 *
 * They are found among the descriptors of this process and shut down: gRPC
 * then sees their peer as gone, and closes them. One that is closed, and its
 * number taken again by another, at the same moment may be shut down in its
 * place; its peer connects again. Any thread; some microseconds for each
 * descriptor.
 */
#ifndef TOOLROOT_RPC_CONNECTION_H
#define TOOLROOT_RPC_CONNECTION_H

#include <stddef.h>

/* Room for a peer in gRPC's form, "ipv4:127.0.0.1:60028"; one that is cut short
 * is a unix socket's. */
#define RPC_PEER_MAX 80

/* Every socket that is bound to the port or path of this listening address, for
 * one on which nothing is accepted any more. */
void rpc_connection_cut_all(const char *listen);
/* Those accepted there that belong to one of these peers and cannot take
 * another byte at this moment. The peers of unix sockets have no name: any one
 * stands for all of them. Returns how many. */
size_t rpc_connection_cut_deaf(
    const char *listen, char (*peers)[RPC_PEER_MAX], size_t count);

#endif
