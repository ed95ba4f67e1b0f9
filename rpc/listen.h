/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening addresses, "host:port" and "unix:path": may we listen there
 * without TLS, and why does binding fail (gRPC does not say). Whoever uses
 * these has an accept4 that leaves descriptors free (listen.c).
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
/* The path of a unix socket, within the address; NULL: it is none. */
const char *rpc_listen_path(const char *listen);

#endif
