/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines, and what happens to platforms that no worker matches. */

#include "base/clock.h"
#include "base/container.h"
#include "base/error.h"
#include "executor/scheduler_internal.h"

/* Properties come from peers and may be long; this much is shown. */
#define SHOWN 60
#define SHOWN_ARG(s) (int)((s).len < SHOWN ? (s).len : SHOWN), (s).data

/* --- operations and sessions -----------------------------------------------
 */

static int64_t
deadline_of_lease(const struct scheduler *s, const struct operation *operation)
{
	const struct lease *lease = operation->lease;
	int64_t deadline = lease->stage_ms + s->options.lease_grace_ms;

	return lease->stage == LEASE_RUNNING ? deadline + operation->timeout_ms
					     : deadline;
}

static int64_t
deadline_of_state(const struct scheduler *s, const struct operation *operation)
{
	switch (operation->state) {
	case OPERATION_QUEUED:
		return operation->state_ms + s->options.queue_timeout_ms;
	case OPERATION_LEASED:
	case OPERATION_EXECUTING:
		return deadline_of_lease(s, operation);
	case OPERATION_STORING:
		return operation->state_ms + s->options.store_ms;
	case OPERATION_DONE:
		break;
	}
	return operation->state_ms + s->options.retention_ms;
}

static int64_t
deadline_of_abandonment(
    const struct scheduler *s, const struct operation *operation)
{
	/* A result that is there is worth keeping. */
	if (operation->abandoned_ms == CLOCK_NEVER ||
	    operation->state >= OPERATION_STORING)
		return CLOCK_NEVER;
	return operation->abandoned_ms + s->options.abandon_ms;
}

void
scheduler_set_deadline(struct scheduler *s, struct operation *operation)
{
	int64_t state = deadline_of_state(s, operation);
	int64_t abandonment = deadline_of_abandonment(s, operation);

	operation->deadline.key = state < abandonment ? state : abandonment;
	operation->deadline.tie = operation->number;
	heap_put(&s->operation_deadlines, &operation->deadline);
}

void
scheduler_set_session_deadline(
    struct scheduler *s, struct worker_session *session, int64_t now_ms)
{
	session->deadline.key = now_ms + s->options.heartbeat_ms;
	session->deadline.tie = session->number;
	heap_put(&s->session_deadlines, &session->deadline);
}

static void
scheduler_expire_operation(
    struct scheduler *s, struct operation *operation, int64_t now_ms)
{
	const struct str none = {NULL, 0};
	struct error err;

	if (operation->state == OPERATION_DONE) {
		scheduler_drop(s, operation);
		return;
	}
	if (now_ms >= deadline_of_abandonment(s, operation)) {
		s->figures.abandoned++;
		error_set(&err, ERROR_CANCELLED,
		    "cancelled: no client waited for it for %lld s",
		    (long long)(s->options.abandon_ms / 1000));
		scheduler_finish(s, operation, &err, none, now_ms);
	} else if (operation->state == OPERATION_QUEUED) {
		error_set(&err, ERROR_UNAVAILABLE,
		    "no worker became free within %lld s; start more workers "
		    "or raise the queue timeout",
		    (long long)(s->options.queue_timeout_ms / 1000));
		scheduler_finish(s, operation, &err, none, now_ms);
	} else if (operation->state == OPERATION_STORING) {
		error_set(&err, ERROR_INTERNAL,
		    "the result could not be stored within %lld s",
		    (long long)(s->options.store_ms / 1000));
		scheduler_finish(s, operation, &err, none, now_ms);
	} else {
		scheduler_expire_lease(s, operation->lease, now_ms);
	}
}

/* --- platforms without workers ---------------------------------------------
 */

int64_t
scheduler_unmatched_deadline(
    const struct scheduler *s, const struct platform *required)
{
	const struct worker_session *session;
	int64_t seen = s->start_ms;

	TAILQ_FOREACH (session, &s->sessions, link) {
		if (!session->draining &&
		    platform_matches(required, &session->offered))
			return CLOCK_NEVER;
	}
	for (size_t i = 0; i < SCHEDULER_DEPARTED_MAX; i++) {
		const struct departed *departed = &s->departed[i];

		if (departed->offered.memory != NULL &&
		    departed->left_ms > seen &&
		    platform_matches(required, &departed->offered))
			seen = departed->left_ms;
	}
	return seen + s->options.unmatched_ms;
}

void
scheduler_set_queue_deadline(struct scheduler *s, struct queue *queue)
{
	int64_t deadline = scheduler_unmatched_deadline(s, &queue->platform);

	if (deadline == CLOCK_NEVER) {
		heap_remove(&s->queue_deadlines, &queue->deadline);
		return;
	}
	queue->deadline.key = deadline;
	heap_put(&s->queue_deadlines, &queue->deadline);
}

void
scheduler_set_queue_deadlines(struct scheduler *s)
{
	struct queue *queue;

	TAILQ_FOREACH (queue, &s->queues.list, link)
		scheduler_set_queue_deadline(s, queue);
}

void
scheduler_remember_departed(
    struct scheduler *s, const struct worker_session *session, int64_t now_ms)
{
	struct departed *departed = &s->departed[s->departed_next];
	struct error err;

	s->departed_next = (s->departed_next + 1) % SCHEDULER_DEPARTED_MAX;
	platform_clear(&departed->offered);
	/* A copy of one that was checked: cannot fail. */
	(void)platform_init(&departed->offered, session->offered.properties,
	    session->offered.count, &err);
	departed->left_ms = now_ms;
}

/* The session that lacks the fewest properties, and the first of them. */
static const struct worker_session *
scheduler_nearest(const struct scheduler *s, const struct platform *required,
    const struct platform_property **lacking)
{
	const struct worker_session *nearest = NULL;
	const struct worker_session *session;
	size_t fewest = SIZE_MAX;

	TAILQ_FOREACH (session, &s->sessions, link) {
		const struct platform_property *first = NULL;
		size_t missing;

		if (session->draining)
			continue;
		missing = platform_missing(required, &session->offered, &first);
		if (missing < fewest) {
			fewest = missing;
			nearest = session;
			*lacking = first;
		}
	}
	return nearest;
}

void
scheduler_explain_unmatched(const struct scheduler *s,
    const struct platform *required, struct error *err)
{
	const struct platform_property *lacking = NULL;
	const struct worker_session *nearest =
	    scheduler_nearest(s, required, &lacking);
	struct str offered;

	if (nearest == NULL || lacking == NULL) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "no worker is connected; start one with "
		    "`toolroot worker --server ...` or `toolroot serve "
		    "--workers N`");
		return;
	}
	if (str_equal(lacking->name, STR("network")) &&
	    str_equal(lacking->value, STR("true"))) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "the action asks for a network (platform property "
		    "network=true), which no worker allows: start one with "
		    "`toolroot worker --allow-network` or `toolroot serve "
		    "--allow-network`, or take network=true out of the "
		    "action's exec_properties");
		return;
	}
	offered = platform_value(&nearest->offered, lacking->name);
	if (offered.data == NULL)
		offered = STR("no such property");
	error_set(err, ERROR_FAILED_PRECONDITION,
	    "no worker offers the platform property %.*s=%.*s: the nearest, "
	    "%.*s, has %.*s; start a worker with --property %.*s=%.*s, or "
	    "change the action's exec_properties",
	    SHOWN_ARG(lacking->name), SHOWN_ARG(lacking->value),
	    SHOWN_ARG(nearest->worker_name), SHOWN_ARG(offered),
	    SHOWN_ARG(lacking->name), SHOWN_ARG(lacking->value));
}

static void
scheduler_expire_queue(struct scheduler *s, struct queue *queue, int64_t now_ms)
{
	const struct str none = {NULL, 0};
	struct error err;

	scheduler_explain_unmatched(s, &queue->platform, &err);
	/* The queue is gone with the last. */
	for (size_t left = queue->count; left > 0; left--) {
		struct operation *operation = TAILQ_FIRST(&queue->again);

		if (operation == NULL) {
			struct heap_node *turn =
			    heap_top(&TAILQ_FIRST(&queue->shares)->turns);

			operation = CONTAINER_OF(turn, struct operation, turn);
		}
		scheduler_finish(s, operation, &err, none, now_ms);
	}
}

/* --- time ------------------------------------------------------------------
 */

static int64_t
deadline_of_heap(const struct heap *heap)
{
	const struct heap_node *top = heap_top(heap);

	return top != NULL ? top->key : CLOCK_NEVER;
}

int64_t
scheduler_next_deadline(struct scheduler *s)
{
	int64_t next;
	int64_t other;

	pthread_mutex_lock(&s->lock);
	next = deadline_of_heap(&s->operation_deadlines);
	other = deadline_of_heap(&s->session_deadlines);
	next = other < next ? other : next;
	other = deadline_of_heap(&s->queue_deadlines);
	next = other < next ? other : next;
	pthread_mutex_unlock(&s->lock);
	return next;
}

#define DEADLINE_OWNER(node, type) CONTAINER_OF(node, type, deadline)

static void
scheduler_expire_session(
    struct scheduler *s, struct worker_session *session, int64_t now_ms)
{
	const char *reason = "no heartbeat";

	s->figures.sessions_lost++;
	scheduler_add_event(s, EVENT_SESSION_LOST, NULL, session)->reason =
	    reason;
	scheduler_remove_session(s, session, reason, now_ms);
}

/* One thing that is due; what it causes may be due at once too. */
static bool
scheduler_expire_one(struct scheduler *s, int64_t now_ms)
{
	if (deadline_of_heap(&s->session_deadlines) <= now_ms)
		scheduler_expire_session(s,
		    DEADLINE_OWNER(
			heap_top(&s->session_deadlines), struct worker_session),
		    now_ms);
	else if (deadline_of_heap(&s->operation_deadlines) <= now_ms)
		scheduler_expire_operation(s,
		    DEADLINE_OWNER(
			heap_top(&s->operation_deadlines), struct operation),
		    now_ms);
	else if (deadline_of_heap(&s->queue_deadlines) <= now_ms)
		scheduler_expire_queue(s,
		    DEADLINE_OWNER(heap_top(&s->queue_deadlines), struct queue),
		    now_ms);
	else
		return false;
	return true;
}

void
scheduler_tick(struct scheduler *s, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	while (scheduler_expire_one(s, now_ms))
		;
	pthread_mutex_unlock(&s->lock);
}
