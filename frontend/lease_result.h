/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a lease's result: told to the scheduler, made durable in the
 * action cache when it may be, and turned into the ExecuteResponse that clients
 * get. A result is never answered before it is stored, and never with blobs
 * that are not there.
 */
#ifndef TOOLROOT_FRONTEND_LEASE_RESULT_H
#define TOOLROOT_FRONTEND_LEASE_RESULT_H

#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/arena.h"

struct execution_service;
struct rpc_call;
struct worker_session;

/* An unpacked message and what it lives in. */
struct worker_message {
	struct arena arena;
	Workerapi__WorkerMessage *message;
};

/* The message is a LeaseResult. Takes it (malloc, arena in use). call: whose
 * pool does the work that blocks; not kept. */
void lease_result_take(struct execution_service *service, struct rpc_call *call,
    struct worker_session *session, struct worker_message *message);

#endif
