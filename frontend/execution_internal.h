/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the execution services share. execution.c: the service,
 * its timer, where events go; execution_stream.c: the streams of clients;
 * execute.c: what happens before an action is queued; worker_stream.c: the
 * streams of workers, server_message.c: what is said on them; output_stream.c:
 * readers of what a command writes while it runs; lease_result.c: what a worker
 * brought back; operations.c: the Operations service.
 */
#ifndef TOOLROOT_FRONTEND_EXECUTION_INTERNAL_H
#define TOOLROOT_FRONTEND_EXECUTION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "frontend/execution.h"
#include "frontend/root_memo.h"
#include "frontend/storage.h"
#include "rpc/server.h"

struct error;
struct execution_stream;
struct output_stream;
struct rpc_call;
struct rpc_message;
struct server_message_read;
struct worker_stream;

/* Clients that wait for one operation. */
struct watch {
	struct operation *operation; /* the key; the streams hold references */
	TAILQ_HEAD(, execution_stream) streams;
};

struct execution_service {
	struct execution_options options; /* constant */
	struct storage *storage;          /* constant */
	struct scheduler *scheduler;      /* constant */
	/* Known from the first call on; nothing waits before. */
	_Atomic(struct rpc_server *) server;
	struct rpc_timer tick;
	atomic_uint_least64_t cache_hits;
	struct root_memo roots; /* has its own lock */

	/* Guards what follows and the lists' links. Taken alone. */
	pthread_mutex_t lock;
	struct map watches; /* by operation */
	LIST_HEAD(, worker_stream) workers;
	LIST_HEAD(, output_stream) output_streams;
	size_t output_stream_count;
	size_t stream_count;
	int64_t tick_ms; /* when the timer is set to fire; CLOCK_NEVER */
	bool stopping;
};

/* To be called by each handler: there the server is met. */
void execution_service_meet(
    struct execution_service *service, struct rpc_call *call);
/* Delivers the scheduler's events and sets the timer: after each change. No
 * lock is held. */
void execution_service_kick(struct execution_service *service);

/* --- execution_stream.c ----------------------------------------------------
 */

enum execution_mode {
	EXECUTION_STREAM, /* updates, until the operation is done */
	EXECUTION_UNARY,  /* one answer: when done, or after a while */
};

/* Takes the call over. Until execution_stream_watch or one of the ends it is
 * the caller's, to be used with rpc/call.h by any one thread. */
struct execution_stream *execution_stream_new(struct execution_service *service,
    struct rpc_call *call, enum execution_mode mode);
/* What the client asked to have inline when it is done. Copies; before
 * execution_stream_watch. */
struct inline_options;
void execution_stream_inlining(
    struct execution_stream *stream, const struct inline_options *wanted);
/* Takes the operation's reference and the count as waiting. wait_ms: how long
 * a UNARY one waits. */
void execution_stream_watch(struct execution_stream *stream,
    struct operation *operation, int64_t wait_ms);
/* Ends it with this one message. Takes the message. */
void execution_stream_answer(
    struct execution_stream *stream, struct rpc_message *message);
void execution_stream_fail(
    struct execution_stream *stream, const struct error *err);
struct GrpcStatus__Status;
void execution_stream_fail_status(
    struct execution_stream *stream, const struct GrpcStatus__Status *status);

/* Something has changed, or the server stops. */
void execution_streams_notify(
    struct execution_service *service, struct operation *operation);
void execution_streams_stop(struct execution_service *service);

/* --- execute.c, operations.c, worker_stream.c ------------------------------
 */

void execute(struct rpc_call *call, void *service);
void wait_execution(struct rpc_call *call, void *service);
void operations_add(
    struct method_table *table, struct execution_service *service);
/* Answers NOT_FOUND and returns NULL when there is none. A reference. */
struct operation *operations_find(
    struct execution_service *service, struct str name, struct error *err);

void workers_serve(struct rpc_call *call, void *service);
void worker_stream_offer(const struct scheduler_event *event);
void worker_stream_cancel_lease(const struct scheduler_event *event);
void worker_stream_read_output(
    struct worker_session *session, const struct server_message_read *read);
void worker_stream_lost(const struct scheduler_event *event);
void worker_streams_stop(struct execution_service *service);

#endif
