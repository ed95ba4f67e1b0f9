/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's end of toolroot.worker.v1.Workers.Serve. */
#include "worker/session.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <toolroot/worker/v1/worker.pb-c.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "worker/lease_result.h"
#include "worker/lease_table.h"
#include "worker/spawner.h"
#include "worker/tree_cache.h"
#include "worker/worker_state.h"

#define SERVE_PATH "/toolroot.worker.v1.Workers/Serve"
/* Of one message from the server. */
#define MESSAGE_MEMORY ((size_t)64 << 20)
/* Of what we make for one message. */
#define SEND_MEMORY ((size_t)16 << 20)
/* Trees that a server is told of: those used last. */
#define HELD_ROOTS_MAX 256
/* Bounds on what a server may ask for. */
#define HEARTBEAT_MIN_MS 100
#define HEARTBEAT_MAX_MS 600000
/* How long the server may take to end a session that we have ended. */
#define CLOSE_PATIENCE_MS 5000

struct outgoing {
	struct rpc_message *message;
	STAILQ_ENTRY(outgoing) link;
};

STAILQ_HEAD(outgoing_list, outgoing);

struct session {
	struct worker *worker;
	struct rpc_stream *stream;
	pthread_t sender;
	bool welcome;
	int64_t heartbeat_ms;
	size_t max_message_bytes;
	bool drained;              /* Drain is sent; the sending thread's */
	int64_t last_heartbeat_ms; /* the sending thread's */
	uint64_t told_trees;       /* tree_cache_generation then */
	/* Guards all below. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* its clock is the monotonic one */
	struct outgoing_list outgoing;
	bool ended; /* nothing can be sent any more */
	bool woken; /* look again at what is not under this lock */
	int64_t lease_timeout_ms; /* 0 before the welcome */
	int64_t last_sent_ms;
	int64_t closed_ms; /* since when our side is closed; 0 = open */
};

struct session *
session_new(struct worker *worker)
{
	struct session *session = xcalloc(1, sizeof(*session));

	session->worker = worker;
	pthread_mutex_init(&session->lock, NULL);
	condition_init(&session->changed);
	STAILQ_INIT(&session->outgoing);
	return session;
}

static void
drop_outgoing(struct session *session)
{
	struct outgoing *outgoing;

	while ((outgoing = STAILQ_FIRST(&session->outgoing)) != NULL) {
		STAILQ_REMOVE_HEAD(&session->outgoing, link);
		rpc_message_free(outgoing->message);
		free(outgoing);
	}
}

void
session_free(struct session *session)
{
	if (session == NULL)
		return;
	drop_outgoing(session);
	rpc_stream_free(session->stream);
	pthread_cond_destroy(&session->changed);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

bool
session_was_welcome(const struct session *session)
{
	return session->welcome;
}

/* Takes the message. */
static void
queue(struct session *session, struct rpc_message *message)
{
	struct outgoing *outgoing = xmalloc(sizeof(*outgoing));

	outgoing->message = message;
	pthread_mutex_lock(&session->lock);
	STAILQ_INSERT_TAIL(&session->outgoing, outgoing, link);
	session->woken = true;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
}

void
session_send_result(struct session *session, Workerapi__LeaseResult *result)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	GrpcStatus__Status spare;

	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_LEASE_RESULT;
	message.lease_result = result;
	lease_result_fit(&message, session->max_message_bytes, &spare);
	queue(session, rpc_message_pack(&message.base));
}

void
session_send_early(struct session *session, Workerapi__EarlyOutputs *early)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;

	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_EARLY_OUTPUTS;
	message.early_outputs = early;
	queue(session, rpc_message_pack(&message.base));
}

/* live_output_answer_fn. */
static void
send_piece(void *cookie, uint64_t read_id, struct str data)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__OutputPiece piece = WORKERAPI__OUTPUT_PIECE__INIT;

	piece.read_id = read_id;
	piece.data =
	    (ProtobufCBinaryData){data.len, (uint8_t *)(uintptr_t)data.data};
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_OUTPUT_PIECE;
	message.output_piece = &piece;
	queue(cookie, rpc_message_pack(&message.base));
}

void
session_wake(struct session *session)
{
	pthread_mutex_lock(&session->lock);
	session->woken = true;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
}

/* Why the session is to be given up; NULL when it is not. Under the lock. */
static const char *
reason_to_give_up(const struct session *session, int64_t now_ms)
{
	bool signalled = atomic_load(&session->worker->signals) > 0;

	if (session->stream == NULL || session->ended)
		return NULL;
	if (session->lease_timeout_ms == 0)
		return signalled ? "told to end before the welcome" : NULL;
	if (session->closed_ms != 0)
		return now_ms - session->closed_ms > CLOSE_PATIENCE_MS
			   ? "the server does not end the session"
			   : NULL;
	if (now_ms - session->last_sent_ms > session->lease_timeout_ms)
		return "nothing could be sent for the leases' time";
	return NULL;
}

void
session_check(struct session *session)
{
	struct rpc_stream *stream;
	const char *reason;

	pthread_mutex_lock(&session->lock);
	stream = session->stream;
	reason = reason_to_give_up(session, clock_monotonic_ms());
	if (reason != NULL)
		session->ended = true;
	pthread_mutex_unlock(&session->lock);
	if (reason == NULL)
		return;
	log_warn("session_given_up", "reason=\"%s\"", reason);
	rpc_stream_cancel(stream);
}

/* --- sending --------------------------------------------------------------
 */

static ProtobufCBinaryData
bytes(const char *text)
{
	return (ProtobufCBinaryData){
	    .len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

/* The trees that are there, as Hello.held_roots has them. All is the arena's,
 * where this much fits. */
static ProtobufCBinaryData *
held_roots(const struct worker *worker, struct arena *arena, size_t *count)
{
	struct digest *digests =
	    arena_alloc(arena, HELD_ROOTS_MAX * sizeof(*digests));
	ProtobufCBinaryData *list =
	    arena_zalloc(arena, HELD_ROOTS_MAX, sizeof(*list));
	size_t held = 0;

	*count = 0;
	if (digests != NULL && list != NULL)
		held = tree_cache_list(worker->trees, digests, HELD_ROOTS_MAX);
	for (size_t i = 0; i < held; i++) {
		enum digest_function function = digests[i].function;
		char digest[DIGEST_TEXT_MAX];
		const char *text = arena_printf(arena, "%s%s%s",
		    function == DIGEST_SHA256 ? ""
					      : digest_function_name(function),
		    function == DIGEST_SHA256 ? "" : "/",
		    digest_format(&digests[i], digest));

		if (text == NULL)
			break;
		list[(*count)++] = bytes(text);
	}
	return list;
}

static struct rpc_message *
make_heartbeat(struct session *session)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Heartbeat heartbeat = WORKERAPI__HEARTBEAT__INIT;
	struct rpc_message *packed;
	struct arena arena;

	arena_init(&arena, SEND_MEMORY);
	session->told_trees = tree_cache_generation(session->worker->trees);
	/* At most 1024 short states: they fit. */
	heartbeat.leases = lease_table_states(
	    session->worker->leases, &arena, &heartbeat.n_leases);
	heartbeat.held_roots =
	    held_roots(session->worker, &arena, &heartbeat.n_held_roots);
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HEARTBEAT;
	message.heartbeat = &heartbeat;
	packed = rpc_message_pack(&message.base);
	arena_clear(&arena);
	return packed;
}

static struct rpc_message *
make_drain(void)
{
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Drain drain = WORKERAPI__DRAIN__INIT;
	char reason[] = "the worker was told to end";

	drain.reason = reason;
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_DRAIN;
	message.drain = &drain;
	return rpc_message_pack(&message.base);
}

/* News of trees do not wait: the next action should go where its tree is. */
static bool
heartbeat_is_due(const struct session *session)
{
	return tree_cache_generation(session->worker->trees) !=
		   session->told_trees ||
	       clock_monotonic_ms() >=
		   session->last_heartbeat_ms + session->heartbeat_ms;
}

/* The next message that waits, NULL when there is none. */
static struct rpc_message *
take_outgoing(struct session *session)
{
	struct outgoing *outgoing;
	struct rpc_message *message = NULL;

	pthread_mutex_lock(&session->lock);
	outgoing = STAILQ_FIRST(&session->outgoing);
	if (outgoing != NULL) {
		STAILQ_REMOVE_HEAD(&session->outgoing, link);
		message = outgoing->message;
		free(outgoing);
	}
	pthread_mutex_unlock(&session->lock);
	return message;
}

/* Blocks until there is something to look at; false when nothing can be sent
 * any more. */
static bool
wait_for_news(struct session *session)
{
	int64_t due_ms = session->last_heartbeat_ms + session->heartbeat_ms;
	bool ended;

	pthread_mutex_lock(&session->lock);
	while (!session->woken && !session->ended && !heartbeat_is_due(session))
		condition_wait_until(
		    &session->changed, &session->lock, due_ms * 1000000);
	session->woken = false;
	ended = session->ended;
	pthread_mutex_unlock(&session->lock);
	return !ended;
}

/* What is to be sent next, or NULL when it is time to close our side. Results
 * go first: a slot queues its result before it is free, so none is overtaken
 * by a heartbeat that leaves its lease out, or by the end. */
static struct rpc_message *
next_message(struct session *session)
{
	struct worker *worker = session->worker;
	struct rpc_message *message;
	bool idle;

	do {
		idle = lease_table_count(worker->leases) == 0;
		message = take_outgoing(session);
		if (message != NULL)
			return message;
		if (atomic_load(&worker->signals) > 0 && !session->drained) {
			session->drained = true;
			return make_drain();
		}
		if (session->drained && idle)
			return NULL;
		if (heartbeat_is_due(session)) {
			session->last_heartbeat_ms = clock_monotonic_ms();
			return make_heartbeat(session);
		}
	} while (wait_for_news(session));
	return NULL;
}

static int
send_message(
    struct session *session, struct rpc_message *message, struct error *err)
{
	int rc = rpc_stream_send(session->stream, message, err);

	pthread_mutex_lock(&session->lock);
	session->last_sent_ms = clock_monotonic_ms();
	session->ended = session->ended || rc < 0;
	pthread_mutex_unlock(&session->lock);
	return rc;
}

static void *
sender_main(void *cookie)
{
	struct session *session = cookie;
	struct rpc_message *message;
	struct error err;

	/* Why sending fails is told by the receiving side. */
	while ((message = next_message(session)) != NULL)
		if (send_message(session, message, &err) < 0)
			return NULL;
	(void)rpc_stream_half_close(session->stream, &err);
	return NULL;
}

/* --- receiving ------------------------------------------------------------
 */

static int
say_hello(struct session *session, struct error *err)
{
	const struct worker_options *options = session->worker->options;
	Workerapi__WorkerMessage message = WORKERAPI__WORKER_MESSAGE__INIT;
	Workerapi__Hello hello = WORKERAPI__HELLO__INIT;
	Workerapi__Property *properties =
	    xcalloc(options->property_count + 1, sizeof(*properties));
	Workerapi__Property **list =
	    xcalloc(options->property_count + 1, sizeof(*list));
	char host[HOST_NAME_MAX + 1] = "";
	struct arena arena;
	int rc;

	arena_init(&arena, SEND_MEMORY);
	gethostname(host, sizeof(host) - 1);
	for (size_t i = 0; i < options->property_count; i++) {
		workerapi__property__init(&properties[i]);
		properties[i].name = bytes(options->properties[i].name);
		properties[i].value = bytes(options->properties[i].value);
		list[i] = &properties[i];
	}
	hello.worker_name = bytes(session->worker->name);
	hello.software_version = (char *)(uintptr_t)TOOLROOT_VERSION;
	hello.host_name = bytes(host);
	hello.slots = (uint32_t)options->slots;
	hello.properties = list;
	hello.n_properties = options->property_count;
	hello.held_roots =
	    held_roots(session->worker, &arena, &hello.n_held_roots);
	hello.sandbox_tier = (char *)(uintptr_t)sandbox_tier_name(
	    spawner_tier(session->worker->spawner));
	message.message_case = WORKERAPI__WORKER_MESSAGE__MESSAGE_HELLO;
	message.hello = &hello;
	rc = send_message(session, rpc_message_pack(&message.base), err);
	arena_clear(&arena);
	free(list);
	free(properties);
	return rc;
}

/* 1 and the message in arena, 0 at the end, -1. */
static int
receive(struct session *session, struct arena *arena,
    Workerapi__ServerMessage **message, struct error *err)
{
	struct rpc_message *packed;
	int rc = rpc_stream_receive(session->stream, &packed, err);

	if (rc <= 0)
		return rc;
	*message = rpc_message_unpack(
	    packed, &workerapi__server_message__descriptor, arena, err);
	rpc_message_free(packed);
	return *message != NULL ? 1 : -1;
}

static int64_t
milliseconds(const Google__Protobuf__Duration *duration)
{
	if (duration == NULL || duration->seconds < 0 ||
	    duration->seconds > HEARTBEAT_MAX_MS)
		return 0;
	return duration->seconds * 1000 + duration->nanos / 1000000;
}

static int
take_welcome(struct session *session, const Workerapi__ServerMessage *message,
    struct error *err)
{
	const Workerapi__Welcome *welcome;
	int64_t lease_timeout_ms;

	if (message->message_case != WORKERAPI__SERVER_MESSAGE__MESSAGE_WELCOME)
		return error_set(err, ERROR_INTERNAL,
		    "the server's first message is no welcome");
	welcome = message->welcome;
	session->heartbeat_ms = milliseconds(welcome->heartbeat_interval);
	lease_timeout_ms = milliseconds(welcome->lease_timeout);
	session->max_message_bytes = (size_t)welcome->max_message_bytes;
	if (session->heartbeat_ms < HEARTBEAT_MIN_MS ||
	    session->heartbeat_ms > HEARTBEAT_MAX_MS ||
	    lease_timeout_ms < session->heartbeat_ms)
		return error_set(err, ERROR_INTERNAL,
		    "the server's welcome asks for a heartbeat every %lld ms "
		    "and ends leases after %lld ms",
		    (long long)session->heartbeat_ms,
		    (long long)lease_timeout_ms);
	/* Earlier than asked: the message has a way to go. */
	session->heartbeat_ms = session->heartbeat_ms * 3 / 4;
	session->welcome = true;
	atomic_store(&session->worker->connected, true);
	pthread_mutex_lock(&session->lock);
	session->lease_timeout_ms = lease_timeout_ms;
	session->last_sent_ms = clock_monotonic_ms();
	pthread_mutex_unlock(&session->lock);
	log_info("connected", "server=%s version=%s session=%.*s tier=%s",
	    session->worker->options->server, welcome->server_version,
	    STR_ARG(directory_str(welcome->session_id)),
	    sandbox_tier_name(spawner_tier(session->worker->spawner)));
	return 0;
}

/* Takes the arena. */
static void
take_lease(struct session *session, const struct arena *arena,
    const Workerapi__Lease *message)
{
	const struct lease_readers readers = {send_piece, session};
	struct held_lease *lease = held_lease_new(arena, message, &readers);
	struct error err;

	if (lease_result_check(message, &err) == 0) {
		if (atomic_load(&session->worker->signals) > 0)
			error_set(&err, ERROR_CANCELLED,
			    "the worker is about to end");
		else if (lease_table_offer(session->worker->leases, lease))
			return;
		else
			error_set(&err, ERROR_UNAVAILABLE,
			    "the worker's slots are all busy");
	}
	lease_result_refuse(session, lease, &err);
	held_lease_free(lease);
}

static void
take_read(struct session *session, const Workerapi__ReadOutput *message)
{
	const struct output_read read = {.id = message->read_id,
	    .standard_error = message->standard_error,
	    .offset = message->offset,
	    .limit = message->limit};
	struct lease_table *leases = session->worker->leases;
	struct str data;

	if (message->limit == 0) {
		lease_table_withdraw_read(leases, read.id);
		return;
	}
	if (!lease_table_read_output(
		leases, directory_str(message->lease_id), &read, &data))
		return;
	send_piece(session, read.id, data);
	free((char *)(uintptr_t)data.data);
}

/* Takes the arena. 1 to go on, 0 when the server ends the session. */
static int
handle(struct session *session, struct arena *arena,
    const Workerapi__ServerMessage *message)
{
	int rc = 1;

	switch (message->message_case) {
	case WORKERAPI__SERVER_MESSAGE__MESSAGE_LEASE:
		take_lease(session, arena, message->lease);
		return 1;
	case WORKERAPI__SERVER_MESSAGE__MESSAGE_CANCEL_LEASE:
		/* One that is gone already: its result is on the way. */
		(void)lease_table_cancel(session->worker->leases,
		    directory_str(message->cancel_lease->lease_id));
		break;
	case WORKERAPI__SERVER_MESSAGE__MESSAGE_READ_OUTPUT:
		take_read(session, message->read_output);
		break;
	case WORKERAPI__SERVER_MESSAGE__MESSAGE_SHUTDOWN:
		log_info("server_shutdown", "reason=\"%s\"",
		    message->shutdown->reason);
		rc = 0;
		break;
	default: /* of a newer server */
		break;
	}
	arena_clear(arena);
	return rc;
}

static int
receive_welcome(struct session *session, struct error *err)
{
	Workerapi__ServerMessage *message = NULL;
	struct arena arena;
	int rc;

	arena_init(&arena, MESSAGE_MEMORY);
	rc = receive(session, &arena, &message, err);
	if (rc == 0)
		rc = error_set(err, ERROR_UNAVAILABLE,
		    "the server ended the session before its welcome");
	else if (rc == 1)
		rc = take_welcome(session, message, err);
	arena_clear(&arena);
	return rc;
}

static int
receive_all(struct session *session, struct error *err)
{
	Workerapi__ServerMessage *message;
	struct arena arena;
	int rc;

	do {
		arena_init(&arena, MESSAGE_MEMORY);
		rc = receive(session, &arena, &message, err);
		if (rc == 1)
			rc = handle(session, &arena, message);
		else
			arena_clear(&arena);
	} while (rc == 1);
	return rc;
}

static void
end_sending(struct session *session)
{
	pthread_mutex_lock(&session->lock);
	session->ended = true;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	rpc_stream_cancel(session->stream);
	pthread_join(session->sender, NULL);
}

static int
open_stream(struct session *session, struct error *err)
{
	struct rpc_call_options options = {.timeout_ms = 0};
	struct rpc_stream *stream = rpc_stream_open(
	    session->worker->session_channel, SERVE_PATH, &options, err);

	if (stream == NULL)
		return -1;
	pthread_mutex_lock(&session->lock);
	session->stream = stream;
	pthread_mutex_unlock(&session->lock);
	return 0;
}

/* Hello and welcome. */
static int
introduce(struct session *session, struct error *err)
{
	struct error reason;

	if (say_hello(session, err) < 0) {
		/* The server's status says more, where there is one. */
		if (receive_welcome(session, &reason) < 0)
			*err = reason;
		return -1;
	}
	if (receive_welcome(session, err) < 0)
		return -1;
	session->last_heartbeat_ms = clock_monotonic_ms();
	return 0;
}

int
session_serve(struct session *session, struct error *err)
{
	int rc;

	if (open_stream(session, err) < 0 || introduce(session, err) < 0)
		return -1;
	if (pthread_create(&session->sender, NULL, sender_main, session) != 0)
		return error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "cannot start a thread");
	rc = receive_all(session, err);
	lease_table_cancel_all(session->worker->leases);
	end_sending(session);
	lease_table_wait_idle(session->worker->leases);
	return rc;
}
