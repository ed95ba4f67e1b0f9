/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the disk of the store now and then whether it takes writes, and sets the
 * health service by that. A thread of the pool asks, in a task of its own: what
 * else hangs on a disk that hangs does not keep it from being asked. That it
 * does not answer is seen by a timer, which waits for no disk
 * (frontend/probe_watch.h). Logged where it changes.
 */
#ifndef TOOLROOT_FRONTEND_DISK_PROBE_H
#define TOOLROOT_FRONTEND_DISK_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct disk_probe;
struct health_service;
struct rpc_server;
struct store;
struct thread_pool;

struct disk_probe_options {
	struct store *store;
	struct health_service *health;
	struct thread_pool *pool;
	int64_t every_ms; /* from one answer to the next question */
};

/* The options' objects outlive it. */
struct disk_probe *disk_probe_new(const struct disk_probe_options *options);
/* Not before the server of disk_probe_start and the pool are gone. NULL is
 * allowed. */
void disk_probe_free(struct disk_probe *probe);

/* Until the server stops, whose timers are used. Once. */
void disk_probe_start(struct disk_probe *probe, struct rpc_server *server);
/* Has it not answered for long? Any thread. */
bool disk_probe_late(const struct disk_probe *probe);

#endif
