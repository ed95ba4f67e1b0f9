/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server put together: store, services, gRPC and HTTP. Order:
 * server_open (binds the ports), server_start, server_drain, server_stop,
 * server_close; all from the main thread.
 */
#ifndef TOOLROOT_FRONTEND_SERVER_H
#define TOOLROOT_FRONTEND_SERVER_H

#include "cas/digest.h"

struct error;
struct serve_options;
struct server;

/* options are complete and borrowed. */
struct server *server_open(
    const struct serve_options *options, struct error *err);
/* Requests are answered from now on. */
void server_start(struct server *server);
/* "grpc://HOST:PORT", "grpcs://HOST:PORT" or "unix:PATH". */
const char *server_grpc_address(const struct server *server);
/* "http://HOST:PORT". */
const char *server_http_address(const struct server *server);
/* Whether the empty instance has a toolchain named default; its root as
 * "<hash>/<size>". 1, 0, -1. */
int server_default_toolchain(const struct server *server,
    char root[static DIGEST_TEXT_MAX], struct error *err);
/* Where local workers connect. */
const char *server_worker_address(const struct server *server);
/* It is not ready or healthy any more, for balancers to see; still answers. The
 * grace of the options begins. */
void server_drain(struct server *server);
/* Running calls get what is left of the grace; long ones are ended so that
 * their clients come back. */
void server_stop(struct server *server);
/* NULL is allowed. */
void server_close(struct server *server);

#endif
