/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the scheduler's files share. scheduler.c: construction, events, the
 * clients' side; scheduler_lease.c: the workers' side; scheduler_deadline.c:
 * deadlines and the rule for platforms without workers. Every function here is
 * called with the lock held.
 */
#ifndef TOOLROOT_EXECUTOR_SCHEDULER_INTERNAL_H
#define TOOLROOT_EXECUTOR_SCHEDULER_INTERNAL_H

#include <pthread.h>

#include "base/map.h"
#include "executor/queue.h"
#include "executor/scheduler.h"
#include "executor/scheduler_figures.h"

#define SCHEDULER_DEPARTED_MAX 64

/* What a worker offered that is no longer there. */
struct departed {
	struct platform offered;
	int64_t left_ms;
};

struct scheduler {
	struct scheduler_options options; /* constant */
	int64_t start_ms;                 /* constant */

	/* Guards everything below, and what operation.h, session.h and queue.h
	 * call the scheduler's. Holds: an operation is in a queue if and only
	 * if QUEUED, has a lease if and only if LEASED or EXECUTING, is in
	 * by_action only when not DONE; no operation waits that a session with
	 * a free slot could take. Never held across the event function. */
	pthread_mutex_t lock;
	struct map by_name;                 /* all operations */
	struct map by_action;               /* those that others may join */
	TAILQ_HEAD(, operation) operations; /* by number; a reference each */
	TAILQ_HEAD(, operation) finished;   /* oldest first */
	size_t finished_bytes;
	size_t active;       /* operations that are not DONE */
	size_t active_bytes; /* what their requests hold */
	struct queues queues;
	TAILQ_HEAD(, worker_session) sessions; /* a reference each */
	struct departed departed[SCHEDULER_DEPARTED_MAX];
	size_t departed_next; /* the slot to overwrite */
	struct heap operation_deadlines;
	struct heap session_deadlines;
	struct heap queue_deadlines;
	uint64_t last_number; /* of operations and sessions */
	struct scheduler_statistics figures;
	STAILQ_HEAD(, scheduler_event) events;
	bool delivering; /* a thread is in scheduler_deliver's loop */
};

/* --- scheduler.c -----------------------------------------------------------
 */
/* Takes references to what it is given. */
struct scheduler_event *scheduler_add_event(struct scheduler *s,
    enum scheduler_event_kind kind, struct operation *operation,
    struct worker_session *session);
/* Moves to a state that is not DONE; sets its deadline; an event. */
void scheduler_set_state(struct scheduler *s, struct operation *operation,
    enum operation_state state, int64_t now_ms);
/* Ends it, from any state: response (taken) or err. */
void scheduler_finish(struct scheduler *s, struct operation *operation,
    const struct error *err, struct str response, int64_t now_ms);
void scheduler_drop(struct scheduler *s, struct operation *operation);

/* --- scheduler_lease.c -----------------------------------------------------
 */
/* Gives a queued operation to the best free worker, if there is one. */
void scheduler_assign(
    struct scheduler *s, struct operation *operation, int64_t now_ms);
void scheduler_remove_from_queue(
    struct scheduler *s, struct operation *operation);
/* The lease loses its operation, which is not requeued; the worker is told. */
void scheduler_cancel_lease(
    struct scheduler *s, struct lease *lease, const char *reason);
/* After a failed attempt that code and reason tell of: back to the queue or,
 * when no attempt is left, the end. No lease, no queue. */
void scheduler_try_again(struct scheduler *s, struct operation *operation,
    const struct error *err, int64_t now_ms);
/* The deadline of the lease's stage has passed. */
void scheduler_expire_lease(
    struct scheduler *s, struct lease *lease, int64_t now_ms);
/* All that leaving means; nothing when it is not joined. */
void scheduler_remove_session(struct scheduler *s,
    struct worker_session *session, const char *reason, int64_t now_ms);

/* --- scheduler_deadline.c --------------------------------------------------
 */
void scheduler_set_deadline(struct scheduler *s, struct operation *operation);
void scheduler_set_session_deadline(
    struct scheduler *s, struct worker_session *session, int64_t now_ms);
/* The time until which operations with these requirements may wait for the
 * first worker that matches; CLOCK_NEVER when there is one. */
int64_t scheduler_unmatched_deadline(
    const struct scheduler *s, const struct platform *required);
void scheduler_set_queue_deadline(struct scheduler *s, struct queue *queue);
/* A worker came or went. */
void scheduler_set_queue_deadlines(struct scheduler *s);
void scheduler_remember_departed(
    struct scheduler *s, const struct worker_session *session, int64_t now_ms);
/* FAILED_PRECONDITION: what is missing, and how to mend it. */
void scheduler_explain_unmatched(const struct scheduler *s,
    const struct platform *required, struct error *err);

#endif
