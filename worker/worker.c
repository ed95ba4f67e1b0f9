/* SPDX-License-Identifier: Apache-2.0 */
/* Start, sessions one after the other, end. The order of the start matters:
 * the spawner is forked before any thread, hence before gRPC. */
#include "worker/worker.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/store.h"
#include "rpc/channel.h"
#include "rpc/connect_hint.h"
#include "rpc/runtime.h"
#include "worker/cas_clients.h"
#include "worker/file_cache.h"
#include "worker/lease_run.h"
#include "worker/lease_table.h"
#include "worker/session.h"
#include "worker/spawner.h"
#include "worker/subtrees.h"
#include "worker/tree_cache.h"
#include "worker/worker_cache.h"
#include "worker/worker_metrics.h"
#include "worker/worker_state.h"

#define PAUSE_FIRST_MS 200
#define PAUSE_LONGEST_MS 10000
/* How often the session is looked after. */
#define TICK_MS 500
/* What part of the cache plain files may take, beside the store. */
#define FILES_PART 4
/* The same for directories of inputs that come again. */
#define SUBTREES_PART 8
/* Transfers of one slot at once. */
#define TRANSFERS_PER_SLOT 4
#define TRANSFERS_MAX 32
/* Descriptors: of trees and connections, and of a sandbox and its inputs. */
#define DESCRIPTORS_COMMON 2048
#define DESCRIPTORS_PER_SLOT 256

struct running {
	struct worker worker;
	char *name;
	char *directory;
	char *scratch;
	int cache_lock;
	pthread_t signal_thread;
	bool signal_thread_runs;
	bool rpc_runs;
	atomic_bool ending; /* the signal thread is to end */
	atomic_bool lost;   /* the spawner is gone */
	/* Guards worker.session for those that are not slots, and that it
	 * lives while the signal thread looks after it. */
	pthread_mutex_t lock;
};

static void
watched_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
}

/* --- the signal thread ---------------------------------------------------- */

static void
handle_signal(struct running *running, int number)
{
	int count = atomic_fetch_add(&running->worker.signals, 1) + 1;

	log_info(count == 1 ? "draining" : "cancelling", "signal=%d leases=%zu",
	    number, lease_table_count(running->worker.leases));
	if (count > 1)
		lease_table_cancel_all(running->worker.leases);
}

/* As if told to end; a supervisor starts us anew. Returns a number that is no
 * signal's, for the session to be woken once. */
static int
lose_spawner(struct running *running)
{
	if (atomic_exchange(&running->lost, true))
		return 0;
	log_error("spawner_lost", "leases=%zu",
	    lease_table_count(running->worker.leases));
	atomic_fetch_add(&running->worker.signals, 1);
	return INT_MAX;
}

static void *
signal_main(void *cookie)
{
	const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
	struct running *running = cookie;
	sigset_t signals;

	watched_signals(&signals);
	while (!atomic_load(&running->ending)) {
		int number = sigtimedwait(&signals, NULL, &tick);

		if (!spawner_lives(running->worker.spawner))
			number = lose_spawner(running);
		else if (number > 0)
			handle_signal(running, number);
		pthread_mutex_lock(&running->lock);
		if (running->worker.session != NULL) {
			if (number > 0)
				session_wake(running->worker.session);
			session_check(running->worker.session);
		}
		pthread_mutex_unlock(&running->lock);
	}
	return NULL;
}

/* --- the slots' callbacks ------------------------------------------------- */

static void
run_lease(void *cookie, struct held_lease *lease)
{
	lease_run(cookie, lease);
}

static void
slot_idle(void *cookie)
{
	struct worker *worker = cookie;

	session_wake(worker->session);
}

/* --- start and end -------------------------------------------------------- */

/* Sandboxes, transfers and directories of inputs need many descriptors: more
 * than the usual limit of 1,024, which is for programs that use select(). */
static void
raise_descriptor_limit(size_t slots)
{
	rlim_t wanted =
	    DESCRIPTORS_COMMON + (rlim_t)slots * DESCRIPTORS_PER_SLOT;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return;
	if (limit.rlim_max < wanted) {
		const struct rlimit higher = {wanted, wanted};

		/* Root alone may. */
		if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
			return;
		log_warn("few_descriptors",
		    "limit=%llu wanted=%llu instead=\"fewer directories of "
		    "inputs are kept, and fewer large inputs are mounted\" "
		    "remedy=\"raise it: ulimit -Hn, or LimitNOFILE= of the "
		    "unit\"",
		    (unsigned long long)limit.rlim_max,
		    (unsigned long long)wanted);
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static char *
default_name(void)
{
	char host[HOST_NAME_MAX + 1] = "";

	gethostname(host, sizeof(host) - 1);
	return xstrdup(host[0] != '\0' ? host : "worker");
}

/* What has to happen while there is one thread. */
static int
start_process(struct running *running, struct error *err)
{
	const struct worker_options *options = running->worker.options;
	struct spawner_options spawner = {.slots = options->slots,
	    .host_root = options->host_root,
	    .unfenced = options->unfenced,
	    .staging = options->staging,
	    .scratch_bytes = options->scratch_size,
	    .scratch_files = options->scratch_files,
	    .limits = options->limits,
	    .network = options->allow_network};
	sigset_t signals;

	if (options->exit_with_parent != 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
		if ((uint64_t)getppid() != options->exit_with_parent)
			return error_set(err, ERROR_CANCELLED,
			    "process %llu, which started the worker, is gone",
			    (unsigned long long)options->exit_with_parent);
	}
	watched_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	raise_descriptor_limit(options->slots);
	running->directory =
	    worker_cache_claim(options->cache, &running->cache_lock, err);
	if (running->directory == NULL)
		return -1;
	running->worker.directory = running->directory;
	running->scratch = xasprintf("%s/scratch", running->directory);
	/* Left by a worker that was killed. */
	if (file_remove_tree(running->scratch, err) < 0)
		return -1;
	if (options->unfenced &&
	    file_make_directories(running->scratch, err) < 0)
		return -1;
	spawner.scratch_path = running->scratch;
	spawner.cache = running->directory;
	running->worker.spawner = spawner_start(&spawner, err);
	return running->worker.spawner != NULL ? 0 : -1;
}

/* The server's store may not be there before the server is: then NULL, and it
 * is tried again with the next session. */
static int
open_store(struct worker *worker, struct error *err)
{
	const struct worker_options *options = worker->options;
	struct store_options store = {.path = options->local_store,
	    .max_size = options->cache_size - options->cache_size / FILES_PART -
			options->cache_size / SUBTREES_PART,
	    .read_only = options->local_store != NULL};
	char *path = NULL;

	if (worker->store != NULL)
		return 0;
	if (options->local_store == NULL) {
		path = xasprintf("%s/store", worker->directory);
		store.path = path;
	}
	worker->store = store_open(&store, err);
	atomic_store(&worker->shown_store, worker->store);
	free(path);
	return worker->store != NULL ? 0 : -1;
}

static int
open_files(struct worker *worker, struct error *err)
{
	struct tree_cache_options trees = {
	    .max_bytes = worker->options->tree_cache_size,
	    .staging = spawner_staging(worker->spawner),
	    .uid = geteuid(),
	    .gid = getegid()};
	char *path = xasprintf("%s/files", worker->directory);

	worker->files = file_cache_open(
	    path, worker->options->cache_size / FILES_PART, err);
	free(path);
	if (worker->files == NULL)
		return -1;
	path = xasprintf("%s/trees", worker->directory);
	trees.path = path;
	worker->trees = tree_cache_open(&trees, err);
	free(path);
	if (worker->trees == NULL)
		return -1;
	if (!staging_has_images(trees.staging))
		return 0;
	path = xasprintf("%s/subtrees", worker->directory);
	worker->subtrees = subtrees_open(path, trees.staging,
	    worker->options->cache_size / SUBTREES_PART, err);
	free(path);
	return worker->subtrees != NULL ? 0 : -1;
}

static int
start_threads(struct running *running, struct error *err)
{
	struct worker *worker = &running->worker;
	const struct worker_options *options = worker->options;
	struct rpc_channel_options channel = {.address = options->server,
	    .tls_ca = options->tls_ca,
	    .tls_certificate = options->tls_certificate,
	    .tls_key = options->tls_key};
	struct lease_table_options table = {.slots = options->slots,
	    .run = run_lease,
	    .idle = slot_idle,
	    .cookie = worker};
	size_t transfers = options->slots * TRANSFERS_PER_SLOT;

	rpc_init();
	running->rpc_runs = true;
	if (open_files(worker, err) < 0)
		return -1;
	if (options->local_store == NULL && open_store(worker, err) < 0)
		return -1;
	worker->session_channel = rpc_channel_open(&channel, err);
	if (worker->session_channel == NULL)
		return -1;
	worker->channel = rpc_channel_open(&channel, err);
	if (worker->channel == NULL)
		return -1;
	worker->clients = cas_clients_new(worker->channel,
	    transfers < TRANSFERS_MAX ? transfers : TRANSFERS_MAX,
	    options->compress);
	worker->leases = lease_table_new(&table);
	worker->metrics = worker_metrics_new(worker);
	if (options->http != NULL &&
	    worker_metrics_serve(worker->metrics, options->http,
		options->insecure_listen, err) < 0)
		return -1;
	if (pthread_create(
		&running->signal_thread, NULL, signal_main, running) != 0)
		return error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "cannot start a thread");
	running->signal_thread_runs = true;
	return 0;
}

static void
stop(struct running *running)
{
	struct worker *worker = &running->worker;

	atomic_store(&running->ending, true);
	if (running->signal_thread_runs)
		pthread_join(running->signal_thread, NULL);
	worker_metrics_stop(worker->metrics);
	lease_table_free(worker->leases);
	worker_metrics_free(worker->metrics);
	cas_clients_free(worker->clients);
	if (worker->channel != NULL)
		rpc_channel_close(worker->channel);
	if (worker->session_channel != NULL)
		rpc_channel_close(worker->session_channel);
	if (running->rpc_runs)
		rpc_shutdown();
	file_cache_close(worker->files);
	tree_cache_close(worker->trees);
	subtrees_close(worker->subtrees);
	store_close(worker->store);
	spawner_stop(worker->spawner);
	file_close(&running->cache_lock);
	pthread_mutex_destroy(&running->lock);
	free(running->scratch);
	free(running->directory);
	free(running->name);
}

/* --- sessions ------------------------------------------------------------- */

static void
set_session(struct running *running, struct session *session)
{
	pthread_mutex_lock(&running->lock);
	running->worker.session = session;
	pthread_mutex_unlock(&running->lock);
}

/* One session. *pause_ms is reset by a welcome. */
static int
serve_once(struct running *running, int64_t *pause_ms, struct error *err)
{
	struct worker *worker = &running->worker;
	struct session *session;
	int rc;

	if (open_store(worker, err) < 0)
		return -1;
	cas_clients_reset(worker->clients, worker->store,
	    worker->options->local_store != NULL);
	session = session_new(worker);
	set_session(running, session);
	rc = session_serve(session, err);
	atomic_store(&worker->connected, false);
	set_session(running, NULL);
	if (session_was_welcome(session))
		*pause_ms = PAUSE_FIRST_MS;
	session_free(session);
	return rc;
}

/* Whether trying again can help. */
static bool
is_final(const struct error *err)
{
	switch (err->code) {
	case ERROR_INVALID_ARGUMENT:
	case ERROR_PERMISSION_DENIED:
	case ERROR_UNAUTHENTICATED:
	case ERROR_UNIMPLEMENTED:
		return true;
	default:
		return false;
	}
}

static void
wait_before_next(const struct worker *worker, int64_t pause_ms)
{
	const struct timespec step = {.tv_nsec = 50000000};
	int64_t due_ms = clock_monotonic_ms() + pause_ms;

	while (
	    clock_monotonic_ms() < due_ms && atomic_load(&worker->signals) == 0)
		nanosleep(&step, NULL);
}

static void
log_not_connected(const char *server, int64_t pause_ms, const struct error *err)
{
	const char *hint = rpc_connect_hint(server, err);

	log_warn("not_connected",
	    "server=%s retry_in_ms=%lld code=%s error=\"%s\"%s%s%s", server,
	    (long long)pause_ms, error_code_name(err->code), err->text,
	    hint != NULL ? " remedy=\"" : "", hint != NULL ? hint : "",
	    hint != NULL ? "\"" : "");
}

static int
serve(struct running *running, struct error *err)
{
	struct worker *worker = &running->worker;
	int64_t pause_ms = PAUSE_FIRST_MS;
	int64_t started_ms;

	while (atomic_load(&worker->signals) == 0) {
		started_ms = clock_monotonic_ms();
		if (serve_once(running, &pause_ms, err) == 0) {
			log_info("disconnected", "server=%s",
			    worker->options->server);
		} else if (atomic_load(&worker->signals) > 0) {
			break;
		} else if (is_final(err)) {
			error_prefix(err, "server %s", worker->options->server);
			return -1;
		} else {
			log_not_connected(
			    worker->options->server, pause_ms, err);
		}
		/* Randomly, so that workers do not all come at once. */
		wait_before_next(
		    worker, pause_ms / 2 + started_ms % (pause_ms / 2 + 1));
		pause_ms = pause_ms * 2 < PAUSE_LONGEST_MS ? pause_ms * 2
							   : PAUSE_LONGEST_MS;
	}
	log_info("ended", "signals=%d", atomic_load(&worker->signals));
	if (atomic_load(&running->lost))
		return error_set(
		    err, ERROR_INTERNAL, "the worker's spawner process ended");
	return 0;
}

int
worker_run(const struct worker_options *options, struct error *err)
{
	struct running running = {
	    .worker = {.options = options}, .cache_lock = -1};
	int rc = -1;

	pthread_mutex_init(&running.lock, NULL);
	running.name =
	    options->name != NULL ? xstrdup(options->name) : default_name();
	running.worker.name = running.name;
	if (start_process(&running, err) < 0)
		goto out;
	if (start_threads(&running, err) < 0)
		goto out;
	rc = serve(&running, err);
out:
	stop(&running);
	return rc;
}
