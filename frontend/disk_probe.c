/* SPDX-License-Identifier: Apache-2.0 */
/* Two timers and a task. Started by the main thread, then on pollers and on the
 * pool. */
#include "frontend/disk_probe.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/store.h"
#include "frontend/health.h"
#include "frontend/probe_watch.h"
#include "rpc/server.h"

/* How often it is looked whether an answer has come. */
#define WATCH_MS 5000

struct disk_probe {
	struct disk_probe_options options;
	struct rpc_server *server;
	struct rpc_timer ask_timer;
	struct task task;
	struct rpc_timer watch_timer;
	struct probe_watch watch;
	bool fails; /* at the last answer; the task's */
};

static void
set_timer(struct disk_probe *probe, struct rpc_timer *timer, int64_t ms)
{
	if (!rpc_server_stopping(probe->server))
		rpc_timer_set(probe->server, timer, clock_monotonic_ms() + ms);
}

/* A poller: the disk is for the pool. */
static void
ask_fired(struct rpc_timer *timer)
{
	struct disk_probe *probe =
	    CONTAINER_OF(timer, struct disk_probe, ask_timer);

	probe_watch_begin(&probe->watch, clock_monotonic_ms());
	thread_pool_submit(probe->options.pool, &probe->task);
}

/* A poller, which no disk holds up. */
static void
watch_fired(struct rpc_timer *timer)
{
	struct disk_probe *probe =
	    CONTAINER_OF(timer, struct disk_probe, watch_timer);

	if (probe_watch_tell(&probe->watch, clock_monotonic_ms())) {
		log_error("store_hangs", "error=\"" PROBE_LATE_TEXT "\"");
		health_service_set(probe->options.health, false);
	}
	set_timer(probe, &probe->watch_timer, WATCH_MS);
}

static void
ask(struct disk_probe *probe)
{
	struct store *store = probe->options.store;
	struct error ignored, failure;
	/* A full disk fails the probe, and still serves. */
	bool fails =
	    store_probe(store, &ignored) < 0 && store_failing(store, &failure);

	if (probe_watch_end(&probe->watch))
		log_info("store_answers", "remedy=\"none needed\"");
	if (fails && !probe->fails)
		log_error("store_failing", "error=\"%s\"", failure.text);
	else if (probe->fails && !fails)
		log_info("store_recovered", "remedy=\"none needed\"");
	probe->fails = fails;
	health_service_set(probe->options.health, !fails);
}

static void
ask_run(struct task *task)
{
	struct disk_probe *probe = CONTAINER_OF(task, struct disk_probe, task);

	ask(probe);
	set_timer(probe, &probe->ask_timer, probe->options.every_ms);
}

struct disk_probe *
disk_probe_new(const struct disk_probe_options *options)
{
	struct disk_probe *probe = xcalloc(1, sizeof(*probe));

	probe->options = *options;
	probe->task.run = ask_run;
	rpc_timer_init(&probe->ask_timer, ask_fired);
	rpc_timer_init(&probe->watch_timer, watch_fired);
	return probe;
}

void
disk_probe_free(struct disk_probe *probe)
{
	free(probe);
}

void
disk_probe_start(struct disk_probe *probe, struct rpc_server *server)
{
	probe->server = server;
	set_timer(probe, &probe->ask_timer, probe->options.every_ms);
	set_timer(probe, &probe->watch_timer, WATCH_MS);
}

bool
disk_probe_late(const struct disk_probe *probe)
{
	return probe_watch_late(&probe->watch, clock_monotonic_ms());
}
