/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler against a model, on a simulated clock: workers come, go, fall
 * silent, fail; clients submit, leave, come back, cancel; at random. The model
 * learns of leases and ends only through events, and checks after each:
 *   - an operation ends exactly once, and never changes after;
 *   - it is at one worker at a time, one that matches its platform;
 *   - no worker holds more leases than slots;
 *   - attempts stay within the bound;
 *   - no invocation is served while another that waits for the same worker
 *     has fewer operations at workers;
 *   - nothing waits that a free worker could take;
 *   - the figures agree.
 * At the end all time passes and everything must be over: every state has a
 * deadline. A failure names its seed; EXECUTOR_SEED=n runs that one alone, and
 * EXECUTOR_ROUNDS=n that many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "executor/scheduler_figures.h"

#define OPERATIONS_MAX 600
#define SESSIONS_MAX 8
#define LEASES_MAX 4096
#define STEPS 500
#define ATTEMPTS_MAX 3
#define INVOCATIONS 4
#define POOLS 3

struct model_operation {
	struct operation *operation; /* the model's reference */
	unsigned invocation;
	unsigned pool; /* 0: runs anywhere */
	size_t waiters;
	bool waiting;    /* in the queue, as far as events tell */
	bool was_leased; /* at some time */
	bool storing;
	bool done;
};

struct model_lease {
	char id[LEASE_ID_SIZE];
	struct model_operation *operation; /* NULL: cancelled */
	size_t session;
	enum lease_stage stage;
	bool known; /* the worker has it in its heartbeats */
	bool gone;
};

struct model_session {
	struct worker_session *session; /* NULL: free place */
	size_t slots;
	unsigned pool;
	bool draining;
	bool silent; /* sends no heartbeats any more */
};

struct model {
	unsigned seed;
	uint64_t random;
	int64_t now;
	struct scheduler *scheduler;
	struct model_operation operations[OPERATIONS_MAX];
	size_t operation_count;
	struct model_session sessions[SESSIONS_MAX];
	struct model_lease leases[LEASES_MAX];
	size_t lease_count;
	bool cancelling; /* a client cancels right now */
};

#define CHECK(model, condition) \
	do { \
		if (!(condition)) \
			fail_msg("EXECUTOR_SEED=%u: %s", (model)->seed, \
			    #condition); \
	} while (0)

/* splitmix64: the same numbers everywhere. */
static unsigned
draw(struct model *model, unsigned below)
{
	uint64_t z = (model->random += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (unsigned)((z ^ (z >> 31)) % below);
}

/* --- what the model knows --------------------------------------------------
 */

static struct model_operation *
find_operation(struct model *model, const struct operation *operation)
{
	for (size_t i = 0; i < model->operation_count; i++) {
		if (model->operations[i].operation == operation)
			return &model->operations[i];
	}
	return NULL;
}

static size_t
find_session(struct model *model, const struct worker_session *session)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		if (model->sessions[i].session == session)
			return i;
	}
	return SESSIONS_MAX;
}

static struct model_lease *
find_lease(struct model *model, const char *id)
{
	for (size_t i = 0; i < model->lease_count; i++) {
		if (strcmp(model->leases[i].id, id) == 0)
			return &model->leases[i];
	}
	return NULL;
}

static bool
could_run(const struct model_session *session,
    const struct model_operation *operation)
{
	return session->session != NULL && !session->draining &&
	       (operation->pool == 0 || operation->pool == session->pool);
}

static size_t
leases_of_session(const struct model *model, size_t session)
{
	size_t count = 0;

	for (size_t i = 0; i < model->lease_count; i++)
		count += !model->leases[i].gone &&
			 model->leases[i].session == session;
	return count;
}

static size_t
leases_of_operation(
    const struct model *model, const struct model_operation *operation)
{
	size_t count = 0;

	for (size_t i = 0; i < model->lease_count; i++)
		count += !model->leases[i].gone &&
			 model->leases[i].operation == operation;
	return count;
}

static size_t
running_of(const struct model *model, unsigned invocation)
{
	size_t count = 0;

	for (size_t i = 0; i < model->lease_count; i++) {
		const struct model_lease *lease = &model->leases[i];

		count += !lease->gone && lease->operation != NULL &&
			 lease->operation->invocation == invocation;
	}
	return count;
}

static void
lease_is_gone(struct model_lease *lease)
{
	lease->gone = true;
	if (lease->operation != NULL && !lease->operation->done)
		lease->operation->waiting = true;
}

static void
session_is_gone(struct model *model, size_t at)
{
	for (size_t i = 0; i < model->lease_count; i++) {
		if (!model->leases[i].gone && model->leases[i].session == at)
			lease_is_gone(&model->leases[i]);
	}
	worker_session_unref(model->sessions[at].session);
	model->sessions[at].session = NULL;
}

/* --- events ----------------------------------------------------------------
 */

static void
check_fair(struct model *model, const struct model_operation *chosen,
    const struct model_session *session)
{
	size_t running = running_of(model, chosen->invocation);

	for (size_t i = 0; i < model->operation_count; i++) {
		const struct model_operation *other = &model->operations[i];

		if (other->waiting && !other->was_leased &&
		    could_run(session, other))
			CHECK(model,
			    running <= running_of(model, other->invocation));
	}
}

static void
on_offered(struct model *model, const struct scheduler_event *event)
{
	struct model_operation *operation =
	    find_operation(model, event->operation);
	size_t at = find_session(model, event->session);
	struct model_lease *lease = &model->leases[model->lease_count];

	CHECK(model, operation != NULL && at < SESSIONS_MAX);
	CHECK(model, !operation->done && !operation->storing);
	CHECK(model, leases_of_operation(model, operation) == 0);
	CHECK(model, could_run(&model->sessions[at], operation));
	CHECK(model, leases_of_session(model, at) < model->sessions[at].slots);
	CHECK(model, event->attempt >= 1 && event->attempt <= ATTEMPTS_MAX);
	if (!operation->was_leased)
		check_fair(model, operation, &model->sessions[at]);
	CHECK(model, model->lease_count < LEASES_MAX);
	model->lease_count++;
	*lease = (struct model_lease){
	    .operation = operation, .session = at, .stage = LEASE_FETCHING};
	memcpy(lease->id, event->lease_id, LEASE_ID_SIZE);
	operation->waiting = false;
	operation->was_leased = true;
}

static void
on_event(const struct scheduler_event *event, void *cookie)
{
	struct model *model = cookie;
	struct model_operation *operation = NULL;
	struct model_lease *lease;

	if (event->operation != NULL) {
		operation = find_operation(model, event->operation);
		CHECK(model, operation == NULL || !operation->done);
	}
	switch (event->kind) {
	case EVENT_OPERATION_CHANGED:
		break;
	case EVENT_OPERATION_DONE:
		CHECK(model, operation != NULL);
		CHECK(model, leases_of_operation(model, operation) == 0);
		/* Nobody who waits is abandoned. */
		CHECK(model,
		    operation->operation->error.code != ERROR_CANCELLED ||
			model->cancelling || operation->waiters == 0);
		operation->done = true;
		operation->waiting = false;
		break;
	case EVENT_LEASE_OFFERED:
		on_offered(model, event);
		break;
	case EVENT_LEASE_CANCELLED:
		lease = find_lease(model, event->lease_id);
		CHECK(model, lease != NULL && lease->operation != NULL);
		lease->operation->waiting = true;
		lease->operation = NULL;
		break;
	case EVENT_SESSION_LOST:
		session_is_gone(model, find_session(model, event->session));
		break;
	}
}

static bool
must_be_avoided(const struct model *model,
    const struct model_operation *operation, size_t session)
{
	/* What failed before may wait for another worker. */
	if (!operation->was_leased)
		return false;
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		if (i != session && could_run(&model->sessions[i], operation))
			return true;
	}
	return false;
}

static void
check_nothing_waits_in_vain(struct model *model)
{
	for (size_t at = 0; at < SESSIONS_MAX; at++) {
		const struct model_session *session = &model->sessions[at];

		if (session->session == NULL ||
		    leases_of_session(model, at) == session->slots)
			continue;
		for (size_t i = 0; i < model->operation_count; i++) {
			const struct model_operation *operation =
			    &model->operations[i];

			CHECK(model, !operation->waiting ||
					 !could_run(session, operation) ||
					 must_be_avoided(model, operation, at));
		}
	}
}

static void
check_figures(struct model *model)
{
	struct scheduler_statistics figures;
	size_t waiting = 0;
	size_t storing = 0;
	size_t leased = 0;

	for (size_t i = 0; i < model->operation_count; i++) {
		waiting += model->operations[i].waiting;
		storing +=
		    model->operations[i].storing && !model->operations[i].done;
		leased += leases_of_operation(model, &model->operations[i]) > 0;
	}
	scheduler_statistics(model->scheduler, &figures);
	CHECK(model, figures.queued == waiting);
	CHECK(model, figures.storing == storing);
	CHECK(model, figures.leased == leased);
}

static void
settle(struct model *model)
{
	scheduler_deliver(model->scheduler);
	check_nothing_waits_in_vain(model);
	check_figures(model);
}

/* --- what may happen -------------------------------------------------------
 */

static void
client_submits(struct model *model)
{
	unsigned pool = draw(model, POOLS);
	unsigned invocation = draw(model, INVOCATIONS);
	unsigned action = draw(model, 200) * POOLS + pool;
	char names[2][2] = {
	    {(char)('a' + pool), 0}, {(char)('A' + invocation), 0}};
	struct platform_property property = {STR("pool"), str_from(names[0])};
	struct operation_request request = {
	    .instance = STR(""),
	    .action = STR("action"),
	    .invocation = str_from(names[1]),
	    .properties = &property,
	    .property_count = pool > 0,
	    .priority = (int32_t)draw(model, 5) - 2,
	    .timeout_ms = 10000,
	    .do_not_cache = draw(model, 8) == 0,
	};
	struct model_operation *known;
	struct operation *operation;
	struct error err;

	if (model->operation_count == OPERATIONS_MAX)
		return;
	request.action_digest.function = DIGEST_SHA256;
	memcpy(request.action_digest.hash, &action, sizeof(action));
	operation =
	    scheduler_submit(model->scheduler, &request, model->now, &err);
	if (operation == NULL) {
		CHECK(model, err.code == ERROR_FAILED_PRECONDITION);
		return;
	}
	known = find_operation(model, operation);
	if (known != NULL) {
		CHECK(model, !known->done && !request.do_not_cache);
		known->waiters++;
		operation_unref(operation);
		return;
	}
	model->operations[model->operation_count++] =
	    (struct model_operation){.operation = operation,
		.invocation = invocation,
		.pool = pool,
		.waiters = 1,
		.waiting = true};
}

static struct model_operation *
any_operation(struct model *model)
{
	if (model->operation_count == 0)
		return NULL;
	return &model
		    ->operations[draw(model, (unsigned)model->operation_count)];
}

static void
client_changes_its_mind(struct model *model)
{
	struct model_operation *operation = any_operation(model);

	if (operation == NULL)
		return;
	if (draw(model, 20) == 0) {
		model->cancelling = true;
		scheduler_cancel(
		    model->scheduler, operation->operation, model->now);
		scheduler_deliver(model->scheduler);
		model->cancelling = false;
	} else if (draw(model, 2) == 0) {
		scheduler_wait(model->scheduler, operation->operation);
		operation->waiters++;
	} else if (operation->waiters > 0) {
		scheduler_unwait(
		    model->scheduler, operation->operation, model->now);
		operation->waiters--;
	}
}

static void
worker_joins(struct model *model)
{
	size_t at = find_session(model, NULL);
	struct model_session *session = &model->sessions[at];
	struct platform_property property;
	struct session_options options = {.worker_name = STR("worker"),
	    .slots = 1 + draw(model, 4),
	    .properties = &property,
	    .property_count = 1};
	struct error err;
	char name[2];

	if (at == SESSIONS_MAX)
		return;
	*session = (struct model_session){
	    .slots = options.slots, .pool = draw(model, POOLS)};
	snprintf(name, sizeof(name), "%c", 'a' + (int)session->pool);
	property = (struct platform_property){STR("pool"), str_from(name)};
	session->session = worker_session_new(&options, &err);
	scheduler_join_session(model->scheduler, session->session, model->now);
}

static void
worker_beats(struct model *model, size_t at)
{
	struct model_session *session = &model->sessions[at];
	struct lease_report reports[16];
	struct session_heartbeat heartbeat = {.leases = reports};

	for (size_t i = 0; i < model->lease_count; i++) {
		struct model_lease *lease = &model->leases[i];

		if (lease->gone || lease->session != at)
			continue;
		if (draw(model, 50) == 0) {
			/* Forgets it; noticed once it has been named. */
			if (lease->known)
				lease_is_gone(lease);
			continue;
		}
		if (lease->stage < LEASE_UPLOADING && draw(model, 2) == 0)
			lease->stage++;
		lease->known = true;
		reports[heartbeat.lease_count++] =
		    (struct lease_report){str_from(lease->id), lease->stage};
	}
	scheduler_heartbeat(
	    model->scheduler, session->session, &heartbeat, model->now);
}

static void
result_is_stored(struct model *model)
{
	struct model_operation *operation = any_operation(model);
	struct error err;

	if (operation == NULL || !operation->storing || operation->done)
		return;
	if (draw(model, 4) > 0) {
		scheduler_complete(model->scheduler, operation->operation,
		    (struct str){strdup("r"), 1}, NULL, model->now);
		return;
	}
	error_set(&err, ERROR_INTERNAL, "missing output");
	operation->storing = false;
	operation->waiting = true;
	scheduler_retry(
	    model->scheduler, operation->operation, &err, model->now);
}

static void
worker_ends_a_lease(struct model *model)
{
	struct operation *operation = NULL;
	struct model_lease *lease;
	enum lease_outcome outcome = LEASE_FINISHED;
	enum lease_reply reply;
	struct error err;

	if (model->lease_count == 0)
		return;
	lease = &model->leases[draw(model, (unsigned)model->lease_count)];
	if (lease->gone || model->sessions[lease->session].silent)
		return;
	if (draw(model, 5) == 0)
		outcome = LEASE_TROUBLE;
	else if (lease->operation == NULL ||
		 model->sessions[lease->session].draining)
		outcome = LEASE_RETURNED;
	lease_is_gone(lease);
	if (outcome == LEASE_FINISHED && lease->operation != NULL) {
		lease->operation->waiting = false;
		lease->operation->storing = true;
	}
	error_set(&err, ERROR_UNAVAILABLE, "trouble");
	reply = scheduler_end_lease(model->scheduler,
	    model->sessions[lease->session].session,
	    &(struct lease_end){str_from(lease->id), outcome, &err}, model->now,
	    &operation);
	CHECK(model, reply != LEASE_UNKNOWN);
	CHECK(model, (reply == LEASE_STORE) == (operation != NULL));
	CHECK(model, (reply == LEASE_STORE) == (outcome == LEASE_FINISHED &&
						   lease->operation != NULL));
	operation_unref(operation);
}

static void
worker_does_something(struct model *model)
{
	size_t at = draw(model, SESSIONS_MAX);
	struct model_session *session = &model->sessions[at];
	struct worker_session *leaving;

	if (session->session == NULL || session->silent)
		return;
	switch (draw(model, 20)) {
	case 0:
		session->silent = true;
		break;
	case 1:
		leaving = worker_session_ref(session->session);
		session_is_gone(model, at);
		scheduler_leave_session(model->scheduler, leaving, model->now);
		worker_session_unref(leaving);
		break;
	case 2:
		session->draining = true;
		scheduler_drain_session(
		    model->scheduler, session->session, model->now);
		break;
	default:
		worker_beats(model, at);
		break;
	}
}

static void
step(struct model *model)
{
	switch (draw(model, 10)) {
	case 0:
	case 1:
		client_submits(model);
		break;
	case 2:
		client_changes_its_mind(model);
		break;
	case 3:
		if (draw(model, 4) == 0)
			worker_joins(model);
		break;
	case 4:
	case 5:
		worker_does_something(model);
		break;
	case 6:
	case 7:
		worker_ends_a_lease(model);
		break;
	case 8:
		result_is_stored(model);
		break;
	default:
		model->now += draw(model, 3000);
		scheduler_tick(model->scheduler, model->now);
		break;
	}
	settle(model);
}

/* --- runs ------------------------------------------------------------------
 */

/* Nobody does anything any more; time alone must end it all. */
static void
let_time_pass(struct model *model)
{
	int64_t next;

	for (unsigned i = 0; i < 100000; i++) {
		next = scheduler_next_deadline(model->scheduler);
		if (next == CLOCK_NEVER)
			break;
		CHECK(model, next - model->now < 24 * 3600 * 1000);
		model->now = next > model->now ? next : model->now;
		scheduler_tick(model->scheduler, model->now);
		CHECK(model,
		    scheduler_next_deadline(model->scheduler) > model->now);
		/* A result that nobody stores goes back to the queue or
		 * ends: either way it is no longer being stored. */
		settle(model);
	}
	CHECK(model, scheduler_next_deadline(model->scheduler) == CLOCK_NEVER);
	for (size_t i = 0; i < model->operation_count; i++) {
		struct model_operation *operation = &model->operations[i];

		CHECK(model, operation->done);
		CHECK(model, scheduler_find(model->scheduler,
				 operation->operation->name) == NULL);
	}
}

static void
run(unsigned seed)
{
	struct model *model = calloc(1, sizeof(*model));
	struct scheduler_options options;

	scheduler_options_init(&options);
	options.attempts_max = ATTEMPTS_MAX;
	options.lease_grace_ms = 60000;
	options.queue_timeout_ms = 300000;
	options.event = on_event;
	options.cookie = model;
	model->seed = seed;
	model->random = seed;
	model->now = 5000;
	model->scheduler = scheduler_new(&options, model->now);
	for (unsigned i = 0; i < STEPS; i++)
		step(model);
	let_time_pass(model);
	for (size_t i = 0; i < model->operation_count; i++)
		operation_unref(model->operations[i].operation);
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		worker_session_unref(model->sessions[i].session);
	scheduler_free(model->scheduler);
	free(model);
}

static void
random_histories_keep_every_promise(void **state)
{
	const char *seed = getenv("EXECUTOR_SEED");
	const char *rounds = getenv("EXECUTOR_ROUNDS");
	unsigned count = rounds != NULL ? (unsigned)atoi(rounds) : 200;

	(void)state;
	if (seed != NULL) {
		run((unsigned)strtoul(seed, NULL, 10));
		return;
	}
	print_message("seeds 1 to %u\n", count);
	for (unsigned i = 1; i <= count; i++)
		run(i);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_histories_keep_every_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
