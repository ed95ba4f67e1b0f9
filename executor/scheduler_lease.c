/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's workers' side: sessions, leases, attempts. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "executor/scheduler_internal.h"

/* --- giving out ------------------------------------------------------------
 */

static void
scheduler_forget_queue(struct queue *queue, void *cookie)
{
	struct scheduler *s = cookie;

	heap_remove(&s->queue_deadlines, &queue->deadline);
}

void
scheduler_remove_from_queue(struct scheduler *s, struct operation *operation)
{
	queues_remove(&s->queues, operation, scheduler_forget_queue, s);
}

static void
scheduler_give(struct scheduler *s, struct operation *operation,
    struct worker_session *session, int64_t now_ms)
{
	struct scheduler_event *event;
	struct lease *lease;

	scheduler_remove_from_queue(s, operation);
	lease = lease_new(session, operation);
	lease->stage_ms = now_ms;
	operation->lease = lease;
	operation->attempts++;
	operation->lease_number++;
	snprintf(operation->worker, sizeof(operation->worker), "%.*s",
	    STR_ARG(session->worker_name));
	queues_started(&s->queues, operation);
	s->figures.leases_offered++;
	scheduler_set_state(s, operation, OPERATION_LEASED, now_ms);
	event = scheduler_add_event(s, EVENT_LEASE_OFFERED, operation, session);
	memcpy(event->lease_id, lease->id, sizeof(event->lease_id));
	event->attempt = operation->attempts;
	event->lease_number = operation->lease_number;
}

/* Whether the worker failed on it and another one could take it. */
static bool
scheduler_should_avoid(const struct scheduler *s,
    const struct operation *operation, const struct worker_session *session)
{
	const struct worker_session *other;

	if (operation->avoid_session != session->number)
		return false;
	TAILQ_FOREACH (other, &s->sessions, link) {
		if (other != session && !other->draining &&
		    platform_matches(&operation->platform, &other->offered))
			return true;
	}
	return false;
}

struct candidate {
	const struct scheduler *scheduler;
	const struct worker_session *session;
};

static bool
scheduler_avoids(const struct operation *operation, void *cookie)
{
	const struct candidate *candidate = cookie;

	return scheduler_should_avoid(
	    candidate->scheduler, operation, candidate->session);
}

/* Gives the session what its free slots can take. */
static void
scheduler_fill(
    struct scheduler *s, struct worker_session *session, int64_t now_ms)
{
	struct candidate candidate = {s, session};

	while (s->queues.count > 0 && worker_session_free_slots(session) > 0) {
		struct operation *operation = queues_next(&s->queues,
		    &session->offered, scheduler_avoids, &candidate);

		if (operation == NULL)
			break;
		scheduler_give(s, operation, session, now_ms);
	}
}

static void
scheduler_fill_all(struct scheduler *s, int64_t now_ms)
{
	struct worker_session *session;

	TAILQ_FOREACH (session, &s->sessions, link)
		scheduler_fill(s, session, now_ms);
}

/* More roots held come first, since a toolchain may take longer to fetch than
 * the action to run; then more free slots. */
void
scheduler_assign(
    struct scheduler *s, struct operation *operation, int64_t now_ms)
{
	struct worker_session *best = NULL;
	struct worker_session *session;
	size_t best_held = 0;

	TAILQ_FOREACH (session, &s->sessions, link) {
		size_t slots = worker_session_free_slots(session);
		size_t held;

		if (slots == 0 ||
		    !platform_matches(
			&operation->platform, &session->offered) ||
		    scheduler_should_avoid(s, operation, session))
			continue;
		held = worker_session_held(session, &operation->platform);
		if (best == NULL || held > best_held ||
		    (held == best_held &&
			slots > worker_session_free_slots(best))) {
			best = session;
			best_held = held;
		}
	}
	if (best != NULL)
		scheduler_give(s, operation, best, now_ms);
}

/* --- attempts that failed --------------------------------------------------
 */

static void
scheduler_note_failure(struct operation *operation, const struct error *err)
{
	size_t used = strlen(operation->history);

	/* What does not fit is cut. */
	snprintf(operation->history + used, sizeof(operation->history) - used,
	    "%sattempt %u on %.60s: %s %.80s", used > 0 ? "; " : "",
	    operation->attempts, operation->worker, error_code_name(err->code),
	    err->text);
}

void
scheduler_try_again(struct scheduler *s, struct operation *operation,
    const struct error *err, int64_t now_ms)
{
	const struct str none = {NULL, 0};
	struct error last;

	scheduler_note_failure(operation, err);
	if (operation->attempts >= s->options.attempts_max) {
		/* The last in full: it tells what to do. */
		error_set(&last, err->code,
		    "gave up after %u attempts, the last: %.280s (%s)",
		    operation->attempts, err->text, operation->history);
		scheduler_finish(s, operation, &last, none, now_ms);
		return;
	}
	s->figures.requeued++;
	scheduler_set_queue_deadline(
	    s, queues_add(&s->queues, operation, true));
	scheduler_set_state(s, operation, OPERATION_QUEUED, now_ms);
	scheduler_assign(s, operation, now_ms);
}

static void
scheduler_forget_early(struct operation *operation)
{
	free((char *)(uintptr_t)operation->early.data);
	operation->early = (struct str){NULL, 0};
	operation->early_files = 0;
	operation->early_bytes = 0;
}

/* The lease is no longer its operation's. */
static struct operation *
scheduler_detach(struct lease *lease)
{
	struct operation *operation = lease->operation;

	lease->operation = NULL;
	if (operation != NULL) {
		operation->lease = NULL;
		scheduler_forget_early(operation);
		operation->avoid_session = lease->session->number;
		queues_stopped(operation);
	}
	return operation;
}

static void
scheduler_lose(struct scheduler *s, struct operation *operation,
    const char *reason, int64_t now_ms)
{
	struct error err;

	s->figures.leases_lost++;
	error_set(&err, ERROR_UNAVAILABLE, "worker lost: %s", reason);
	scheduler_try_again(s, operation, &err, now_ms);
}

void
scheduler_cancel_lease(
    struct scheduler *s, struct lease *lease, const char *reason)
{
	struct scheduler_event *event;

	scheduler_detach(lease);
	event =
	    scheduler_add_event(s, EVENT_LEASE_CANCELLED, NULL, lease->session);
	memcpy(event->lease_id, lease->id, sizeof(event->lease_id));
	event->reason = reason;
}

void
scheduler_expire_lease(struct scheduler *s, struct lease *lease, int64_t now_ms)
{
	struct operation *operation = lease->operation;
	const char *reason = lease->stage == LEASE_RUNNING
				 ? "did not end the command in time"
			     : lease->stage < LEASE_RUNNING
				 ? "did not start the command in time"
				 : "did not store the outputs in time";

	/* The deadline is the operation's, and goes with it. */
	assert(operation != NULL);
	scheduler_cancel_lease(s, lease, reason);
	scheduler_lose(s, operation, reason, now_ms);
}

/* --- sessions --------------------------------------------------------------
 */

void
scheduler_join_session(
    struct scheduler *s, struct worker_session *session, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	session->number = ++s->last_number;
	session->joined = true;
	worker_session_ref(session);
	TAILQ_INSERT_TAIL(&s->sessions, session, link);
	scheduler_set_session_deadline(s, session, now_ms);
	scheduler_set_queue_deadlines(s);
	scheduler_fill(s, session, now_ms);
	pthread_mutex_unlock(&s->lock);
}

/* All leases leave the session before the first operation looks for another
 * worker, and before the session's own reference is given up. */
void
scheduler_remove_session(struct scheduler *s, struct worker_session *session,
    const char *reason, int64_t now_ms)
{
	struct operation *lost[SESSION_SLOTS_MAX];
	struct lease *lease;
	size_t count = 0;

	if (!session->joined)
		return;
	session->joined = false;
	heap_remove(&s->session_deadlines, &session->deadline);
	TAILQ_REMOVE(&s->sessions, session, link);
	if (!session->draining)
		scheduler_remember_departed(s, session, now_ms);
	while ((lease = LIST_FIRST(&session->leases)) != NULL) {
		lost[count] = scheduler_detach(lease);
		count += lost[count] != NULL;
		lease_free(lease);
	}
	scheduler_set_queue_deadlines(s);
	/* The newest lease is first in the list; the oldest goes first. */
	while (count > 0)
		scheduler_lose(s, lost[--count], reason, now_ms);
	scheduler_fill_all(s, now_ms);
	worker_session_unref(session);
}

bool
scheduler_leave_session(
    struct scheduler *s, struct worker_session *session, int64_t now_ms)
{
	bool drained;

	pthread_mutex_lock(&s->lock);
	drained = session->draining;
	/* Whoever fell silent has been counted. */
	s->figures.sessions_lost += session->joined && !drained;
	scheduler_remove_session(s, session, "its connection ended", now_ms);
	pthread_mutex_unlock(&s->lock);
	return drained;
}

void
scheduler_drain_session(
    struct scheduler *s, struct worker_session *session, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	if (session->joined && !session->draining) {
		session->draining = true;
		scheduler_remember_departed(s, session, now_ms);
		scheduler_set_queue_deadlines(s);
		scheduler_fill_all(s, now_ms);
	}
	pthread_mutex_unlock(&s->lock);
}

/* --- heartbeats ------------------------------------------------------------
 */

static void
scheduler_renew(struct scheduler *s, struct lease *lease,
    enum lease_stage stage, int64_t now_ms)
{
	struct operation *operation = lease->operation;

	lease->named = true;
	lease->confirmed = true;
	if (stage <= lease->stage)
		return;
	lease->stage = stage;
	lease->stage_ms = now_ms;
	if (operation == NULL)
		return;
	if (stage >= LEASE_RUNNING && operation->state == OPERATION_LEASED)
		scheduler_set_state(s, operation, OPERATION_EXECUTING, now_ms);
	else
		scheduler_set_deadline(s, operation);
}

void
scheduler_heartbeat(struct scheduler *s, struct worker_session *session,
    const struct session_heartbeat *heartbeat, int64_t now_ms)
{
	struct operation *lost[SESSION_SLOTS_MAX];
	struct lease *lease;
	struct lease *next;
	size_t count = 0;

	pthread_mutex_lock(&s->lock);
	if (!session->joined)
		goto out;
	scheduler_set_session_deadline(s, session, now_ms);
	worker_session_set_held_roots(
	    session, heartbeat->held_roots, heartbeat->held_root_count);
	for (size_t i = 0; i < heartbeat->lease_count; i++) {
		lease = worker_session_find_lease(
		    session, heartbeat->leases[i].lease_id);
		if (lease != NULL)
			scheduler_renew(
			    s, lease, heartbeat->leases[i].stage, now_ms);
	}
	for (lease = LIST_FIRST(&session->leases); lease != NULL;
	     lease = next) {
		next = LIST_NEXT(lease, link);
		if (lease->named || !lease->confirmed) {
			lease->named = false;
			continue;
		}
		lost[count] = scheduler_detach(lease);
		count += lost[count] != NULL;
		lease_free(lease);
	}
	while (count > 0)
		scheduler_lose(s, lost[--count],
		    "its heartbeat left the lease out", now_ms);
	scheduler_fill(s, session, now_ms);
out:
	pthread_mutex_unlock(&s->lock);
}

/* --- early outputs ---------------------------------------------------------
 */

/* Each report has what the one before had. */
static void
scheduler_set_early(struct scheduler *s, struct operation *operation,
    const struct early_report *report)
{
	if (report->files > operation->early_files)
		s->figures.early_outputs +=
		    report->files - operation->early_files;
	if (report->bytes > operation->early_bytes)
		s->figures.early_bytes +=
		    report->bytes - operation->early_bytes;
	scheduler_forget_early(operation);
	operation->early =
	    (struct str){xstrndup(report->outputs.data, report->outputs.len),
		report->outputs.len};
	operation->early_files = report->files;
	operation->early_bytes = report->bytes;
}

bool
scheduler_report_early(struct scheduler *s, struct worker_session *session,
    struct str lease_id, const struct early_report *report)
{
	struct lease *lease = NULL;
	bool held;

	pthread_mutex_lock(&s->lock);
	if (session->joined)
		lease = worker_session_find_lease(session, lease_id);
	held = lease != NULL && lease->operation != NULL;
	if (held) {
		scheduler_set_early(s, lease->operation, report);
		scheduler_add_event(
		    s, EVENT_OPERATION_CHANGED, lease->operation, NULL);
	}
	pthread_mutex_unlock(&s->lock);
	return held;
}

/* --- the end of a lease ----------------------------------------------------
 */

static enum lease_reply
scheduler_settle(struct scheduler *s, struct operation *operation,
    const struct worker_session *session, const struct lease_end *end,
    int64_t now_ms)
{
	if (operation == NULL)
		return LEASE_TAKEN;
	if (end->outcome == LEASE_FINISHED) {
		scheduler_set_state(s, operation, OPERATION_STORING, now_ms);
		return LEASE_STORE;
	}
	/* A lease that crossed the worker's Drain is no attempt. A session
	 * drains once, so this cannot go on for ever. */
	if (end->outcome == LEASE_RETURNED && session->draining)
		operation->attempts--;
	scheduler_try_again(s, operation, end->error, now_ms);
	return LEASE_TAKEN;
}

enum lease_reply
scheduler_end_lease(struct scheduler *s, struct worker_session *session,
    const struct lease_end *end, int64_t now_ms, struct operation **operation)
{
	enum lease_reply reply = LEASE_UNKNOWN;
	struct operation *owner;
	struct lease *lease = NULL;

	*operation = NULL;
	pthread_mutex_lock(&s->lock);
	if (session->joined)
		lease = worker_session_find_lease(session, end->lease_id);
	if (lease == NULL) {
		s->figures.unknown_results++;
		goto out;
	}
	owner = scheduler_detach(lease);
	lease_free(lease);
	reply = scheduler_settle(s, owner, session, end, now_ms);
	if (reply == LEASE_STORE)
		*operation = operation_ref(owner);
	scheduler_fill(s, session, now_ms);
out:
	pthread_mutex_unlock(&s->lock);
	return reply;
}
