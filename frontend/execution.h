/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote execution as the server offers it: the Execution and Operations
 * services for clients, Workers for workers, the scheduler between them.
 *
 * Order: execution_service_new, execution_service_add, the RPC server starts;
 * execution_service_stopping at the start of its stop, execution_service_free
 * when it has stopped. All threads are the RPC server's; the tick of the
 * scheduler is one of its timers.
 */
#ifndef TOOLROOT_FRONTEND_EXECUTION_H
#define TOOLROOT_FRONTEND_EXECUTION_H

#include <stdint.h>

#include "executor/scheduler_figures.h"

struct error;
struct execution_service;
struct keep;
struct method_table;
struct stage_metrics;
struct storage;

struct execution_options {
	struct stage_metrics *stages;  /* borrowed; NULL: not counted */
	int64_t action_timeout_ms;     /* for actions that set none */
	int64_t action_timeout_max_ms; /* a longer one is INVALID_ARGUMENT */
	int64_t update_ms; /* longest silence on a client's stream */
	/* event and cookie are the service's. */
	struct scheduler_options scheduler;
};
/* The defaults of the settings. */
void execution_options_init(struct execution_options *options);

/* storage is borrowed. */
struct execution_service *execution_service_new(
    const struct execution_options *options, struct storage *storage);
void execution_service_add(
    struct method_table *table, struct execution_service *service);
/* Ends all streams: clients get UNAVAILABLE and re-attach by WaitExecution or
 * ask anew, workers connect again. For rpc_server_options.stopping. */
void execution_service_stopping(struct execution_service *service);
/* After the RPC server has stopped and its pool is gone. NULL is allowed. */
void execution_service_free(struct execution_service *service);

/* Adds what the operations that are not done need (cas/collector.h). Blocks; -1
 * when the store cannot be read. */
int execution_service_keep(
    struct execution_service *service, struct keep *keep, struct error *err);

/* Its own. */
struct scheduler *execution_service_scheduler(
    struct execution_service *service);

struct execution_statistics {
	struct scheduler_statistics scheduler;
	uint64_t cache_hits; /* Execute answered from the action cache */
	uint64_t streams;    /* clients that wait now */
};
void execution_service_statistics(
    struct execution_service *service, struct execution_statistics *statistics);

#endif
