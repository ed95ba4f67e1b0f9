/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler under several threads at once, for the thread sanitizer: every
 * operation ends once, and a worker hears of a lease before it hears of its
 * end.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "executor/scheduler_figures.h"

#define CLIENTS 2
#define WORKERS 2
#define SLOTS 3
#define ROUNDS 2000

/* What one worker has been offered; the cookie of its session. */
struct inbox {
	pthread_mutex_t lock; /* guards ids, count */
	char ids[64][LEASE_ID_SIZE];
	size_t count;
};

struct shared {
	struct scheduler *scheduler;
	struct inbox inboxes[WORKERS];
	atomic_uint clients_left;
	atomic_uint ended;
	atomic_uint cancelled_unknown;
};

static void
on_event(const struct scheduler_event *event, void *cookie)
{
	struct shared *shared = cookie;
	struct inbox *inbox;

	if (event->kind == EVENT_OPERATION_DONE)
		atomic_fetch_add(&shared->ended, 1);
	if (event->kind != EVENT_LEASE_OFFERED &&
	    event->kind != EVENT_LEASE_CANCELLED)
		return;
	inbox = event->session->cookie;
	pthread_mutex_lock(&inbox->lock);
	if (event->kind == EVENT_LEASE_OFFERED) {
		memcpy(inbox->ids[inbox->count++ % 64], event->lease_id,
		    LEASE_ID_SIZE);
	} else {
		bool known = false;

		for (size_t i = 0; i < 64; i++)
			known |= memcmp(inbox->ids[i], event->lease_id,
				     LEASE_ID_SIZE) == 0;
		if (!known)
			atomic_fetch_add(&shared->cancelled_unknown, 1);
	}
	pthread_mutex_unlock(&inbox->lock);
}

static void *
run_client(void *cookie)
{
	struct shared *shared = cookie;
	struct operation_request request = {.instance = STR("i"),
	    .action = STR("a"),
	    .invocation = STR("x"),
	    .do_not_cache = true,
	    .timeout_ms = 1000};

	request.action_digest.function = DIGEST_SHA256;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct operation_status status;
		struct operation *operation;
		struct error err;

		operation = scheduler_submit(
		    shared->scheduler, &request, clock_monotonic_ms(), &err);
		if (operation == NULL)
			continue;
		scheduler_deliver(shared->scheduler);
		scheduler_status(shared->scheduler, operation, &status);
		if (i % 3 == 0)
			scheduler_cancel(
			    shared->scheduler, operation, clock_monotonic_ms());
		scheduler_deliver(shared->scheduler);
		scheduler_tick(shared->scheduler, clock_monotonic_ms());
		operation_unref(operation);
	}
	atomic_fetch_sub(&shared->clients_left, 1);
	return NULL;
}

struct worker {
	struct shared *shared;
	struct inbox *inbox;
	struct worker_session *session;
};

static void
end_one(struct worker *worker, const char *id)
{
	struct shared *shared = worker->shared;
	struct operation *operation;
	struct lease_end lease_end = {str_from(id), LEASE_FINISHED, NULL};

	if (scheduler_end_lease(shared->scheduler, worker->session, &lease_end,
		clock_monotonic_ms(), &operation) == LEASE_STORE)
		scheduler_complete(shared->scheduler, operation,
		    (struct str){strdup("r"), 1}, NULL, clock_monotonic_ms());
	scheduler_deliver(shared->scheduler);
	operation_unref(operation);
}

static void *
run_worker(void *cookie)
{
	struct worker *worker = cookie;
	struct scheduler_statistics figures;
	char id[LEASE_ID_SIZE];
	size_t next = 0;
	bool more;

	do {
		pthread_mutex_lock(&worker->inbox->lock);
		more = next < worker->inbox->count;
		if (more)
			memcpy(
			    id, worker->inbox->ids[next++ % 64], LEASE_ID_SIZE);
		pthread_mutex_unlock(&worker->inbox->lock);
		if (more)
			end_one(worker, id);
		else
			usleep(100);
		scheduler_statistics(worker->shared->scheduler, &figures);
	} while (more || atomic_load(&worker->shared->clients_left) > 0 ||
		 figures.queued + figures.leased > 0);
	return NULL;
}

static void
all_operations_end_once_whatever_the_threads_do(void **state)
{
	static struct shared shared;
	struct worker workers[WORKERS];
	pthread_t threads[CLIENTS + WORKERS];
	struct scheduler_options options;
	struct error err;

	(void)state;
	scheduler_options_init(&options);
	/* Real time must decide nothing, however slow the machine. */
	options.heartbeat_ms = 3600 * 1000;
	options.event = on_event;
	options.cookie = &shared;
	shared.scheduler = scheduler_new(&options, clock_monotonic_ms());
	atomic_store(&shared.clients_left, CLIENTS);
	for (size_t i = 0; i < WORKERS; i++) {
		struct session_options session = {.worker_name = STR("w"),
		    .slots = SLOTS,
		    .cookie = &shared.inboxes[i]};

		pthread_mutex_init(&shared.inboxes[i].lock, NULL);
		workers[i] = (struct worker){&shared, &shared.inboxes[i],
		    worker_session_new(&session, &err)};
		scheduler_join_session(
		    shared.scheduler, workers[i].session, clock_monotonic_ms());
		pthread_create(
		    &threads[CLIENTS + i], NULL, run_worker, &workers[i]);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		pthread_create(&threads[i], NULL, run_client, &shared);
	for (size_t i = 0; i < CLIENTS + WORKERS; i++)
		pthread_join(threads[i], NULL);
	scheduler_deliver(shared.scheduler);
	assert_int_equal(atomic_load(&shared.ended), CLIENTS * ROUNDS);
	assert_int_equal(atomic_load(&shared.cancelled_unknown), 0);
	for (size_t i = 0; i < WORKERS; i++) {
		worker_session_unref(workers[i].session);
		pthread_mutex_destroy(&shared.inboxes[i].lock);
	}
	scheduler_free(shared.scheduler);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_operations_end_once_whatever_the_threads_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
