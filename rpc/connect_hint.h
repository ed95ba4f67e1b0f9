/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do when a server cannot be reached: gRPC's texts tell what the
 * socket or OpenSSL said, not which setting is wrong. Pure.
 */
#ifndef TOOLROOT_RPC_CONNECT_HINT_H
#define TOOLROOT_RPC_CONNECT_HINT_H

#include <stdbool.h>

struct error;

/* err: of a call to the server at this address (grpc://..., grpcs://...).
 * NULL: nothing is known about such an error. */
const char *rpc_connect_hint(const char *address, const struct error *err);
/* What TLS said will be said again until somebody changes a setting. */
bool rpc_connect_is_final(const struct error *err);

#endif
