/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of one worker process share. Set up by worker.c before the
 * slots' threads start; fields without a word on threads never change then.
 */
#ifndef TOOLROOT_WORKER_WORKER_STATE_H
#define TOOLROOT_WORKER_WORKER_STATE_H

#include <stdatomic.h>

#include "worker/worker.h"

struct cas_clients;
struct file_cache;
struct input_fetcher;
struct lease_table;
struct rpc_channel;
struct session;
struct spawner;
struct store;
struct tree_cache;
struct worker_metrics;

struct worker {
	const struct worker_options *options;
	const char *name;
	const char *directory; /* our part of options->cache */
	struct spawner *spawner;
	/* One for the session alone: a server that is short of memory ends
	 * connections whose peer takes nothing of what it was sent, and one
	 * that transfers fill looks like that. */
	struct rpc_channel *session_channel;
	struct rpc_channel *channel; /* of all else */
	struct store *store;         /* set before the first lease */
	struct file_cache *files;
	struct subtrees *subtrees; /* NULL but with images */
	struct tree_cache *trees;
	struct lease_table *leases;
	struct cas_clients *clients; /* has its own lock */
	/* Set by the receiving thread while no lease is held, so that slots
	 * see one session from the beginning of a lease to its end. */
	struct session *session;
	struct worker_metrics *metrics; /* has its own locks */
	/* For metrics: the store once it is open, and whether a server has
	 * welcomed us. */
	_Atomic(struct store *) shown_store;
	atomic_bool connected;
	atomic_int signals; /* SIGTERM and SIGINT so far */
};

#endif
