/* SPDX-License-Identifier: Apache-2.0 */
/* The execution service: its parts, its timer, and where events go. */
#include "frontend/execution.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/keep.h"
#include "frontend/execution_internal.h"
#include "frontend/method_table.h"
#include "frontend/operation_log.h"
#include "frontend/output_stream.h"
#include "rpc/call.h"

/* Operations that are referenced at once. */
#define KEEP_BATCH 256
#define SERVICE "/build.bazel.remote.execution.v2.Execution/"

void
execution_options_init(struct execution_options *options)
{
	*options = (struct execution_options){
	    .action_timeout_ms = 15 * 60 * 1000,
	    .action_timeout_max_ms = 60 * 60 * 1000,
	    .update_ms = 30 * 1000,
	};
	scheduler_options_init(&options->scheduler);
}

/* --- events ----------------------------------------------------------------
 */

static void
execution_event(const struct scheduler_event *event, void *cookie)
{
	struct execution_service *service = cookie;

	switch (event->kind) {
	case EVENT_OPERATION_DONE:
		operation_log_done(event->operation);
		execution_streams_notify(service, event->operation);
		output_streams_notify(service, event->operation);
		break;
	case EVENT_OPERATION_CHANGED:
		execution_streams_notify(service, event->operation);
		output_streams_notify(service, event->operation);
		break;
	case EVENT_LEASE_OFFERED:
		worker_stream_offer(event);
		output_streams_notify(service, event->operation);
		break;
	case EVENT_LEASE_CANCELLED:
		worker_stream_cancel_lease(event);
		break;
	case EVENT_SESSION_LOST:
		worker_stream_lost(event);
		break;
	}
}

/* --- time ------------------------------------------------------------------
 */

void
execution_service_meet(struct execution_service *service, struct rpc_call *call)
{
	atomic_store(&service->server, rpc_call_server(call));
}

void
execution_service_kick(struct execution_service *service)
{
	struct rpc_server *server = atomic_load(&service->server);
	int64_t next;

	scheduler_deliver(service->scheduler);
	next = scheduler_next_deadline(service->scheduler);
	pthread_mutex_lock(&service->lock);
	/* The server outlives its calls only; after them nothing is due. */
	if (server != NULL && !service->stopping && next < service->tick_ms) {
		service->tick_ms = next;
		rpc_timer_set(server, &service->tick, next);
	}
	pthread_mutex_unlock(&service->lock);
}

static void
execution_tick(struct rpc_timer *timer)
{
	struct execution_service *service =
	    CONTAINER_OF(timer, struct execution_service, tick);

	pthread_mutex_lock(&service->lock);
	service->tick_ms = CLOCK_NEVER;
	pthread_mutex_unlock(&service->lock);
	scheduler_tick(service->scheduler, clock_monotonic_ms());
	execution_service_kick(service);
}

/* --- the service -----------------------------------------------------------
 */

struct execution_service *
execution_service_new(
    const struct execution_options *options, struct storage *storage)
{
	struct execution_service *service = xcalloc(1, sizeof(*service));

	service->options = *options;
	service->options.scheduler.event = execution_event;
	service->options.scheduler.cookie = service;
	service->storage = storage;
	service->scheduler =
	    scheduler_new(&service->options.scheduler, clock_monotonic_ms());
	service->tick_ms = CLOCK_NEVER;
	rpc_timer_init(&service->tick, execution_tick);
	pthread_mutex_init(&service->lock, NULL);
	root_memo_init(&service->roots);
	map_init(&service->watches);
	LIST_INIT(&service->workers);
	LIST_INIT(&service->output_streams);
	return service;
}

void
execution_service_add(
    struct method_table *table, struct execution_service *service)
{
	method_table_add(table, (struct rpc_method){SERVICE "Execute",
				    RPC_SERVER_STREAM, execute, service});
	method_table_add(
	    table, (struct rpc_method){SERVICE "WaitExecution",
		       RPC_SERVER_STREAM, wait_execution, service});
	method_table_add(
	    table, (struct rpc_method){"/toolroot.worker.v1.Workers/Serve",
		       RPC_SESSION, workers_serve, service});
	operations_add(table, service);
}

void
execution_service_stopping(struct execution_service *service)
{
	pthread_mutex_lock(&service->lock);
	service->stopping = true;
	pthread_mutex_unlock(&service->lock);
	execution_streams_stop(service);
	output_streams_stop(service);
	worker_streams_stop(service);
}

void
execution_service_free(struct execution_service *service)
{
	if (service == NULL)
		return;
	scheduler_free(service->scheduler);
	map_clear(&service->watches);
	root_memo_clear(&service->roots);
	pthread_mutex_destroy(&service->lock);
	free(service);
}

int
execution_service_keep(
    struct execution_service *service, struct keep *keep, struct error *err)
{
	struct operation *operations[KEEP_BATCH];
	uint64_t after = 0;
	size_t count;
	int rc = 0;

	do {
		count = scheduler_list_unfinished(
		    service->scheduler, &after, operations, KEEP_BATCH);
		for (size_t i = 0; i < count; i++) {
			if (rc == 0) {
				keep->roots++;
				rc = keep_add_action(
				    keep, &operations[i]->action_digest, err);
			}
			operation_unref(operations[i]);
		}
	} while (rc == 0 && count == KEEP_BATCH);
	return rc;
}

struct scheduler *
execution_service_scheduler(struct execution_service *service)
{
	return service->scheduler;
}

void
execution_service_statistics(
    struct execution_service *service, struct execution_statistics *statistics)
{
	scheduler_statistics(service->scheduler, &statistics->scheduler);
	statistics->cache_hits = atomic_load(&service->cache_hits);
	pthread_mutex_lock(&service->lock);
	statistics->streams = service->stream_count;
	pthread_mutex_unlock(&service->lock);
}
