/* SPDX-License-Identifier: Apache-2.0 */
/* One child process, tended by the main thread. */
#include "frontend/local_workers.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "frontend/serve_options.h"

#define PAUSE_FIRST_MS 200
#define PAUSE_LONGEST_MS 30000
/* A child that lived so long was sound: the next pause is short again. */
#define SOUND_MS 60000

struct local_workers {
	const struct local_workers_options *options;
	pid_t pid;          /* -1: none running */
	int64_t started_ms; /* of the running or last child */
	int64_t pause_ms;   /* before the next start */
	int64_t start_ms;   /* when it is due; CLOCK_NEVER while one runs */
};

static void
put_arguments(const struct local_workers_options *options,
    struct child_arguments *arguments)
{
	const struct setting_list *properties = options->properties;

	child_arguments_add(arguments, xstrdup("toolroot"));
	child_arguments_add(arguments, xstrdup("worker"));
	child_arguments_add(
	    arguments, xasprintf("--server=%s", options->server));
	child_arguments_add(
	    arguments, xasprintf("--local-store=%s", options->store));
	child_arguments_add(arguments,
	    xasprintf("--slots=%llu", (unsigned long long)options->slots));
	child_arguments_add(
	    arguments, xasprintf("--sandbox=%s", options->sandbox));
	child_arguments_add(
	    arguments, xasprintf("--staging=%s", options->staging));
	child_arguments_add(
	    arguments, xasprintf("--tree-cache-size=%llu",
			   (unsigned long long)options->tree_cache_size));
	child_arguments_add(
	    arguments, xasprintf("--log-level=%s", options->log_level));
	child_arguments_add(
	    arguments, xasprintf("--log-format=%s", options->log_format));
	child_arguments_add(
	    arguments, xasprintf("--exit-with-parent=%ld", (long)getpid()));
	if (options->config != NULL)
		child_arguments_add(
		    arguments, xasprintf("--config=%s", options->config));
	if (options->http != NULL)
		child_arguments_add(
		    arguments, xasprintf("--http=%s", options->http));
	if (options->http != NULL && options->insecure_listen)
		child_arguments_add(arguments, xstrdup("--insecure-listen"));
	if (options->host_root)
		child_arguments_add(arguments, xstrdup("--host-root"));
	if (options->allow_network)
		child_arguments_add(arguments, xstrdup("--allow-network"));
	for (size_t i = 0; i < properties->count; i++)
		child_arguments_add(arguments,
		    xasprintf("--property=%s", properties->items[i]));
}

static int
local_workers_spawn(
    struct local_workers *workers, int64_t now_ms, struct error *err)
{
	struct child_arguments arguments = {NULL, 0};
	int rc;

	put_arguments(workers->options, &arguments);
	/* What serve has no setting for is the worker's to read. The worker is
	 * told to end by us, once: twice means to cancel what runs. */
	rc = child_start(&arguments,
	    &(struct child_options){
		.settings = &serve_settings, .own_group = true},
	    &workers->pid, err);
	child_arguments_clear(&arguments);
	workers->started_ms = now_ms;
	if (rc < 0)
		return -1;
	workers->start_ms = CLOCK_NEVER;
	log_info("local_worker_started", "pid=%d slots=%llu", (int)workers->pid,
	    (unsigned long long)workers->options->slots);
	return 0;
}

struct local_workers *
local_workers_start(
    const struct local_workers_options *options, struct error *err)
{
	struct local_workers *workers = xcalloc(1, sizeof(*workers));

	workers->options = options;
	workers->pause_ms = PAUSE_FIRST_MS;
	if (local_workers_spawn(workers, clock_monotonic_ms(), err) < 0) {
		free(workers);
		return NULL;
	}
	return workers;
}

static void
local_workers_lost(struct local_workers *workers, int status, int64_t now_ms)
{
	if (now_ms - workers->started_ms > SOUND_MS)
		workers->pause_ms = PAUSE_FIRST_MS;
	workers->start_ms = now_ms + workers->pause_ms;
	log_error("local_worker_ended", "pid=%d %s=%d restart_in_ms=%lld",
	    (int)workers->pid, WIFSIGNALED(status) ? "signal" : "exit",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	    (long long)workers->pause_ms);
	workers->pid = -1;
	workers->pause_ms *= 2;
	if (workers->pause_ms > PAUSE_LONGEST_MS)
		workers->pause_ms = PAUSE_LONGEST_MS;
}

int64_t
local_workers_tend(struct local_workers *workers, int64_t now_ms)
{
	struct error err;
	int status;

	if (workers->pid != -1 &&
	    waitpid(workers->pid, &status, WNOHANG) == workers->pid)
		local_workers_lost(workers, status, now_ms);
	if (workers->start_ms <= now_ms &&
	    local_workers_spawn(workers, now_ms, &err) < 0) {
		log_error("local_worker_not_started", "error=\"%s\"", err.text);
		workers->start_ms = now_ms + PAUSE_LONGEST_MS;
	}
	return workers->start_ms;
}

void
local_workers_stop(struct local_workers *workers, int64_t grace_ms)
{
	int64_t deadline_ms = clock_monotonic_ms() + grace_ms;
	const struct timespec pause = {0, 10000000};

	if (workers == NULL)
		return;
	if (workers->pid != -1) {
		kill(workers->pid, SIGTERM);
		while (waitpid(workers->pid, NULL, WNOHANG) == 0) {
			if (clock_monotonic_ms() >= deadline_ms)
				kill(workers->pid, SIGKILL);
			nanosleep(&pause, NULL);
		}
	}
	free(workers);
}
