/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler: which worker runs which action, and what becomes of it.
 * Policy only: no RPC, no disk, no clock but the now_ms that is passed in
 * (monotonic milliseconds). The cache check comes before: what is submitted
 * is to be executed.
 *
 *   submit -> QUEUED -> LEASED -> EXECUTING -> STORING -> DONE -> forgotten
 *                ^         |          |           |
 *                +---------+----------+-----------+  lost or failed worker,
 *                                                    at most attempts_max
 *
 * Every state has a deadline: the longest wait in the queue (or the grace
 * while no worker matches), the worker's heartbeat and the stages of its
 * lease, storing, being kept when done; and from any state but DONE the grace
 * after the last client has gone. scheduler_next_deadline tells when
 * scheduler_tick is due.
 *
 * Threads: all functions from any thread; one lock inside, never held across
 * a callback. What others must learn becomes an event; events wait in order
 * until somebody calls scheduler_deliver, which hands them to the event
 * function outside the lock, one thread at a time, so that a worker is never
 * told to cancel a lease before it is told of the lease. Call it after every
 * function that says "events".
 */
#ifndef TOOLROOT_EXECUTOR_SCHEDULER_H
#define TOOLROOT_EXECUTOR_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "executor/operation.h"
#include "executor/session.h"

struct scheduler;

enum scheduler_event_kind {
	EVENT_OPERATION_CHANGED, /* another state, or more early outputs */
	EVENT_OPERATION_DONE,    /* last event of the operation */
	EVENT_LEASE_OFFERED,     /* send it to the session's worker */
	EVENT_LEASE_CANCELLED,   /* likewise */
	EVENT_SESSION_LOST,      /* silent for too long: end its stream */
};

struct scheduler_event {
	enum scheduler_event_kind kind;
	struct operation *operation;    /* CHANGED, DONE, OFFERED */
	struct worker_session *session; /* OFFERED, CANCELLED, LOST */
	char lease_id[LEASE_ID_SIZE];   /* OFFERED, CANCELLED */
	unsigned attempt;               /* OFFERED: from 1 */
	unsigned lease_number;          /* OFFERED: see struct operation */
	const char *reason;             /* CANCELLED, LOST: static text */
	STAILQ_ENTRY(scheduler_event) link;
};

struct scheduler_options {
	int64_t queue_timeout_ms; /* longest wait for a worker */
	int64_t unmatched_ms;     /* longest wait for the first that matches */
	int64_t heartbeat_ms;     /* silence after which a session is lost */
	int64_t lease_grace_ms;   /* for each part of a lease: before the
				   * command runs, beyond its timeout, after */
	int64_t store_ms;         /* for storing a result */
	int64_t abandon_ms;       /* how long nobody may wait */
	int64_t retention_ms;     /* how long a done operation is kept */
	size_t retained_max;      /* how many of them */
	size_t retained_bytes;    /* and how much they may hold */
	unsigned attempts_max;
	size_t operations_max;   /* that are not done */
	size_t operations_bytes; /* and what their requests may hold */
	/* Must not block; may call the scheduler. The event and what it names
	 * are borrowed (take references to keep them). */
	void (*event)(const struct scheduler_event *event, void *cookie);
	void *cookie;
};
/* Fills in defaults, except event and cookie. */
void scheduler_options_init(struct scheduler_options *options);

struct scheduler *scheduler_new(
    const struct scheduler_options *options, int64_t now_ms);
/* Nobody may use it any more. Sessions and operations go with their last
 * reference. NULL is allowed. */
void scheduler_free(struct scheduler *scheduler);

void scheduler_deliver(struct scheduler *scheduler);
/* CLOCK_NEVER when nothing is due ever. */
int64_t scheduler_next_deadline(struct scheduler *scheduler);
/* Does what is due. Events. */
void scheduler_tick(struct scheduler *scheduler, int64_t now_ms);

/* --- clients ---------------------------------------------------------------
 */

/* Queues an operation, or joins the equal one in flight. A fresh one joins too,
 * except when the result is being stored: then it may be seen already. Returns
 * a reference, with the caller counted as waiting. NULL: INVALID_ARGUMENT for
 * the platform; FAILED_PRECONDITION when no worker matched for the grace,
 * naming the nearest; RESOURCE_EXHAUSTED at operations_max or
 * operations_bytes. Events. */
struct operation *scheduler_submit(struct scheduler *scheduler,
    const struct operation_request *request, int64_t now_ms, struct error *err);
/* A reference by name; NULL when it is unknown or forgotten. */
struct operation *scheduler_find(struct scheduler *scheduler, struct str name);
/* The equal operation in flight, with the caller counted as waiting; NULL when
 * there is none. For asking before work is spent on checks: of the request only
 * instance, action_digest, priority and fresh are looked at. */
struct operation *scheduler_join(
    struct scheduler *scheduler, const struct operation_request *request);
/* One more client waits, or one less. Each wait is counted once. */
void scheduler_wait(struct scheduler *scheduler, struct operation *operation);
void scheduler_unwait(
    struct scheduler *scheduler, struct operation *operation, int64_t now_ms);
/* Ends it with CANCELLED, for all clients. Nothing happens when it is done.
 * Events. */
void scheduler_cancel(
    struct scheduler *scheduler, struct operation *operation, int64_t now_ms);
/* Forgets it when done, else returns false. */
bool scheduler_forget(struct scheduler *scheduler, struct operation *operation);

struct operation_status {
	enum operation_state state;
	unsigned attempt;
	size_t waiters;
	size_t place;     /* when queued: 1 = next of its invocation */
	size_t queued;    /* operations in the same queue */
	char worker[256]; /* who has it, or had it last; "" = nobody yet */
};
/* Once it says DONE, operation->error and ->response may be read. */
void scheduler_status(struct scheduler *scheduler,
    const struct operation *operation, struct operation_status *status);
/* Who runs it now, for those who want to see its output. */
struct operation_lease {
	enum operation_state state;
	unsigned number;                /* of its last lease; 0 = none yet */
	char id[LEASE_ID_SIZE];         /* when there is a session */
	struct worker_session *session; /* a reference, or NULL: nobody */
};
void scheduler_operation_lease(struct scheduler *scheduler,
    const struct operation *operation, struct operation_lease *lease);
/* What its present lease has reported early; the caller frees the bytes. Empty
 * when nothing was, or it has no lease. */
struct str scheduler_operation_early(
    struct scheduler *scheduler, const struct operation *operation);
/* References to up to count operations of the instance with numbers above
 * *after, oldest first; *after moves on. Returns how many. */
size_t scheduler_list(struct scheduler *scheduler, struct str instance,
    uint64_t *after, struct operation **operations, size_t count);

/* The same for those of all instances that are not done: what their actions
 * need must be kept. */
size_t scheduler_list_unfinished(struct scheduler *scheduler, uint64_t *after,
    struct operation **operations, size_t count);

/* --- results ---------------------------------------------------------------
 */

/* Ends a STORING operation with this encoded ExecuteResponse, and how it ran
 * (NULL: that is not told). Takes response (malloc). Ignored when the operation
 * has ended otherwise. Events. */
void scheduler_complete(struct scheduler *scheduler,
    struct operation *operation, struct str response,
    const struct operation_run *run, int64_t now_ms);
/* Its result could not be used: tries again while attempts are left, else
 * ends with err. Events. */
void scheduler_retry(struct scheduler *scheduler, struct operation *operation,
    const struct error *err, int64_t now_ms);

/* --- workers ---------------------------------------------------------------
 */

/* Keeps a reference until it leaves or is lost. Events. */
void scheduler_join_session(struct scheduler *scheduler,
    struct worker_session *session, int64_t now_ms);
/* The stream is gone: its leases are lost, and the worker counts as lost unless
 * it drained: true. May be called more than once. Events. */
bool scheduler_leave_session(struct scheduler *scheduler,
    struct worker_session *session, int64_t now_ms);
/* No more leases for it. Events. */
void scheduler_drain_session(struct scheduler *scheduler,
    struct worker_session *session, int64_t now_ms);

struct lease_report {
	struct str lease_id;
	enum lease_stage stage;
};
struct session_heartbeat {
	const struct lease_report *leases;
	size_t lease_count;
	const struct str *held_roots;
	size_t held_root_count;
};
/* A lease that an earlier heartbeat named and this one does not is lost.
 * Events. */
void scheduler_heartbeat(struct scheduler *scheduler,
    struct worker_session *session, const struct session_heartbeat *heartbeat,
    int64_t now_ms);

/* Outputs that are there while the lease goes on, all that it reported. */
struct early_report {
	struct str outputs; /* an encoded EarlyOutputs */
	size_t files;       /* in it */
	uint64_t bytes;     /* of those, as the worker says */
};
/* Copied; kept until the lease ends. False, and nothing changed, when the
 * worker does not hold it. Events. */
bool scheduler_report_early(struct scheduler *scheduler,
    struct worker_session *session, struct str lease_id,
    const struct early_report *report);

enum lease_outcome {
	LEASE_FINISHED, /* with a result that holds, good or bad */
	LEASE_TROUBLE,  /* of the worker: another may do better */
	LEASE_RETURNED, /* not run: cancelled, or the worker drains */
};
enum lease_reply {
	LEASE_UNKNOWN, /* the worker does not hold it; nothing changed */
	LEASE_TAKEN,   /* nothing more to do */
	LEASE_STORE,   /* store the result, then scheduler_complete or _retry */
};
/* The end of a lease, as the worker tells it. */
struct lease_end {
	struct str lease_id;
	enum lease_outcome outcome;
	const struct error *error; /* what went wrong, unless FINISHED */
};
/* The slot is free again. *operation: a reference, when LEASE_STORE, else
 * NULL. Events. */
enum lease_reply scheduler_end_lease(struct scheduler *scheduler,
    struct worker_session *session, const struct lease_end *end, int64_t now_ms,
    struct operation **operation);

#endif
