/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CAS clients of a worker, each with the fetching of inputs through it: one
 * for each pair of instance and digest function that leases name, made when
 * first needed. Any thread.
 */
#ifndef TOOLROOT_WORKER_CAS_CLIENTS_H
#define TOOLROOT_WORKER_CAS_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "cas/digest.h"

struct cas_client;
struct cas_clients;
struct error;
struct input_fetch;
struct rpc_channel;
struct store;

/* The channel is borrowed. threads: transfers at once, of each client. */
struct cas_clients *cas_clients_new(
    struct rpc_channel *channel, size_t threads, bool compress);
/* Closes them all; none may be in use. NULL is allowed. */
void cas_clients_free(struct cas_clients *clients);
/* Closes them all, and from now on makes new ones whose inputs go into this
 * store (borrowed): what a server can do may change with a new session. A
 * store that is the server's own is only looked into. */
void cas_clients_reset(
    struct cas_clients *clients, struct store *store, bool servers_own);

/* Owned by the list. */
struct cas_peer {
	struct cas_client *client;
	struct input_fetch *fetch;
};
int cas_clients_get(struct cas_clients *clients, struct str instance,
    enum digest_function function, struct cas_peer *peer, struct error *err);

#endif
