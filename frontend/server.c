/* SPDX-License-Identifier: Apache-2.0 */
/* Assembly of the server. Main thread, but for the callbacks, which say. */
#include "frontend/server.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/container.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/processors.h"
#include "base/thread_pool.h"
#include "cas/admin.h"
#include "cas/collector.h"
#include "cas/names.h"
#include "cas/scrub.h"
#include "cas/store.h"
#include "frontend/admin.h"
#include "frontend/access_log.h"
#include "frontend/disk_probe.h"
#include "frontend/execution.h"
#include "frontend/explain_service.h"
#include "frontend/explainer.h"
#include "frontend/health.h"
#include "frontend/http.h"
#include "frontend/instance_limits.h"
#include "frontend/method_table.h"
#include "base/metrics.h"
#include "base/process_metrics.h"
#include "frontend/probe_watch.h"
#include "frontend/queue_metrics.h"
#include "frontend/reflection.h"
#include "frontend/rpc_metrics.h"
#include "frontend/serve_options.h"
#include "frontend/server_metrics.h"
#include "frontend/stage_metrics.h"
#include "frontend/status.h"
#include "frontend/storage.h"
#include "frontend/toolchains.h"
#include "frontend/upload_table.h"
#include "rpc/call.h"

/* Clients may send more than we advertise for a batch. */
#define RECEIVE_MAX ((64u << 20) + (64u << 10))
/* Unpacked messages. */
#define CALL_MEMORY_MAX (64u << 20)
/* What the process may have in use beside the setting `memory`: for threads,
 * connections and answers. With what is free in pieces inside the allocator,
 * and code, it is 256 MiB (docs/operations.md). */
#define MEMORY_BESIDE (96u << 20)
#define STREAMS_MAX 256
#define INTERRUPTED_UPLOADS_MAX 1000
/* Of `memory`, for what is not in files yet. */
#define INTERRUPTED_UPLOADS_PART 32
#define EXPIRE_MS 10000
#define PROBE_MS 10000
/* For calls, where local workers have taken most of the grace. */
#define CALLS_GRACE_MS 1000

static const int64_t batch_bounds[] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384};
static const struct metric_definition commit_blobs_definition = {
    .name = "toolroot_store_commit_blobs",
    .help = "Small blobs that became durable by one group commit.",
    .type = METRIC_HISTOGRAM,
    .bounds = batch_bounds,
    .bound_count = sizeof(batch_bounds) / sizeof(batch_bounds[0]),
};
static const struct metric_definition commit_duration_definition = {
    .name = "toolroot_store_commit_duration_seconds",
    .help = "Time that a group commit took to write and sync.",
    .type = METRIC_HISTOGRAM,
    .scale = 1e-9,
    .bounds = metric_duration_bounds,
    .bound_count = METRIC_DURATION_BOUNDS,
};

struct server {
	const struct serve_options *options;
	struct budget request_memory;
	struct budget upload_memory;
	struct storage storage;
	struct thread_pool *pool;
	struct method_table methods;
	struct metrics *metrics;
	struct rpc_metrics *rpc_metrics;
	struct server_metrics *server_metrics;
	struct stage_metrics *stage_metrics;
	struct queue_metrics *queue_metrics;
	struct process_metrics *process_metrics;
	struct instance_metrics *instance_metrics;
	struct execution_service *execution;
	struct collector *collector;
	struct scrub *scrub; /* NULL: switched off */
	struct admin_target admin;
	struct health_service *health;
	struct reflection_service *reflection;
	struct rpc_server *rpc;
	struct http_pages *http;
	char *grpc_address;
	char *http_address;
	char *local_socket;   /* path, for local workers */
	char *worker_address; /* the same as an address */
	atomic_bool draining; /* it has been asked to end */
	int64_t stop_ms;      /* while draining: until when calls have time */
	int64_t started_ns;
	/* Drops interrupted uploads that nobody came back for, and keeps what
	 * waits for the disk. */
	struct rpc_timer expire_timer;
	struct task expire_task;
	struct disk_probe *probe;
	/* Limits of instances were not kept, since the disk is full; as long as
	 * the server is opened, then the task's. */
	bool limits_wait;
};

/* --- callbacks -------------------------------------------------------------
 */

/* Any thread: an RPC has ended. */
static void
call_finished(
    struct rpc_call *call, int status, int64_t duration_ns, void *cookie)
{
	struct server *server = cookie;

	const struct rpc_outcome outcome = {
	    .status = status,
	    .duration_ns = duration_ns,
	    .received_bytes = rpc_call_received_bytes(call),
	    .sent_bytes = rpc_call_sent_bytes(call),
	    .note = rpc_call_note(call),
	};

	rpc_metrics_count(server->rpc_metrics, rpc_call_path(call), &outcome);
	access_log_write(
	    call, status, duration_ns, server->options->log_slow * 1000000);
}

/* The thread that stops the server. */
static void
calls_stopping(void *cookie)
{
	struct server *server = cookie;

	execution_service_stopping(server->execution);
	collector_stop(server->collector);
}

/* A poller: the disk is for the pool. */
static void
expire_fired(struct rpc_timer *timer)
{
	struct server *server =
	    CONTAINER_OF(timer, struct server, expire_timer);

	thread_pool_submit(server->pool, &server->expire_task);
}

/* A full disk keeps no server from its work: what is new in the limits then
 * waits for room. */
static int
apply_limits(struct server *server, struct error *err)
{
	bool waited = server->limits_wait;
	int rc =
	    instance_limits_apply(server->options, server->storage.store, err);

	/* What waits already goes on waiting, whatever the disk says then. */
	server->limits_wait =
	    rc < 0 && (waited || err->code == ERROR_RESOURCE_EXHAUSTED);
	if (server->limits_wait && !waited)
		log_warn("limits_wait",
		    "error=\"%s\" remedy=\"instances keep the quotas and "
		    "floors that they had, until there is room\"",
		    err->text);
	else if (waited && rc == 0)
		log_info("limits_set", "reason=\"there is room again\"");
	return server->limits_wait ? 0 : rc;
}

static void
expire_run(struct task *task)
{
	struct server *server = CONTAINER_OF(task, struct server, expire_task);
	struct error ignored;

	if (server->limits_wait)
		(void)apply_limits(server, &ignored);
	explainer_save(server->storage.explainer);
	upload_table_expire(server->storage.uploads);
	if (!rpc_server_stopping(server->rpc))
		rpc_timer_set(server->rpc, &server->expire_timer,
		    clock_monotonic_ms() + EXPIRE_MS);
}

/* status_report_fn: the HTTP thread. */
static void
report(struct status_report *report, void *cookie)
{
	struct server *server = cookie;

	report->started_ns = server->started_ns;
	report->now_ns = clock_wall_ns();
	report->certificate_not_after_s =
	    rpc_server_certificate_not_after(server->rpc);
	if (atomic_load(&server->draining))
		report->not_ready = "the server is shutting down";
	else if (store_failing(server->storage.store, &report->disk))
		report->not_ready = report->disk.text;
	else if (disk_probe_late(server->probe))
		report->not_ready = PROBE_LATE_TEXT;
	store_usage(server->storage.store, &report->store);
	collector_statistics(server->collector, &report->collector);
	scrub_statistics(server->scrub, &report->scrub);
	execution_service_statistics(server->execution, &report->execution);
	explainer_statistics(server->storage.explainer, &report->explainer);
	report->calls_ended_for_memory =
	    rpc_server_ended_for_memory(server->rpc);
}

/* --- opening ---------------------------------------------------------------
 */

static int
open_store(struct server *server, struct error *err)
{
	const struct store_options options = {
	    .path = server->options->store,
	    .max_size = server->options->max_size,
	    .pool = server->pool,
	    .commit_blobs =
		metrics_single(server->metrics, &commit_blobs_definition),
	    .commit_duration =
		metrics_single(server->metrics, &commit_duration_definition),
	};

	server->storage.store = store_open(&options, err);
	return server->storage.store != NULL ? 0 : -1;
}

/* The collector's thread. */
static int
keep_operations(void *cookie, struct keep *keep, struct error *err)
{
	struct server *server = cookie;

	return execution_service_keep(server->execution, keep, err);
}

/* And the scrub. After the execution service, which the collector asks. */
static int
open_collector(struct server *server, struct error *err)
{
	const struct serve_options *options = server->options;
	const struct collector_options collector = {
	    .store = server->storage.store,
	    .min_age_ms = options->min_age,
	    .high_percent = (unsigned)options->gc_high,
	    .low_percent = (unsigned)options->gc_low,
	    .watch = true,
	    .roots = keep_operations,
	    .cookie = server,
	};

	server->collector = collector_new(&collector, err);
	server->admin.collector = server->collector;
	if (server->collector == NULL)
		return -1;
	explainer_start(server->storage.explainer, server->collector);
	if (options->scrub_rate == 0)
		return 0;
	server->scrub =
	    scrub_new(server->storage.store, options->scrub_rate, err);
	return server->scrub != NULL ? 0 : -1;
}

static int
open_storage(struct server *server, struct error *err)
{
	const struct serve_options *options = server->options;
	const struct upload_table_options interrupted = {
	    .pool = server->pool,
	    .keep_ms = options->upload_keep,
	    .count = INTERRUPTED_UPLOADS_MAX,
	    .memory = options->memory / INTERRUPTED_UPLOADS_PART,
	};
	struct storage *storage = &server->storage;

	budget_init(&server->request_memory, options->memory / 2);
	budget_init(&server->upload_memory, options->memory / 2);
	storage->upload_memory = &server->upload_memory;
	storage->instances = options->instances;
	storage->execution = true;
	storage->cache_updates = options->cache_updates;
	storage->max_blob_size = options->max_blob_size;
	storage->uploads = upload_table_new(&interrupted);
	if (serve_digest_functions(options, &storage->digest_functions, err) <
	    0)
		return -1;
	if (open_store(server, err) < 0 || apply_limits(server, err) < 0)
		return -1;
	if (!options->explain)
		return 0;
	storage->explainer = explainer_new(storage->store, server->metrics);
	explainer_leave_out(storage->explainer, &options->unexplained);
	return 0;
}

static struct execution_service *
open_execution(struct server *server)
{
	const struct serve_options *options = server->options;
	struct execution_options execution;

	execution_options_init(&execution);
	execution.stages = server->stage_metrics;
	execution.action_timeout_ms = options->action_timeout;
	execution.action_timeout_max_ms = options->action_timeout_max;
	execution.scheduler.attempts_max = (unsigned)options->attempts;
	return execution_service_new(&execution, &server->storage);
}

static struct disk_probe *
open_probe(struct server *server)
{
	const struct disk_probe_options options = {
	    .store = server->storage.store,
	    .health = server->health,
	    .pool = server->pool,
	    .every_ms = PROBE_MS,
	};

	return disk_probe_new(&options);
}

static int
add_methods(struct server *server, struct error *err)
{
	struct method_table *table = &server->methods;

	capabilities_add(table, &server->storage);
	content_addressable_storage_add(table, &server->storage);
	byte_stream_add(table, &server->storage);
	action_cache_add(table, &server->storage);
	toolchains_add(table, &server->storage);
	server->admin.store = server->storage.store;
	admin_add(table, &server->admin);
	explain_service_add(table, &server->storage);
	server->execution = open_execution(server);
	execution_service_add(table, server->execution);
	server->storage.executions = server->execution;
	server->queue_metrics = queue_metrics_new(
	    server->metrics, execution_service_scheduler(server->execution));
	server->health = health_service_new();
	health_service_add(table, server->health);
	server->probe = open_probe(server);
	server->reflection = reflection_service_new(err);
	if (server->reflection == NULL)
		return -1;
	reflection_service_add(table, server->reflection);
	health_service_show(server->health, table);
	reflection_service_show(server->reflection, table);
	return 0;
}

static int
open_rpc(struct server *server, struct error *err)
{
	const struct serve_options *options = server->options;
	const struct rpc_server_options rpc = {
	    .listen = options->listen,
	    .local_socket = options->workers > 0 || options->capture_default
				? server->local_socket
				: NULL,
	    .tls_certificate = options->tls_certificate,
	    .tls_key = options->tls_key,
	    .tls_client_ca = options->tls_client_ca,
	    .insecure_listen = options->insecure_listen,
	    .methods = server->methods.items,
	    .method_count = server->methods.count,
	    .max_receive_bytes = RECEIVE_MAX,
	    .max_call_memory = CALL_MEMORY_MAX,
	    .max_streams = STREAMS_MAX,
	    .request_memory = &server->request_memory,
	    .memory_limit = options->memory + MEMORY_BESIDE,
	    .transport_memory = (options->memory + MEMORY_BESIDE) / 4 * 5,
	    .pool = server->pool,
	    .finished = call_finished,
	    .stopping = calls_stopping,
	    .cookie = server,
	};
	const char *address;

	server->rpc = rpc_server_new(&rpc, err);
	if (server->rpc == NULL)
		return -1;
	address = rpc_server_address(server->rpc);
	if (str_starts_with(str_from(address), STR("unix:")))
		server->grpc_address = xstrdup(address);
	else
		server->grpc_address = xasprintf("%s://%s",
		    options->tls_certificate != NULL ? "grpcs" : "grpc",
		    address);
	return 0;
}

static int
open_http(struct server *server, struct error *err)
{
	const struct http_pages_options http = {
	    .listen = server->options->http,
	    .insecure_listen = server->options->insecure_listen,
	    .grpc_address = server->grpc_address,
	    .metrics = server->metrics,
	    .report = report,
	    .cookie = server,
	};

	server->http = http_pages_open(&http, err);
	if (server->http == NULL)
		return -1;
	server->http_address =
	    xasprintf("http://%s", http_pages_address(server->http));
	return 0;
}

struct server *
server_open(const struct serve_options *options, struct error *err)
{
	struct server *server = xcalloc(1, sizeof(*server));

	server->options = options;
	server->started_ns = clock_wall_ns();
	server->expire_task.run = expire_run;
	rpc_timer_init(&server->expire_timer, expire_fired);
	server->pool = thread_pool_new(4 + 2 * (size_t)processors_available());
	server->local_socket = xasprintf("%s/worker.socket", options->store);
	server->worker_address = xasprintf("unix:%s", server->local_socket);
	server->metrics = metrics_new();
	server->stage_metrics = stage_metrics_new(server->metrics);
	server->process_metrics = process_metrics_new(server->metrics);
	if (open_storage(server, err) < 0 || add_methods(server, err) < 0 ||
	    open_collector(server, err) < 0)
		goto fail;
	server->rpc_metrics = rpc_metrics_new(
	    server->metrics, server->methods.items, server->methods.count);
	server->server_metrics =
	    server_metrics_new(server->metrics, report, server);
	server->instance_metrics = instance_metrics_new(
	    server->metrics, options, server->storage.store);
	if (open_rpc(server, err) < 0 || open_http(server, err) < 0)
		goto fail;
	return server;
fail:
	server_close(server);
	return NULL;
}

void
server_start(struct server *server)
{
	rpc_server_start(server->rpc);
	rpc_timer_set(server->rpc, &server->expire_timer,
	    clock_monotonic_ms() + EXPIRE_MS);
	disk_probe_start(server->probe, server->rpc);
	health_service_set(server->health, true);
}

const char *
server_grpc_address(const struct server *server)
{
	return server->grpc_address;
}

const char *
server_http_address(const struct server *server)
{
	return server->http_address;
}

int
server_default_toolchain(const struct server *server,
    char root[static DIGEST_TEXT_MAX], struct error *err)
{
	const struct name_key key = {
	    str_from(serve_first_instance(server->options)), STR("default")};
	struct name_entry entry;
	struct arena arena;
	int found;

	arena_init(&arena, 2 * NAMES_DETAILS_MAX);
	found = names_get(server->storage.store, &key, &arena, &entry, err);
	if (found > 0)
		digest_format(&entry.root, root);
	arena_clear(&arena);
	return found;
}

const char *
server_worker_address(const struct server *server)
{
	return server->worker_address;
}

void
server_drain(struct server *server)
{
	if (atomic_exchange(&server->draining, true))
		return;
	server->stop_ms =
	    clock_monotonic_ms() + server->options->shutdown_grace;
	health_service_stop(server->health);
}

void
server_stop(struct server *server)
{
	int64_t grace_ms = server->options->shutdown_grace;
	int64_t left_ms;

	server_drain(server);
	left_ms = server->stop_ms - clock_monotonic_ms();
	if (left_ms < CALLS_GRACE_MS)
		left_ms = grace_ms < CALLS_GRACE_MS ? grace_ms : CALLS_GRACE_MS;
	rpc_server_stop(server->rpc, left_ms);
}

void
server_close(struct server *server)
{
	if (server == NULL)
		return;
	http_pages_close(server->http);
	/* What the pool still runs may use the store. */
	thread_pool_free(server->pool);
	rpc_server_free(server->rpc);
	disk_probe_free(server->probe);
	scrub_free(server->scrub);
	/* It asks the collector. */
	explainer_free(server->storage.explainer);
	server->storage.explainer = NULL;
	collector_free(server->collector);
	execution_service_free(server->execution);
	upload_table_free(server->storage.uploads);
	store_close(server->storage.store);
	health_service_free(server->health);
	reflection_service_free(server->reflection);
	server_metrics_free(server->server_metrics);
	instance_metrics_free(server->instance_metrics);
	queue_metrics_free(server->queue_metrics);
	stage_metrics_free(server->stage_metrics);
	process_metrics_free(server->process_metrics);
	rpc_metrics_free(server->rpc_metrics);
	metrics_free(server->metrics);
	free(server->grpc_address);
	free(server->http_address);
	free(server->local_socket);
	free(server->worker_address);
	free(server);
}
