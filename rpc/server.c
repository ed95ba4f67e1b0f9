/* SPDX-License-Identifier: Apache-2.0 */
/* The server: what it binds, which methods wait for calls, how it stops. Runs
 * on the thread that owns the server; arming also on pollers. */
#include "rpc/server.h"

#include <grpc/compression.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/condition.h"
#include "base/container.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/processors.h"
#include "rpc/connection.h"
#include "rpc/listen.h"
#include "rpc/memory_guard.h"
#include "rpc/poller.h"
#include "rpc/server_core.h"
#include "rpc/tls.h"

/* A dead peer is noticed within the sum of both. */
#define SERVER_KEEPALIVE_MS 60000
#define SERVER_KEEPALIVE_TIMEOUT_MS 20000
#define SERVER_HANDSHAKE_MS 20000
/* Bearer tokens and RequestMetadata are far below; gRPC's own limit of 8 KiB
 * is not. */
#define SERVER_METADATA_MAX 65536
/* What gRPC gets to end calls that it was told to cancel. */
#define SERVER_CUT_MS 500
/* What connections get to end by themselves once no call is left. gRPC says
 * goodbye and would wait 20 s for an answer; who lives gives it within that
 * time: clients with gRPC's C core look at idle connections every 5 s. */
#define SERVER_QUIET_MS 6500

static void
server_on_shutdown(struct rpc_tag *tag, bool ok)
{
	struct rpc_server *server =
	    CONTAINER_OF(tag, struct rpc_server, shutdown_tag);

	(void)ok;
	pthread_mutex_lock(&server->lock);
	server->shut_down = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* Under the lock: a dialogue has no end of its own. If its owner has just given
 * it one, the client is to get that. */
static bool
server_mark_dialogue(struct rpc_call *call)
{
	return call->slot != NULL &&
	       call->slot->method->shape == RPC_BIDIRECTIONAL &&
	       !call_gate_ended(&call->gate) &&
	       rpc_call_mark_cut(call, GRPC_STATUS_UNAVAILABLE);
}

static void
server_cut_dialogue(struct rpc_call *call)
{
	rpc_call_cut(call, "the server is stopping");
}

static void
server_cut_dialogues(struct rpc_server *server)
{
	struct rpc_call *call;

	do {
		pthread_mutex_lock(&server->lock);
		TAILQ_FOREACH (call, &server->live, link) {
			if (server_mark_dialogue(call))
				break;
		}
		pthread_mutex_unlock(&server->lock);
		if (call != NULL)
			server_cut_dialogue(call);
	} while (call != NULL);
}

void
rpc_server_add_call(struct rpc_server *server, struct rpc_call *call)
{
	bool too_late;

	pthread_mutex_lock(&server->lock);
	call->live = true;
	TAILQ_INSERT_TAIL(&server->live, call, link);
	memory_guard_wake(server->guard);
	too_late = atomic_load(&server->stopping) && server_mark_dialogue(call);
	pthread_mutex_unlock(&server->lock);
	if (too_late)
		server_cut_dialogue(call);
}

void
rpc_server_release_call(struct rpc_server *server, struct rpc_call *call)
{
	pthread_mutex_lock(&server->lock);
	if (call->live)
		TAILQ_REMOVE(&server->live, call, link);
	if (--server->calls == 0)
		pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

void
rpc_server_arm(struct rpc_server *server, const struct rpc_slot *slot)
{
	struct rpc_call *call = rpc_call_new(server, slot);
	grpc_completion_queue *queue = rpc_pollers_queue(server->pollers);

	pthread_mutex_lock(&server->lock);
	server->calls++;
	pthread_mutex_unlock(&server->lock);
	rpc_tag_give(&call->arrived);
	/* After a shutdown both still post the tag, as failed. */
	if (slot == NULL) {
		grpc_server_request_call(server->core, &call->core,
		    &call->details, &call->metadata, queue, queue,
		    &call->arrived);
		return;
	}
	grpc_server_request_registered_call(server->core, slot->registered,
	    &call->core, &call->deadline, &call->metadata, NULL, queue, queue,
	    &call->arrived);
}

static grpc_server *
server_create(const struct rpc_server_options *options)
{
	grpc_resource_quota *quota = grpc_resource_quota_create("toolroot");
	grpc_arg args[] = {
	    /* Ours to check (call_batches.c): gRPC, too, looks at the size of
	     * a message when it is whole, and does not say what was wrong. */
	    rpc_core_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1),
	    rpc_core_integer(
		GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)options->max_streams),
	    /* Else a second server shares the port without a word. */
	    rpc_core_integer(GRPC_ARG_ALLOW_REUSEPORT, 0),
	    rpc_core_integer(GRPC_ARG_MAX_METADATA_SIZE, SERVER_METADATA_MAX),
	    rpc_core_integer(GRPC_ARG_ENABLE_CHANNELZ, 0),
	    rpc_core_integer(
		GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0),
	    rpc_core_integer(GRPC_ARG_KEEPALIVE_TIME_MS, SERVER_KEEPALIVE_MS),
	    rpc_core_integer(
		GRPC_ARG_KEEPALIVE_TIMEOUT_MS, SERVER_KEEPALIVE_TIMEOUT_MS),
	    rpc_core_integer(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
	    rpc_core_integer(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
	    /* Clients may ping as they like. */
	    rpc_core_integer(
		GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000),
	    rpc_core_integer(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0),
	    rpc_core_integer(
		GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, SERVER_HANDSHAKE_MS),
	    /* gRPC would inflate 64 MiB of gzip to whatever they contain. */
	    rpc_core_integer(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
		1 << GRPC_COMPRESS_NONE),
	    {
		.type = GRPC_ARG_POINTER,
		.key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
		.value.pointer = {quota, grpc_resource_quota_arg_vtable()},
	    },
	};
	grpc_channel_args list = {sizeof(args) / sizeof(args[0]), args};
	grpc_server *core;

	if (options->transport_memory > 0)
		grpc_resource_quota_resize(
		    quota, (size_t)options->transport_memory);
	core = grpc_server_create(&list, NULL);
	grpc_resource_quota_unref(quota);
	return core;
}

static void
server_register(struct rpc_server *server)
{
	const struct rpc_server_options *options = &server->options;

	server->slots =
	    xcalloc(options->method_count + 1, sizeof(*server->slots));
	for (size_t i = 0; i < options->method_count; i++) {
		const struct rpc_method *method = &options->methods[i];

		server->slots[i].method = method;
		/* Not READ_INITIAL_BYTE_BUFFER: a call would be gRPC's alone
		 * until its message is whole, so that none could be ended. */
		server->slots[i].registered = grpc_server_register_method(
		    server->core, method->path, NULL, GRPC_SRM_PAYLOAD_NONE, 0);
		if (server->slots[i].registered == NULL)
			abort(); /* the same path twice: our mistake */
	}
}

static int
server_bind_local(struct rpc_server *server, struct error *err)
{
	const char *path = server->options.local_socket;
	grpc_server_credentials *credentials;
	mode_t before;
	int rc = 0;

	if (path == NULL)
		return 0;
	server->local = xasprintf("unix:%s", path);
	if (rpc_listen_check(server->local, false, err) < 0)
		return -1;
	credentials = grpc_insecure_server_credentials_create();
	/* No other thread of ours makes files while the server is put
	 * together. */
	before = umask(0177);
	if (grpc_server_add_http2_port(
		server->core, server->local, credentials) == 0)
		rc = rpc_listen_explain(server->local, err);
	umask(before);
	grpc_server_credentials_release(credentials);
	return rc;
}

static int
server_bind(struct rpc_server *server, struct error *err)
{
	const char *listen = server->options.listen;
	grpc_server_credentials *credentials =
	    server->tls != NULL ? rpc_tls_server_credentials(server->tls)
				: grpc_insecure_server_credentials_create();
	int port =
	    grpc_server_add_http2_port(server->core, listen, credentials);

	grpc_server_credentials_release(credentials);
	if (port == 0)
		return rpc_listen_explain(listen, err);
	server->address = rpc_listen_address(listen, port);
	return server_bind_local(server, err);
}

static int
server_check(struct rpc_server *server, struct error *err)
{
	const struct rpc_server_options *options = &server->options;
	struct rpc_tls_files files = {
	    options->tls_certificate, options->tls_key, options->tls_client_ca};
	bool tls = files.certificate != NULL || files.key != NULL;

	if (options->max_streams > INT32_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the limit of streams ends at %d", INT32_MAX);
	if (!tls && files.ca != NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "client authorities are given, but no TLS certificate "
		    "and key");
	if (rpc_listen_check(
		options->listen, tls || options->insecure_listen, err) < 0)
		return -1;
	if (tls && (server->tls = rpc_tls_new(&files, err)) == NULL)
		return -1;
	return 0;
}

static size_t
server_pollers(const struct rpc_server_options *options)
{
	size_t cores = processors_available();

	if (options->pollers > 0)
		return options->pollers;
	return cores >= 8 ? cores / 4 : 1;
}

static void
server_init_lock(struct rpc_server *server)
{
	pthread_mutex_init(&server->lock, NULL);
	condition_init(&server->changed);
}

struct rpc_server *
rpc_server_new(const struct rpc_server_options *options, struct error *err)
{
	struct rpc_server *server = xcalloc(1, sizeof(*server));

	grpc_init();
	rpc_core_count_sent(RPC_SMALL_REQUEST);
	server->options = *options;
	server->shutdown_tag.complete = server_on_shutdown;
	server_init_lock(server);
	TAILQ_INIT(&server->live);
	if (server_check(server, err) < 0)
		goto fail;
	server->pollers = rpc_pollers_new(server_pollers(options));
	server->core = server_create(options);
	grpc_server_register_completion_queue(
	    server->core, rpc_pollers_queue(server->pollers), NULL);
	server_register(server);
	if (server_bind(server, err) < 0)
		goto fail;
	/* Its count may be asked for from now on. */
	if (options->memory_limit > 0)
		server->guard = memory_guard_new(server, options->memory_limit);
	return server;
fail:
	rpc_server_free(server);
	return NULL;
}

const char *
rpc_server_address(const struct rpc_server *server)
{
	return server->address;
}

void
rpc_server_start(struct rpc_server *server)
{
	server->started = true;
	grpc_server_start(server->core);
	for (size_t i = 0; i <= server->options.method_count; i++)
		rpc_server_arm(server, i < server->options.method_count
					   ? &server->slots[i]
					   : NULL);
	rpc_pollers_start(server->pollers);
}

uint64_t
rpc_server_ended_for_memory(const struct rpc_server *server)
{
	return memory_guard_ended(server->guard);
}

int64_t
rpc_server_certificate_not_after(const struct rpc_server *server)
{
	return server->tls != NULL ? rpc_tls_not_after(server->tls) : 0;
}

bool
rpc_server_stopping(const struct rpc_server *server)
{
	return atomic_load(&server->stopping);
}

/* True when all calls have ended and, unless only they are meant, gRPC has shut
 * down. */
static bool
server_wait(struct rpc_server *server, bool only_calls, int64_t deadline_ms)
{
	bool done;

	pthread_mutex_lock(&server->lock);
	while (
	    !(done = server->calls == 0 && (only_calls || server->shut_down))) {
		if (!condition_wait_until(
			&server->changed, &server->lock, deadline_ms * 1000000))
			break;
	}
	pthread_mutex_unlock(&server->lock);
	return done;
}

static void
server_cut(struct rpc_server *server)
{
	atomic_store(&server->cutting, true);
	grpc_server_cancel_all_calls(server->core);
	while (
	    !server_wait(server, false, clock_monotonic_ms() + SERVER_CUT_MS)) {
		if (server->address != NULL)
			rpc_connection_cut_all(server->address);
		if (server->local != NULL)
			rpc_connection_cut_all(server->local);
	}
}

void
rpc_server_stop(struct rpc_server *server, int64_t grace_ms)
{
	int64_t end_ms, quiet_ms;

	if (server->stopped)
		return;
	atomic_store(&server->stopping, true);
	if (server->started && server->options.stopping != NULL)
		server->options.stopping(server->options.cookie);
	if (!server->started)
		rpc_pollers_start(server->pollers);
	rpc_tag_give(&server->shutdown_tag);
	grpc_server_shutdown_and_notify(server->core,
	    rpc_pollers_queue(server->pollers), &server->shutdown_tag);
	server_cut_dialogues(server);
	end_ms = clock_monotonic_ms() + grace_ms;
	if (server_wait(server, true, end_ms)) {
		quiet_ms = clock_monotonic_ms() + SERVER_QUIET_MS;
		end_ms = quiet_ms < end_ms ? quiet_ms : end_ms;
	}
	if (!server_wait(server, false, end_ms))
		server_cut(server);
	memory_guard_stop(server->guard);
	grpc_server_destroy(server->core);
	server->core = NULL;
	rpc_pollers_stop(server->pollers);
	server->stopped = true;
}

void
rpc_server_free(struct rpc_server *server)
{
	if (server == NULL)
		return;
	if (server->core != NULL)
		rpc_server_stop(server, 0);
	if (server->pollers != NULL)
		rpc_pollers_free(server->pollers);
	/* Its count is read until here. */
	memory_guard_free(server->guard);
	rpc_tls_free(server->tls);
	free(server->slots);
	free(server->address);
	free(server->local);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
	grpc_shutdown();
}

void
rpc_timer_set(
    struct rpc_server *server, struct rpc_timer *timer, int64_t deadline_ms)
{
	rpc_pollers_set_timer(server->pollers, timer, deadline_ms);
}

bool
rpc_timer_cancel(struct rpc_server *server, struct rpc_timer *timer)
{
	return rpc_pollers_cancel_timer(server->pollers, timer);
}
