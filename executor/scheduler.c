/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler: construction, events, the clients' side, figures. */
#include "executor/scheduler.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "executor/scheduler_internal.h"

void
scheduler_options_init(struct scheduler_options *options)
{
	*options = (struct scheduler_options){
	    .queue_timeout_ms = 2 * 3600 * 1000,
	    .unmatched_ms = 30 * 1000,
	    .heartbeat_ms = 30 * 1000,
	    .lease_grace_ms = 15 * 60 * 1000,
	    .store_ms = 2 * 60 * 1000,
	    .abandon_ms = 60 * 1000,
	    .retention_ms = 5 * 60 * 1000,
	    .retained_max = 10000,
	    .retained_bytes = 64u << 20,
	    .attempts_max = 3,
	    .operations_max = 100000,
	    .operations_bytes = 256u << 20,
	};
}

struct scheduler *
scheduler_new(const struct scheduler_options *options, int64_t now_ms)
{
	struct scheduler *s = xcalloc(1, sizeof(*s));

	s->options = *options;
	s->start_ms = now_ms;
	pthread_mutex_init(&s->lock, NULL);
	map_init(&s->by_name);
	map_init(&s->by_action);
	TAILQ_INIT(&s->operations);
	TAILQ_INIT(&s->finished);
	TAILQ_INIT(&s->sessions);
	STAILQ_INIT(&s->events);
	queues_init(&s->queues);
	heap_init(&s->operation_deadlines);
	heap_init(&s->session_deadlines);
	heap_init(&s->queue_deadlines);
	return s;
}

static void
scheduler_event_free(struct scheduler_event *event)
{
	operation_unref(event->operation);
	worker_session_unref(event->session);
	free(event);
}

/* Every list is emptied the usual way, so that nothing needs a second one. */
static void
scheduler_empty(struct scheduler *s)
{
	const struct str none = {NULL, 0};
	struct worker_session *session;
	struct operation *operation;
	struct error err;

	error_set(&err, ERROR_UNAVAILABLE, "the server has stopped");
	while ((operation = TAILQ_FIRST(&s->operations)) != NULL) {
		if (operation->state != OPERATION_DONE) {
			operation_ref(operation);
			scheduler_finish(s, operation, &err, none, s->start_ms);
			operation_unref(operation);
		}
		operation = TAILQ_FIRST(&s->operations);
		if (operation != NULL && operation->state == OPERATION_DONE)
			scheduler_drop(s, operation);
	}
	while ((session = TAILQ_FIRST(&s->sessions)) != NULL)
		scheduler_remove_session(
		    s, session, "the server has stopped", s->start_ms);
}

void
scheduler_free(struct scheduler *s)
{
	struct scheduler_event *event;

	if (s == NULL)
		return;
	scheduler_empty(s);
	while ((event = STAILQ_FIRST(&s->events)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->events, link);
		scheduler_event_free(event);
	}
	for (size_t i = 0; i < SCHEDULER_DEPARTED_MAX; i++)
		platform_clear(&s->departed[i].offered);
	queues_clear(&s->queues);
	map_clear(&s->by_name);
	map_clear(&s->by_action);
	heap_clear(&s->operation_deadlines);
	heap_clear(&s->session_deadlines);
	heap_clear(&s->queue_deadlines);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- events ----------------------------------------------------------------
 */

struct scheduler_event *
scheduler_add_event(struct scheduler *s, enum scheduler_event_kind kind,
    struct operation *operation, struct worker_session *session)
{
	struct scheduler_event *event = xcalloc(1, sizeof(*event));

	event->kind = kind;
	if (operation != NULL)
		event->operation = operation_ref(operation);
	if (session != NULL)
		event->session = worker_session_ref(session);
	STAILQ_INSERT_TAIL(&s->events, event, link);
	return event;
}

void
scheduler_deliver(struct scheduler *s)
{
	struct scheduler_event *event;

	pthread_mutex_lock(&s->lock);
	if (s->delivering) {
		pthread_mutex_unlock(&s->lock);
		return;
	}
	s->delivering = true;
	while ((event = STAILQ_FIRST(&s->events)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->events, link);
		pthread_mutex_unlock(&s->lock);
		s->options.event(event, s->options.cookie);
		scheduler_event_free(event);
		pthread_mutex_lock(&s->lock);
	}
	s->delivering = false;
	pthread_mutex_unlock(&s->lock);
}

/* --- states ----------------------------------------------------------------
 */

static void
scheduler_count(struct scheduler *s, enum operation_state state, int change)
{
	size_t *counts[] = {
	    [OPERATION_LEASED] = &s->figures.leased,
	    [OPERATION_EXECUTING] = &s->figures.executing,
	    [OPERATION_STORING] = &s->figures.storing,
	    [OPERATION_DONE] = &s->figures.kept,
	    [OPERATION_QUEUED] = &s->figures.queued,
	};

	*counts[state] += (size_t)change;
}

/* Counts the old state out and the new one in. */
static void
scheduler_enter_state(struct scheduler *s, struct operation *operation,
    enum operation_state state, int64_t now_ms)
{
	scheduler_count(s, operation->state, -1);
	scheduler_count(s, state, 1);
	operation->state = state;
	operation->state_ms = now_ms;
}

void
scheduler_set_state(struct scheduler *s, struct operation *operation,
    enum operation_state state, int64_t now_ms)
{
	scheduler_enter_state(s, operation, state, now_ms);
	scheduler_set_deadline(s, operation);
	scheduler_add_event(s, EVENT_OPERATION_CHANGED, operation, NULL);
}

void
scheduler_drop(struct scheduler *s, struct operation *operation)
{
	scheduler_count(s, OPERATION_DONE, -1);
	s->finished_bytes -= operation->bytes + operation->response.len;
	heap_remove(&s->operation_deadlines, &operation->deadline);
	TAILQ_REMOVE(&s->finished, operation, finished);
	TAILQ_REMOVE(&s->operations, operation, link);
	map_remove(&s->by_name, operation->name);
	operation_unref(operation);
}

static void
scheduler_leave_active(struct scheduler *s, struct operation *operation)
{
	if (map_get(&s->by_action, operation->merge_key) == operation)
		map_remove(&s->by_action, operation->merge_key);
	s->active--;
	s->active_bytes -= operation->bytes;
	queues_leave(&s->queues, operation);
}

void
scheduler_finish(struct scheduler *s, struct operation *operation,
    const struct error *err, struct str response, int64_t now_ms)
{
	if (operation->state == OPERATION_QUEUED)
		scheduler_remove_from_queue(s, operation);
	else if (operation->lease != NULL)
		scheduler_cancel_lease(
		    s, operation->lease, "the operation has ended");
	scheduler_leave_active(s, operation);
	if (err != NULL) {
		operation->error = *err;
		s->figures.failed++;
	} else {
		operation->error.code = ERROR_OK;
		operation->response = response;
		s->figures.completed++;
	}
	scheduler_enter_state(s, operation, OPERATION_DONE, now_ms);
	TAILQ_INSERT_TAIL(&s->finished, operation, finished);
	s->finished_bytes += operation->bytes + operation->response.len;
	scheduler_set_deadline(s, operation);
	scheduler_add_event(s, EVENT_OPERATION_DONE, operation, NULL);
	/* Who waits holds a reference; only the name is forgotten. */
	while (s->figures.kept > s->options.retained_max ||
	       s->finished_bytes > s->options.retained_bytes)
		scheduler_drop(s, TAILQ_FIRST(&s->finished));
}

/* --- clients ---------------------------------------------------------------
 */

static struct operation *
scheduler_merge(struct scheduler *s, struct str key,
    const struct operation_request *request)
{
	struct operation *operation = map_get(&s->by_action, key);
	int32_t priority = request->priority;

	if (operation == NULL ||
	    (request->fresh && operation->state == OPERATION_STORING))
		return NULL;
	if (priority < OPERATION_PRIORITY_MIN)
		priority = OPERATION_PRIORITY_MIN;
	if (priority < operation->priority) {
		operation->priority = priority;
		queues_move(operation);
	}
	operation->waiters++;
	operation->abandoned_ms = CLOCK_NEVER;
	scheduler_set_deadline(s, operation);
	s->figures.merged++;
	return operation_ref(operation);
}

static int
scheduler_check_room(const struct scheduler *s,
    const struct operation *operation, int64_t now_ms, struct error *err)
{
	int64_t deadline;

	if (s->active >= s->options.operations_max)
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, 5000,
		    "%zu operations are queued or running, which is the limit",
		    s->active);
	if (s->active_bytes + operation->bytes > s->options.operations_bytes)
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, 5000,
		    "queued and running operations hold %zu bytes; the limit "
		    "is %zu",
		    s->active_bytes, s->options.operations_bytes);
	deadline = scheduler_unmatched_deadline(s, &operation->platform);
	if (now_ms < deadline)
		return 0;
	scheduler_explain_unmatched(s, &operation->platform, err);
	return -1;
}

/* Takes the caller's reference as its own. */
static void
scheduler_enqueue(
    struct scheduler *s, struct operation *operation, int64_t now_ms)
{
	operation->number = ++s->last_number;
	operation->queued_ms = now_ms;
	operation->state = OPERATION_QUEUED;
	operation->state_ms = now_ms;
	operation->waiters = 1;
	s->active++;
	s->active_bytes += operation->bytes;
	s->figures.submitted++;
	s->figures.queued++;
	map_put(&s->by_name, operation->name, operation);
	if (!operation->do_not_cache)
		map_put(&s->by_action, operation->merge_key, operation);
	TAILQ_INSERT_TAIL(&s->operations, operation, link);
	queues_enter(&s->queues, operation);
	scheduler_set_queue_deadline(
	    s, queues_add(&s->queues, operation, false));
	scheduler_set_deadline(s, operation);
	scheduler_add_event(s, EVENT_OPERATION_CHANGED, operation, NULL);
	scheduler_assign(s, operation, now_ms);
}

struct operation *
scheduler_submit(struct scheduler *s, const struct operation_request *request,
    int64_t now_ms, struct error *err)
{
	struct operation *operation = operation_new(request, err);
	struct operation *result = NULL;

	if (operation == NULL)
		return NULL;
	pthread_mutex_lock(&s->lock);
	if (!operation->do_not_cache)
		result = scheduler_merge(s, operation->merge_key, request);
	if (result == NULL &&
	    scheduler_check_room(s, operation, now_ms, err) == 0) {
		result = operation_ref(operation);
		scheduler_enqueue(s, operation, now_ms);
		operation = NULL;
	}
	if (result == NULL)
		s->figures.refused++;
	pthread_mutex_unlock(&s->lock);
	operation_unref(operation);
	return result;
}

struct operation *
scheduler_join(struct scheduler *s, const struct operation_request *request)
{
	struct str key =
	    operation_merge_key(request->instance, &request->action_digest);
	struct operation *operation;

	pthread_mutex_lock(&s->lock);
	operation = scheduler_merge(s, key, request);
	pthread_mutex_unlock(&s->lock);
	free((char *)(uintptr_t)key.data);
	return operation;
}

struct operation *
scheduler_find(struct scheduler *s, struct str name)
{
	struct operation *operation;

	pthread_mutex_lock(&s->lock);
	operation = map_get(&s->by_name, name);
	if (operation != NULL)
		operation_ref(operation);
	pthread_mutex_unlock(&s->lock);
	return operation;
}

void
scheduler_wait(struct scheduler *s, struct operation *operation)
{
	pthread_mutex_lock(&s->lock);
	operation->waiters++;
	operation->abandoned_ms = CLOCK_NEVER;
	if (operation->state != OPERATION_DONE)
		scheduler_set_deadline(s, operation);
	pthread_mutex_unlock(&s->lock);
}

void
scheduler_unwait(
    struct scheduler *s, struct operation *operation, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	if (--operation->waiters == 0 && operation->state != OPERATION_DONE) {
		operation->abandoned_ms = now_ms;
		scheduler_set_deadline(s, operation);
	}
	pthread_mutex_unlock(&s->lock);
}

void
scheduler_cancel(
    struct scheduler *s, struct operation *operation, int64_t now_ms)
{
	const struct str none = {NULL, 0};
	struct error err;

	error_set(&err, ERROR_CANCELLED, "cancelled by a client");
	pthread_mutex_lock(&s->lock);
	if (operation->state != OPERATION_DONE) {
		s->figures.cancelled++;
		scheduler_finish(s, operation, &err, none, now_ms);
	}
	pthread_mutex_unlock(&s->lock);
}

bool
scheduler_forget(struct scheduler *s, struct operation *operation)
{
	bool done;

	pthread_mutex_lock(&s->lock);
	done = operation->state == OPERATION_DONE;
	/* It may have been forgotten since it was found. */
	if (done && map_get(&s->by_name, operation->name) == operation)
		scheduler_drop(s, operation);
	pthread_mutex_unlock(&s->lock);
	return done;
}

void
scheduler_status(struct scheduler *s, const struct operation *operation,
    struct operation_status *status)
{
	*status = (struct operation_status){0};
	pthread_mutex_lock(&s->lock);
	status->state = operation->state;
	status->attempt = operation->attempts;
	status->waiters = operation->waiters;
	if (operation->state == OPERATION_QUEUED) {
		status->place = queues_place(operation);
		status->queued = operation->queue->count;
	}
	memcpy(status->worker, operation->worker, sizeof(status->worker));
	pthread_mutex_unlock(&s->lock);
}

void
scheduler_operation_lease(struct scheduler *s,
    const struct operation *operation, struct operation_lease *lease)
{
	*lease = (struct operation_lease){.session = NULL};
	pthread_mutex_lock(&s->lock);
	lease->state = operation->state;
	lease->number = operation->lease_number;
	if (operation->lease != NULL) {
		memcpy(lease->id, operation->lease->id, sizeof(lease->id));
		lease->session = worker_session_ref(operation->lease->session);
	}
	pthread_mutex_unlock(&s->lock);
}

struct str
scheduler_operation_early(
    struct scheduler *s, const struct operation *operation)
{
	struct str early = {NULL, 0};

	pthread_mutex_lock(&s->lock);
	if (operation->early.len > 0)
		early = (struct str){
		    xstrndup(operation->early.data, operation->early.len),
		    operation->early.len};
	pthread_mutex_unlock(&s->lock);
	return early;
}

size_t
scheduler_list(struct scheduler *s, struct str instance, uint64_t *after,
    struct operation **operations, size_t count)
{
	struct operation *operation;
	size_t found = 0;

	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH (operation, &s->operations, link) {
		if (found == count)
			break;
		if (operation->number <= *after ||
		    !str_equal(operation->instance, instance))
			continue;
		*after = operation->number;
		operations[found++] = operation_ref(operation);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

size_t
scheduler_list_unfinished(struct scheduler *s, uint64_t *after,
    struct operation **operations, size_t count)
{
	struct operation *operation;
	size_t found = 0;

	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH (operation, &s->operations, link) {
		if (found == count)
			break;
		if (operation->number <= *after ||
		    operation->state == OPERATION_DONE)
			continue;
		*after = operation->number;
		operations[found++] = operation_ref(operation);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* --- results ---------------------------------------------------------------
 */

void
scheduler_complete(struct scheduler *s, struct operation *operation,
    struct str response, const struct operation_run *run, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	if (operation->state == OPERATION_STORING) {
		if (run != NULL)
			operation->run = *run;
		scheduler_finish(s, operation, NULL, response, now_ms);
		response.data = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	free((char *)(uintptr_t)response.data);
}

void
scheduler_retry(struct scheduler *s, struct operation *operation,
    const struct error *err, int64_t now_ms)
{
	pthread_mutex_lock(&s->lock);
	if (operation->state == OPERATION_STORING)
		scheduler_try_again(s, operation, err, now_ms);
	pthread_mutex_unlock(&s->lock);
}
