/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that wait on the server's completion queue and run what
 * completes, its timers, and tasks of other threads. gRPC's input and output
 * happen inside that wait, so what runs here must not block.
 *
 * Order: new, start, (server runs), stop, free. stop wants that nothing more
 * is started on the queue.
 */
#ifndef TOOLROOT_RPC_POLLER_H
#define TOOLROOT_RPC_POLLER_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_pollers;
struct rpc_timer;
struct task;

struct rpc_pollers *rpc_pollers_new(size_t threads);
grpc_completion_queue *rpc_pollers_queue(struct rpc_pollers *pollers);
void rpc_pollers_start(struct rpc_pollers *pollers);
/* Ends the threads; also right after new. Timers no longer fire. */
void rpc_pollers_stop(struct rpc_pollers *pollers);
void rpc_pollers_free(struct rpc_pollers *pollers);

/* Runs the task on a poller, after those that were submitted before. Any
 * thread. Not after stop. */
void rpc_pollers_submit(struct rpc_pollers *pollers, struct task *task);
/* See rpc_timer_set and rpc_timer_cancel. Any thread. */
void rpc_pollers_set_timer(
    struct rpc_pollers *pollers, struct rpc_timer *timer, int64_t deadline_ms);
bool rpc_pollers_cancel_timer(
    struct rpc_pollers *pollers, struct rpc_timer *timer);

#endif
