/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server sends to workers, packed: ServerMessage of
 * protos/toolroot/worker/v1. No state; any thread.
 */
#ifndef TOOLROOT_FRONTEND_SERVER_MESSAGE_H
#define TOOLROOT_FRONTEND_SERVER_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "executor/scheduler.h"

struct rpc_message;

/* timeout_ms: how long a lease outlives its last heartbeat. */
struct rpc_message *server_message_welcome(const struct worker_session *session,
    int64_t timeout_ms, uint64_t max_message_bytes);
/* The event is LEASE_OFFERED. */
struct rpc_message *server_message_lease(const struct scheduler_event *event);
/* The event is LEASE_CANCELLED. */
struct rpc_message *server_message_cancel_lease(
    const struct scheduler_event *event);
struct rpc_message *server_message_shutdown(const char *reason);

/* See ReadOutput. */
struct server_message_read {
	uint64_t id;
	const char *lease_id;
	bool standard_error;
	uint64_t offset;
	uint32_t limit; /* 0: withdraw it */
};
struct rpc_message *server_message_read_output(
    const struct server_message_read *read);

#endif
