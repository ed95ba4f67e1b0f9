/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poller threads over one shared completion queue. The next timer's deadline
 * is the deadline of the wait; whoever sets an earlier one from another thread,
 * or has a task for the pollers, wakes one with an empty batch on a call that
 * leads nowhere (gRPC core has no other way to post an event).
 */
#include "rpc/poller.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/thread_pool.h"
#include "rpc/core.h"
#include "rpc/server.h"
#include "rpc/timer.h"

struct rpc_pollers {
	grpc_completion_queue *queue;
	pthread_t *threads;
	size_t count;
	size_t started;
	grpc_channel *nowhere; /* a lame channel, for the call below */
	grpc_call *wake;
	struct rpc_tag wake_tag;
	/* Guards what follows, every timer that is set and every task. */
	pthread_mutex_t lock;
	pthread_cond_t woken;
	unsigned waking; /* threads that use `wake` now */
	bool stopped;    /* `wake` is gone */
	STAILQ_HEAD(, task) tasks;
	struct rpc_timer_heap timers;
	int64_t sleeping_until; /* earliest deadline that a poller waits for */
};

/* The pollers that this thread belongs to: it looks at timers and tasks before
 * it sleeps, so it needs no waking. */
static _Thread_local struct rpc_pollers *pollers_here;

static void
pollers_woken(struct rpc_tag *tag, bool ok)
{
	(void)tag;
	(void)ok;
}

struct rpc_pollers *
rpc_pollers_new(size_t threads)
{
	struct rpc_pollers *pollers = xcalloc(1, sizeof(*pollers));

	pollers->queue = grpc_completion_queue_create_for_next(NULL);
	pollers->threads = xcalloc(threads, sizeof(pthread_t));
	pollers->count = threads;
	pollers->nowhere = grpc_lame_client_channel_create(
	    "nowhere", GRPC_STATUS_UNAVAILABLE, "only for waking");
	pollers->wake = grpc_channel_create_call(pollers->nowhere, NULL, 0,
	    pollers->queue, grpc_slice_from_static_string("/wake"), NULL,
	    gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	pollers->wake_tag.complete = pollers_woken;
	pthread_mutex_init(&pollers->lock, NULL);
	pthread_cond_init(&pollers->woken, NULL);
	STAILQ_INIT(&pollers->tasks);
	rpc_timer_heap_init(&pollers->timers);
	pollers->sleeping_until = CLOCK_NEVER;
	return pollers;
}

grpc_completion_queue *
rpc_pollers_queue(struct rpc_pollers *pollers)
{
	return pollers->queue;
}

/* Runs tasks, and the timers that are due; returns when the next one is. */
static int64_t
pollers_run_due(struct rpc_pollers *pollers)
{
	int64_t next;

	for (;;) {
		struct rpc_timer *timer = NULL;
		struct task *task;

		pthread_mutex_lock(&pollers->lock);
		task = STAILQ_FIRST(&pollers->tasks);
		next = rpc_timer_heap_next(&pollers->timers);
		if (task != NULL)
			STAILQ_REMOVE_HEAD(&pollers->tasks, link);
		else if (next != CLOCK_NEVER)
			timer = rpc_timer_heap_pop(
			    &pollers->timers, clock_monotonic_ms());
		if (task == NULL && timer == NULL)
			pollers->sleeping_until = next;
		pthread_mutex_unlock(&pollers->lock);
		if (task != NULL)
			task->run(task);
		else if (timer != NULL)
			timer->fire(timer);
		else
			return next;
	}
}

static void *
pollers_main(void *argument)
{
	struct rpc_pollers *pollers = argument;

	pollers_here = pollers;
	for (;;) {
		int64_t next = pollers_run_due(pollers);
		grpc_event event = grpc_completion_queue_next(
		    pollers->queue, rpc_core_time(next), NULL);

		if (event.type == GRPC_QUEUE_SHUTDOWN)
			break;
		if (event.type == GRPC_OP_COMPLETE) {
			struct rpc_tag *tag = event.tag;

			rpc_tag_got(tag);
			tag->complete(tag, event.success != 0);
		}
	}
	pollers_here = NULL;
	return NULL;
}

void
rpc_pollers_start(struct rpc_pollers *pollers)
{
	for (; pollers->started < pollers->count; pollers->started++)
		thread_start(
		    &pollers->threads[pollers->started], pollers_main, pollers);
}

void
rpc_pollers_stop(struct rpc_pollers *pollers)
{
	pthread_mutex_lock(&pollers->lock);
	pollers->stopped = true;
	while (pollers->waking > 0)
		pthread_cond_wait(&pollers->woken, &pollers->lock);
	pthread_mutex_unlock(&pollers->lock);
	grpc_call_unref(pollers->wake);
	grpc_channel_destroy(pollers->nowhere);
	grpc_completion_queue_shutdown(pollers->queue);
	if (pollers->started == 0)
		pollers_main(pollers); /* drains the queue */
	for (size_t i = 0; i < pollers->started; i++)
		pthread_join(pollers->threads[i], NULL);
	pollers->started = 0;
}

void
rpc_pollers_free(struct rpc_pollers *pollers)
{
	grpc_completion_queue_destroy(pollers->queue);
	rpc_timer_heap_clear(&pollers->timers);
	pthread_mutex_destroy(&pollers->lock);
	pthread_cond_destroy(&pollers->woken);
	free(pollers->threads);
	free(pollers);
}

static void
pollers_wake(struct rpc_pollers *pollers)
{
	rpc_core_batch(pollers->wake, NULL, 0, &pollers->wake_tag);
	pthread_mutex_lock(&pollers->lock);
	pollers->waking--;
	pthread_cond_broadcast(&pollers->woken);
	pthread_mutex_unlock(&pollers->lock);
}

void
rpc_pollers_submit(struct rpc_pollers *pollers, struct task *task)
{
	bool wake;

	pthread_mutex_lock(&pollers->lock);
	/* Whoever came first has woken one. */
	wake = STAILQ_EMPTY(&pollers->tasks) && pollers_here != pollers;
	STAILQ_INSERT_TAIL(&pollers->tasks, task, link);
	pollers->waking += wake;
	pthread_mutex_unlock(&pollers->lock);
	if (wake)
		pollers_wake(pollers);
}

void
rpc_pollers_set_timer(
    struct rpc_pollers *pollers, struct rpc_timer *timer, int64_t deadline_ms)
{
	bool wake;

	pthread_mutex_lock(&pollers->lock);
	rpc_timer_heap_set(&pollers->timers, timer, deadline_ms);
	wake = pollers_here != pollers && !pollers->stopped &&
	       deadline_ms < pollers->sleeping_until;
	if (wake) {
		/* One waking is enough: the poller sees later settings. */
		pollers->sleeping_until = deadline_ms;
		pollers->waking++;
	}
	pthread_mutex_unlock(&pollers->lock);
	if (wake)
		pollers_wake(pollers);
}

bool
rpc_pollers_cancel_timer(struct rpc_pollers *pollers, struct rpc_timer *timer)
{
	bool was_set;

	pthread_mutex_lock(&pollers->lock);
	was_set = rpc_timer_heap_remove(&pollers->timers, timer);
	pthread_mutex_unlock(&pollers->lock);
	return was_set;
}
