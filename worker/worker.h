/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: connects out to a server, takes leases (protos/toolroot/worker/v1)
 * and runs their actions in sandboxes, until it is told to end. Loses the
 * server: kills what runs, connects again with growing pauses.
 *
 * Threads: the caller's receives from the server; one sends to it; one for
 * each slot runs actions; one waits for signals; and the spawner is a process
 * of its own (worker/spawner.h).
 */
#ifndef TOOLROOT_WORKER_WORKER_H
#define TOOLROOT_WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/action_limits.h"

#include "worker/staging.h"

struct error;

struct worker_property {
	const char *name;
	const char *value;
};

struct worker_options {
	/* The server, as in rpc/channel.h. */
	const char *server;
	const char *tls_ca;
	const char *tls_certificate;
	const char *tls_key;
	const char *name; /* NULL = "<host name>" */
	size_t slots;
	/* What is offered to actions; OSFamily and ISA are added where
	 * absent. */
	const struct worker_property *properties;
	size_t property_count;
	/* A directory of which each worker process takes a part: plain files
	 * and, without local_store, its own store of inputs. */
	const char *cache;
	uint64_t cache_size; /* bytes of the store and of the plain files */
	uint64_t tree_cache_size; /* bytes of toolchain trees beside them */
	/* The server's own store, read beside it; then nothing is fetched. */
	const char *local_store;
	bool host_root; /* non-hermetic: worker/host_root.h */
	enum staging staging;
	bool unfenced;               /* --sandbox=none */
	uint64_t scratch_size;       /* bytes that one action may write */
	uint64_t scratch_files;      /* and files, inputs included */
	struct action_limits limits; /* of one action, at most */
	bool allow_network;          /* to actions with network=true */
	uint64_t stream_limit;    /* bytes of stdout and stderr that are kept */
	const char *default_path; /* NULL = RUN_COMMAND_DEFAULT_PATH */
	bool compress;            /* zstd on the way: slow networks */
	/* Where the worker's own metrics are served, "host:port"; NULL =
	 * nowhere. Beyond loopback only when insecure_listen. */
	const char *http;
	bool insecure_listen;
	/* SIGTERM when this process, which started us, ends. By its number: it
	 * may have ended before we ask who it is. 0: none. */
	uint64_t exit_with_parent;
};

/* In a process with one thread. Returns 0 after SIGTERM or SIGINT, when the
 * leases at hand are done (a second signal cancels them); -1 when it cannot
 * start or the server refuses it for good. */
int worker_run(const struct worker_options *options, struct error *err);

#endif
