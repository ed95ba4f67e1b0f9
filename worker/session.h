/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One session with a server: Hello, Welcome, then leases one way, heartbeats
 * and results the other way. Receives on the calling thread; a thread of its
 * own sends, so that results, heartbeats and the drain keep their order.
 */
#ifndef TOOLROOT_WORKER_SESSION_H
#define TOOLROOT_WORKER_SESSION_H

#include <stdbool.h>

struct error;
struct session;
struct worker;
struct Workerapi__EarlyOutputs;
struct Workerapi__LeaseResult;

struct session *session_new(struct worker *worker);
/* NULL is allowed. */
void session_free(struct session *session);

/* From connecting until the session is over and no lease is left (leases that
 * run when it breaks are cancelled). 0: the server ended it, or we drained.
 * -1: with the reason. */
int session_serve(struct session *session, struct error *err);
/* Whether the server has welcomed us. After session_serve. */
bool session_was_welcome(const struct session *session);

/* All from any thread, while session_serve runs. */
/* Queues the result, packed. One that is longer than the server takes is sent
 * without its inline streams, or as INVALID_ARGUMENT. */
void session_send_result(
    struct session *session, struct Workerapi__LeaseResult *result);
/* Queues news of a lease that runs, packed. */
void session_send_early(
    struct session *session, struct Workerapi__EarlyOutputs *early);
/* Something changed that the sending thread waits for: a slot is free, or the
 * worker is to end. */
void session_wake(struct session *session);
/* Gives up when nothing could be sent for as long as a lease lives. */
void session_check(struct session *session);

#endif
