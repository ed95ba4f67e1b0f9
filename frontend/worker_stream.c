/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers.Serve: one stream a worker, with a pump (rpc/call_pump.h). What the
 * worker sends is handled as it comes, one message at a time, by the pump; what
 * it is to be told waits in the outbox.
 *
 * A session's cookie is its stream, of which it holds a reference; the stream
 * gives up its session when it ends, which breaks the circle.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "frontend/execution_internal.h"
#include "frontend/lease_result.h"
#include "frontend/output_stream.h"
#include "frontend/server_message.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"
#include "protos/early_outputs.h"
#include "rpc/call.h"
#include "rpc/call_pump.h"
#include "rpc/message.h"

/* An operation with a worker's result must fit into the 4 MiB that clients
 * accept. */
#define MESSAGE_MAX (STORAGE_SEND_MAX - (256u << 10))
#define MESSAGE_ARENA (32u << 20)

struct outgoing {
	struct rpc_message *message;
	uint64_t read_id; /* of a ReadOutput that asks; else 0 */
	STAILQ_ENTRY(outgoing) link;
};

struct worker_stream {
	/* First. References: the session's, and those of threads. */
	struct call_pump pump;
	struct execution_service *service;
	LIST_ENTRY(worker_stream) link; /* the service's lock */
	struct worker_session *session; /* the pump's, from Hello on */

	/* The pump's lock guards what follows. */
	STAILQ_HEAD(, outgoing) outbox;
	struct error end; /* once finishing; code OK: a plain end */
	bool finishing;
	bool receiving;
	bool has_received;           /* what follows is to be handled */
	struct rpc_message *message; /* NULL: the worker sends no more */
};

static struct worker_stream *
worker_stream_of(struct call_pump *pump)
{
	return (struct worker_stream *)(void *)pump;
}

static void
worker_stream_clear_outbox(struct worker_stream *stream)
{
	struct outgoing *outgoing;

	while ((outgoing = STAILQ_FIRST(&stream->outbox)) != NULL) {
		STAILQ_REMOVE_HEAD(&stream->outbox, link);
		rpc_message_free(outgoing->message);
		free(outgoing);
	}
}

static void
worker_stream_free(struct call_pump *pump)
{
	struct worker_stream *stream = worker_stream_of(pump);

	worker_stream_clear_outbox(stream);
	rpc_message_free(stream->message);
	free(stream);
}

static void
worker_stream_release(void *cookie)
{
	struct worker_stream *stream = cookie;

	call_pump_unref(&stream->pump);
}

/* --- sending ---------------------------------------------------------------
 */

/* Under the lock. Takes the message. */
static void
worker_stream_put(
    struct worker_stream *stream, struct rpc_message *message, uint64_t read_id)
{
	struct outgoing *outgoing = xcalloc(1, sizeof(*outgoing));

	outgoing->message = message;
	outgoing->read_id = read_id;
	STAILQ_INSERT_TAIL(&stream->outbox, outgoing, link);
}

/* To go out with the next pump. Takes the message; it is dropped when the
 * stream ends. */
static void
worker_stream_queue(
    struct worker_stream *stream, struct rpc_message *message, uint64_t read_id)
{
	pthread_mutex_lock(&stream->pump.lock);
	if (stream->finishing || stream->pump.ended)
		rpc_message_free(message);
	else
		worker_stream_put(stream, message, read_id);
	pthread_mutex_unlock(&stream->pump.lock);
}

static void
worker_stream_send(struct worker_stream *stream, struct rpc_message *message)
{
	worker_stream_queue(stream, message, 0);
	call_pump_run(&stream->pump);
}

/* Whether the worker has not been asked yet; then it never is. */
static bool
worker_stream_take_back(struct worker_stream *stream, uint64_t read_id)
{
	struct outgoing *outgoing;

	pthread_mutex_lock(&stream->pump.lock);
	STAILQ_FOREACH(outgoing, &stream->outbox, link)
	{
		if (outgoing->read_id == read_id)
			break;
	}
	if (outgoing != NULL)
		STAILQ_REMOVE(&stream->outbox, outgoing, outgoing, link);
	pthread_mutex_unlock(&stream->pump.lock);
	if (outgoing == NULL)
		return false;
	rpc_message_free(outgoing->message);
	free(outgoing);
	return true;
}

/* The end: what waits is dropped, a reason is sent as Shutdown (gRPC may drop
 * that when the status overtakes it; it is for logs). err NULL: with OK. */
static void
worker_stream_finish(
    struct worker_stream *stream, const struct error *err, const char *reason)
{
	pthread_mutex_lock(&stream->pump.lock);
	if (!stream->finishing) {
		stream->finishing = true;
		stream->end =
		    err != NULL ? *err : (struct error){.code = ERROR_OK};
		worker_stream_clear_outbox(stream);
		if (reason != NULL)
			worker_stream_put(
			    stream, server_message_shutdown(reason), 0);
	}
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_run(&stream->pump);
}

static void
worker_stream_welcome(
    struct worker_stream *stream, const struct worker_session *session)
{
	worker_stream_queue(stream,
	    server_message_welcome(session,
		stream->service->options.scheduler.heartbeat_ms, MESSAGE_MAX),
	    0);
}

/* Readers of its output may ask the worker only once it knows the lease. */
void
worker_stream_offer(const struct scheduler_event *event)
{
	struct operation *operation = event->operation;

	worker_stream_send(event->session->cookie, server_message_lease(event));
	atomic_store(&operation->told_lease, event->lease_number);
}

void
worker_stream_cancel_lease(const struct scheduler_event *event)
{
	worker_stream_send(
	    event->session->cookie, server_message_cancel_lease(event));
}

void
worker_stream_read_output(
    struct worker_session *session, const struct server_message_read *read)
{
	struct worker_stream *stream = session->cookie;

	/* So that what waits for a worker which does not listen is bounded by
	 * the readers at a time, however many come and go. */
	if (read->limit == 0 && worker_stream_take_back(stream, read->id))
		return;
	worker_stream_queue(stream, server_message_read_output(read),
	    read->limit > 0 ? read->id : 0);
	call_pump_run(&stream->pump);
}

void
worker_stream_lost(const struct scheduler_event *event)
{
	struct error err;

	error_set(&err, ERROR_UNAVAILABLE, "the worker was not heard of");
	worker_stream_finish(event->session->cookie, &err, event->reason);
}

void
worker_streams_stop(struct execution_service *service)
{
	struct worker_stream **streams;
	struct worker_stream *stream;
	struct error err;
	size_t count = 0;

	error_set(&err, ERROR_UNAVAILABLE, "the server is stopping");
	pthread_mutex_lock(&service->lock);
	LIST_FOREACH (stream, &service->workers, link)
		count++;
	streams = xcalloc(count + 1, sizeof(stream));
	count = 0;
	LIST_FOREACH (stream, &service->workers, link) {
		call_pump_ref(&stream->pump);
		streams[count++] = stream;
	}
	pthread_mutex_unlock(&service->lock);
	while (count > 0) {
		stream = streams[--count];
		worker_stream_finish(stream, &err, err.text);
		call_pump_unref(&stream->pump);
	}
	free(streams);
}

/* --- what the worker says --------------------------------------------------
 */

static void
log_joined(struct worker_stream *stream, const struct worker_session *session,
    const Workerapi__Hello *hello)
{
	char values[3][LOG_VALUE_MAX];

	log_info("worker_joined",
	    "worker=\"%s\" session=%s slots=%zu version=\"%s\" "
	    "sandbox=\"%s\" peer=%.*s",
	    log_value(session->worker_name, values[0]), session->id,
	    session->slots,
	    log_value(str_from(hello->software_version), values[1]),
	    log_value(str_from(hello->sandbox_tier), values[2]),
	    STR_ARG(rpc_call_peer(stream->pump.call)));
}

/* The session that a Hello begins. */
static struct worker_session *
worker_stream_session(struct worker_stream *stream,
    struct worker_message *worker_message, struct error *err)
{
	const Workerapi__Hello *hello = worker_message->message->hello;
	struct platform_property *properties =
	    arena_zalloc(&worker_message->arena, hello->n_properties + 1,
		sizeof(*properties));
	struct session_options options = {
	    .worker_name = binary_str(hello->worker_name),
	    .slots = hello->slots,
	    .properties = properties,
	    .property_count = hello->n_properties,
	    .sandbox = session_sandbox_parse(str_from(hello->sandbox_tier)),
	    .cookie = stream,
	    .release = worker_stream_release,
	};
	struct worker_session *session;
	struct str *roots = arena_zalloc(
	    &worker_message->arena, hello->n_held_roots + 1, sizeof(*roots));

	if (properties == NULL || roots == NULL) {
		error_set(
		    err, ERROR_INVALID_ARGUMENT, "the Hello is too large");
		return NULL;
	}
	for (size_t i = 0; i < hello->n_properties; i++)
		properties[i] = (struct platform_property){
		    binary_str(hello->properties[i]->name),
		    binary_str(hello->properties[i]->value)};
	for (size_t i = 0; i < hello->n_held_roots; i++)
		roots[i] = binary_str(hello->held_roots[i]);
	session = worker_session_new(&options, err);
	if (session == NULL)
		return NULL;
	call_pump_ref(&stream->pump); /* the session's */
	worker_session_set_held_roots(session, roots, hello->n_held_roots);
	log_joined(stream, session, hello);
	return session;
}

static int
on_hello(struct worker_stream *stream, struct worker_message *worker_message,
    struct error *err)
{
	stream->session = worker_stream_session(stream, worker_message, err);
	if (stream->session == NULL)
		return -1;
	worker_stream_welcome(stream, stream->session); /* before any lease */
	scheduler_join_session(
	    stream->service->scheduler, stream->session, clock_monotonic_ms());
	return 0;
}

static enum lease_stage
stage_of(Workerapi__LeaseState__Stage stage)
{
	if (stage < WORKERAPI__LEASE_STATE__STAGE__FETCHING)
		return LEASE_FETCHING;
	if (stage > WORKERAPI__LEASE_STATE__STAGE__UPLOADING)
		return LEASE_UPLOADING;
	return (enum lease_stage)stage;
}

static int
on_heartbeat(struct worker_stream *stream,
    struct worker_message *worker_message, struct error *err)
{
	const Workerapi__Heartbeat *beat = worker_message->message->heartbeat;
	struct lease_report *reports = arena_zalloc(
	    &worker_message->arena, beat->n_leases + 1, sizeof(*reports));
	struct str *roots = arena_zalloc(
	    &worker_message->arena, beat->n_held_roots + 1, sizeof(*roots));
	struct session_heartbeat heartbeat = {
	    reports, beat->n_leases, roots, beat->n_held_roots};

	if (reports == NULL || roots == NULL ||
	    beat->n_leases > 2 * SESSION_SLOTS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the Heartbeat names too many leases or roots");
	for (size_t i = 0; i < beat->n_leases; i++)
		reports[i] =
		    (struct lease_report){binary_str(beat->leases[i]->lease_id),
			stage_of(beat->leases[i]->stage)};
	for (size_t i = 0; i < beat->n_held_roots; i++)
		roots[i] = binary_str(beat->held_roots[i]);
	scheduler_heartbeat(stream->service->scheduler, stream->session,
	    &heartbeat, clock_monotonic_ms());
	return 0;
}

/* As the worker says: for the metric. */
static uint64_t
count_early_bytes(const Workerapi__EarlyOutputs *early)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < early->n_files; i++) {
		const Reapi__Digest *digest = early->files[i]->digest;

		if (digest != NULL && digest->size_bytes > 0 &&
		    (uint64_t)digest->size_bytes <= EARLY_OUTPUTS_FILE_MAX)
			sum += (uint64_t)digest->size_bytes;
	}
	return sum;
}

/* News for the clients that wait; the blobs were put into the store before. */
static int
on_early_outputs(struct worker_stream *stream,
    struct worker_message *worker_message, struct error *err)
{
	Workerapi__EarlyOutputs *early = worker_message->message->early_outputs;
	struct early_report report = {.files = early->n_files};
	struct str lease_id = binary_str(early->lease_id);

	early->lease_id = (ProtobufCBinaryData){.len = 0};
	if (early->n_files > EARLY_OUTPUTS_FILES_MAX ||
	    workerapi__early_outputs__get_packed_size(early) >
		EARLY_OUTPUTS_BYTES_MAX ||
	    protos_pack(
		&worker_message->arena, &early->base, &report.outputs) == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "EarlyOutputs names more than %d files or takes more than "
		    "%d bytes",
		    EARLY_OUTPUTS_FILES_MAX, EARLY_OUTPUTS_BYTES_MAX);
	report.bytes = count_early_bytes(early);
	(void)scheduler_report_early(
	    stream->service->scheduler, stream->session, lease_id, &report);
	return 0;
}

static void
on_drain(struct worker_stream *stream, const Workerapi__Drain *drain)
{
	char values[2][LOG_VALUE_MAX];

	log_info("worker_drains", "worker=\"%s\" session=%s reason=\"%s\"",
	    log_value(stream->session->worker_name, values[0]),
	    stream->session->id, log_value(str_from(drain->reason), values[1]));
	scheduler_drain_session(
	    stream->service->scheduler, stream->session, clock_monotonic_ms());
}

/* Takes the message. */
static int
worker_stream_handle(struct worker_stream *stream,
    struct worker_message *worker_message, struct error *err)
{
	const Workerapi__WorkerMessage *message = worker_message->message;
	bool first = stream->session == NULL;
	int rc = 0;

	if (first != (message->message_case ==
			 WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO)) {
		rc = error_set(err, ERROR_INVALID_ARGUMENT,
		    first ? "the first message must be Hello"
			  : "Hello came twice");
		goto out;
	}
	switch (message->message_case) {
	case WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO:
		rc = on_hello(stream, worker_message, err);
		break;
	case WORKERAPI__WORKER_MESSAGE__MESSAGE_HEARTBEAT:
		rc = on_heartbeat(stream, worker_message, err);
		break;
	case WORKERAPI__WORKER_MESSAGE__MESSAGE_LEASE_RESULT:
		lease_result_take(stream->service, stream->pump.call,
		    stream->session, worker_message);
		return 0;
	case WORKERAPI__WORKER_MESSAGE__MESSAGE_DRAIN:
		on_drain(stream, message->drain);
		break;
	case WORKERAPI__WORKER_MESSAGE__MESSAGE_OUTPUT_PIECE:
		output_streams_take(stream->service, stream->session,
		    message->output_piece->read_id,
		    binary_str(message->output_piece->data));
		break;
	case WORKERAPI__WORKER_MESSAGE__MESSAGE_EARLY_OUTPUTS:
		rc = on_early_outputs(stream, worker_message, err);
		break;
	default:
		/* From a newer worker: not for us. */
		break;
	}
out:
	arena_clear(&worker_message->arena);
	free(worker_message);
	return rc;
}

/* Takes the message. */
static int
worker_stream_parse(struct worker_stream *stream, struct rpc_message *message,
    struct error *err)
{
	struct worker_message *worker_message = NULL;
	int rc = -1;

	if (rpc_message_size(message) > MESSAGE_MAX) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a message of %zu bytes is above Welcome's "
		    "max_message_bytes of %u",
		    rpc_message_size(message), MESSAGE_MAX);
		goto out;
	}
	worker_message = xcalloc(1, sizeof(*worker_message));
	arena_init(&worker_message->arena, MESSAGE_ARENA);
	worker_message->message =
	    rpc_message_unpack(message, &workerapi__worker_message__descriptor,
		&worker_message->arena, err);
	if (worker_message->message != NULL) {
		rc = worker_stream_handle(stream, worker_message, err);
	} else {
		arena_clear(&worker_message->arena);
		free(worker_message);
	}
out:
	rpc_message_free(message);
	return rc;
}

static void
worker_stream_received(
    struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	struct worker_stream *stream = cookie;

	(void)call;
	pthread_mutex_lock(&stream->pump.lock);
	stream->message = message;
	stream->has_received = true;
	stream->receiving = false;
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_run(&stream->pump);
}

/* Takes the message. */
static void
worker_stream_take(struct worker_stream *stream, struct rpc_message *message)
{
	struct error err;

	if (message == NULL)
		worker_stream_finish(stream, NULL, NULL);
	else if (worker_stream_parse(stream, message, &err) < 0)
		worker_stream_finish(stream, &err, err.text);
	execution_service_kick(stream->service);
}

/* --- the pump --------------------------------------------------------------
 */

enum worker_step {
	WORKER_STEP_NONE,
	WORKER_STEP_TAKE,
	WORKER_STEP_SEND,
	WORKER_STEP_RECEIVE,
	WORKER_STEP_END,
};

/* Under the lock. */
static enum worker_step
worker_stream_next(struct worker_stream *stream, struct rpc_message **message)
{
	struct outgoing *outgoing = STAILQ_FIRST(&stream->outbox);

	/* What came before the end counts. */
	if (stream->has_received) {
		stream->has_received = false;
		*message = stream->message;
		stream->message = NULL;
		return WORKER_STEP_TAKE;
	}
	if (!stream->pump.cancelled && !stream->pump.sending &&
	    outgoing != NULL) {
		STAILQ_REMOVE_HEAD(&stream->outbox, link);
		*message = outgoing->message;
		free(outgoing);
		return WORKER_STEP_SEND;
	}
	if (stream->pump.cancelled || stream->finishing)
		return WORKER_STEP_END;
	if (!stream->receiving) {
		stream->receiving = true;
		return WORKER_STEP_RECEIVE;
	}
	return WORKER_STEP_NONE;
}

static void
worker_stream_end(struct worker_stream *stream)
{
	struct execution_service *service = stream->service;
	struct worker_session *session = stream->session;
	char name[LOG_VALUE_MAX];
	struct error err;

	pthread_mutex_lock(&service->lock);
	LIST_REMOVE(stream, link);
	pthread_mutex_unlock(&service->lock);
	error_set(&err, ERROR_CANCELLED, "the worker has gone");
	pthread_mutex_lock(&stream->pump.lock);
	if (stream->finishing)
		err = stream->end;
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_finish(&stream->pump, err.code != ERROR_OK ? &err : NULL);
	stream->session = NULL;
	if (session != NULL) {
		bool drained = scheduler_leave_session(
		    service->scheduler, session, clock_monotonic_ms());

		log_info("worker_left", "worker=\"%s\" session=%s drained=%s",
		    log_value(session->worker_name, name), session->id,
		    drained ? "yes" : "no");
		worker_session_unref(session);
	}
	execution_service_kick(service);
}

static bool
worker_stream_step(struct call_pump *pump)
{
	struct worker_stream *stream = worker_stream_of(pump);
	struct rpc_message *message = NULL;
	enum worker_step step;

	pthread_mutex_lock(&pump->lock);
	step = worker_stream_next(stream, &message);
	pthread_mutex_unlock(&pump->lock);
	switch (step) {
	case WORKER_STEP_TAKE:
		worker_stream_take(stream, message);
		break;
	case WORKER_STEP_SEND:
		call_pump_send(pump, message);
		break;
	case WORKER_STEP_RECEIVE:
		rpc_call_receive(pump->call, worker_stream_received, stream);
		break;
	case WORKER_STEP_END:
		worker_stream_end(stream);
		break;
	case WORKER_STEP_NONE:
		break;
	}
	return step != WORKER_STEP_NONE;
}

void
workers_serve(struct rpc_call *call, void *cookie)
{
	static const struct call_pump_type type = {
	    worker_stream_step, worker_stream_free};
	struct execution_service *service = cookie;
	struct worker_stream *stream = xcalloc(1, sizeof(*stream));

	execution_service_meet(service, call);
	stream->service = service;
	STAILQ_INIT(&stream->outbox);
	call_pump_init(&stream->pump, &type, call);
	pthread_mutex_lock(&service->lock);
	LIST_INSERT_HEAD(&service->workers, stream, link);
	pthread_mutex_unlock(&service->lock);
	call_pump_start(&stream->pump);
}
