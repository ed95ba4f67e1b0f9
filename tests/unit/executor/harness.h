/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler on a clock that the tests set, with everything it delivers
 * recorded. For the tests in this folder; one thread.
 */
#ifndef TOOLROOT_TESTS_EXECUTOR_HARNESS_H
#define TOOLROOT_TESTS_EXECUTOR_HARNESS_H

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

#define EVENTS_MAX 256
#define ACTION(n) (&(struct wish){.action = (n)})
#define ACTION_OF(n, who) (&(struct wish){.action = (n), .invocation = (who)})

/* What was delivered since the last look. */
struct recorded {
	enum scheduler_event_kind kind;
	struct operation *operation;
	struct worker_session *session;
	char lease_id[LEASE_ID_SIZE];
	unsigned attempt;
};

struct world {
	struct scheduler *scheduler;
	int64_t now;
	struct recorded events[EVENTS_MAX];
	size_t event_count;
	unsigned released; /* cookies of sessions */
};

static inline void
record(const struct scheduler_event *event, void *cookie)
{
	struct world *world = cookie;
	struct recorded *recorded = &world->events[world->event_count++];

	assert_true(world->event_count < EVENTS_MAX);
	recorded->kind = event->kind;
	recorded->operation = event->operation;
	recorded->session = event->session;
	recorded->attempt = event->attempt;
	memcpy(recorded->lease_id, event->lease_id, LEASE_ID_SIZE);
}

static inline int
set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct scheduler_options options;

	scheduler_options_init(&options);
	options.event = record;
	options.cookie = world;
	options.operations_max = 100;
	options.retained_max = 4;
	world->now = 1000000;
	world->scheduler = scheduler_new(&options, world->now);
	*state = world;
	return 0;
}

static inline int
tear_down(void **state)
{
	struct world *world = *state;

	scheduler_free(world->scheduler);
	free(world);
	return 0;
}

static inline void
deliver(struct world *world)
{
	world->event_count = 0;
	scheduler_deliver(world->scheduler);
}

static inline void
advance(struct world *world, int64_t ms)
{
	world->now += ms;
	scheduler_tick(world->scheduler, world->now);
	deliver(world);
}

static inline const struct recorded *
seen(const struct world *world, enum scheduler_event_kind kind)
{
	for (size_t i = 0; i < world->event_count; i++) {
		if (world->events[i].kind == kind)
			return &world->events[i];
	}
	return NULL;
}

struct wish {
	unsigned action;
	const char *invocation;
	const char *pool;
	const char *root;
	int32_t priority;
	bool do_not_cache;
	bool fresh;
};

static inline struct operation *
try_submit(struct world *world, const struct wish *wish, struct error *err)
{
	struct platform_property properties[2];
	struct operation_request request = {
	    .instance = STR("main"),
	    .action = STR("action"),
	    .invocation = str_from(wish->invocation),
	    .properties = properties,
	    .priority = wish->priority,
	    .timeout_ms = 60000,
	    .do_not_cache = wish->do_not_cache,
	    .fresh = wish->fresh,
	};

	request.action_digest.function = DIGEST_SHA256;
	request.action_digest.size = 100;
	memcpy(request.action_digest.hash, &wish->action, sizeof(wish->action));
	if (wish->pool != NULL)
		properties[request.property_count++] =
		    (struct platform_property){
			STR("pool"), str_from(wish->pool)};
	if (wish->root != NULL)
		properties[request.property_count++] =
		    (struct platform_property){
			STR("toolchain-root"), str_from(wish->root)};
	return scheduler_submit(world->scheduler, &request, world->now, err);
}

static inline struct operation *
submit(struct world *world, const struct wish *wish)
{
	struct error err;
	struct operation *operation = try_submit(world, wish, &err);

	assert_non_null(operation);
	deliver(world);
	return operation;
}

static inline void
release(void *cookie)
{
	struct world *world = cookie;

	world->released++;
}

static inline struct worker_session *
join(struct world *world, const char *name, size_t slots, const char *pool)
{
	struct platform_property property = {STR("pool"), str_from(pool)};
	struct session_options options = {
	    .worker_name = str_from(name),
	    .slots = slots,
	    .properties = &property,
	    .property_count = pool != NULL,
	    .cookie = world,
	    .release = release,
	};
	struct error err;
	struct worker_session *session = worker_session_new(&options, &err);

	assert_non_null(session);
	scheduler_join_session(world->scheduler, session, world->now);
	deliver(world);
	return session;
}

static inline void
beat(struct world *world, struct worker_session *session, const char *lease_id,
    enum lease_stage stage)
{
	struct lease_report report = {str_from(lease_id), stage};
	struct session_heartbeat heartbeat = {
	    .leases = &report, .lease_count = lease_id != NULL};

	scheduler_heartbeat(world->scheduler, session, &heartbeat, world->now);
	deliver(world);
}

static inline enum lease_reply
end(struct world *world, struct worker_session *session, const char *lease_id,
    enum lease_outcome outcome)
{
	struct operation *operation;
	struct error err;
	enum lease_reply reply;

	error_set(&err, ERROR_INTERNAL, "disk on fire");
	reply = scheduler_end_lease(world->scheduler, session,
	    &(struct lease_end){str_from(lease_id), outcome, &err}, world->now,
	    &operation);
	deliver(world);
	operation_unref(operation);
	return reply;
}

static inline enum operation_state
state_of(struct world *world, const struct operation *operation)
{
	struct operation_status status;

	scheduler_status(world->scheduler, operation, &status);
	return status.state;
}

static inline void
complete(struct world *world, struct operation *operation)
{
	scheduler_complete(world->scheduler, operation,
	    (struct str){strdup("response"), 8}, NULL, world->now);
	deliver(world);
}

/* Keeps the name of a lease beyond the next delivery. */
static inline void
offered(const struct world *world, char id[static LEASE_ID_SIZE])
{
	const struct recorded *event = seen(world, EVENT_LEASE_OFFERED);

	assert_non_null(event);
	memcpy(id, event->lease_id, LEASE_ID_SIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
