/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own worker: `toolroot worker` as a child process that reads its
 * inputs straight from the server's store. Started anew when it ends, with
 * growing pauses. All from the main thread, which gets SIGCHLD.
 */
#ifndef TOOLROOT_FRONTEND_LOCAL_WORKERS_H
#define TOOLROOT_FRONTEND_LOCAL_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/settings.h"

struct error;
struct local_workers;

/* Borrowed as long as the object. */
struct local_workers_options {
	const char *server; /* "grpc://HOST:PORT" or "unix:PATH" */
	const char *store;  /* the directory */
	uint64_t slots;
	const char *config; /* settings file; NULL = as without --config */
	bool host_root;
	const char *staging;
	uint64_t tree_cache_size;
	bool allow_network;
	const char *sandbox;
	const char *http; /* where it serves its own metrics; NULL: nowhere */
	bool insecure_listen;
	const char *log_level;
	const char *log_format;
	const struct setting_list *properties;
};

/* Starts the child. */
struct local_workers *local_workers_start(
    const struct local_workers_options *options, struct error *err);
/* After SIGCHLD or when the returned time (monotonic ms) has come: sees to a
 * child that ended. CLOCK_NEVER: nothing is due. */
int64_t local_workers_tend(struct local_workers *workers, int64_t now_ms);
/* SIGTERM, a bounded wait, SIGKILL. Frees. NULL is allowed. */
void local_workers_stop(struct local_workers *workers, int64_t grace_ms);

#endif
