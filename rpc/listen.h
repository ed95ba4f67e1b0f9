/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening addresses, "host:port" and "unix:path": may we listen there
 * without TLS, why does binding fail (gRPC does not say), and an end to the
 * connections there that gRPC cannot end.
 */
#ifndef TOOLROOT_RPC_LISTEN_H
#define TOOLROOT_RPC_LISTEN_H

#include <stdbool.h>

struct error;

/* INVALID_ARGUMENT: another form, or, unless beyond_loopback, an address that
 * is neither loopback nor a unix socket. FAILED_PRECONDITION: a unix socket on
 * which a server answers (gRPC would unlink it), or an unknown host. Blocks on
 * the resolver. */
int rpc_listen_check(
    const char *listen, bool beyond_loopback, struct error *err);
/* After gRPC failed to bind: sets err, FAILED_PRECONDITION with the address
 * and what the kernel says to it. Returns -1. */
int rpc_listen_explain(const char *listen, struct error *err);
/* "host:port" with this port, or the unix address as it is. malloc. */
char *rpc_listen_address(const char *listen, int port);
/* Shuts down every socket of this process that is bound to this port or path:
 * whoever uses one sees its peer as gone, and closes it. For an address of
 * ours, on which nothing is accepted any more. Any thread. */
void rpc_listen_cut(const char *listen);

#endif
