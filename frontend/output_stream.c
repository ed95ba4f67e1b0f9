/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object a read. As with the other streams, what happens only sets flags,
 * and one pump at a time looks at them, asks, sends and ends the call.
 */
#include "frontend/output_stream.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "frontend/execution_internal.h"
#include "frontend/server_message.h"
#include "protos/arena_allocator.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* Of one ask. */
#define PIECE_MAX (128u << 10)
/* A worker's response, unpacked. */
#define RESPONSE_ARENA (64u << 20)
/* ReadResponse */
enum { DATA = 10 };

struct output_stream {
	struct execution_service *service;
	struct rpc_call *call; /* the pump's */
	/* The call's, and those of threads that use it for a while. */
	atomic_size_t references;
	uint64_t id;                 /* of its reads */
	struct operation *operation; /* a reference */
	bool standard_error;
	LIST_ENTRY(output_stream) link; /* the service's lock */
	struct task rest_task;
	struct blob_stream *rest; /* the task's, while it runs */

	/* Guards what follows; not held across calls of rpc/call.h. */
	pthread_mutex_t lock;
	uint64_t offset;                /* of the next byte */
	uint64_t left;                  /* that may be sent */
	unsigned lease_number;          /* whose output it is; 0: no one's */
	struct worker_session *session; /* that was asked; a reference */
	char lease_id[LEASE_ID_SIZE];
	bool asked;      /* a piece is on its way */
	bool lease_over; /* the lease has no more */
	bool resting;    /* rest_task is under way */
	void *piece;     /* malloc; to be sent */
	size_t piece_len;
	struct error end; /* once finished; code OK: a plain end */
	bool finished;
	bool pumping;
	bool again;
	bool sending;
	bool cancelled;
	bool ended;
};

static void output_stream_pump(struct output_stream *stream);

bool
output_stream_parse(struct str resource, struct output_stream_request *request)
{
	static const char *const suffixes[] = {
	    OUTPUT_STREAM_STDOUT, OUTPUT_STREAM_STDERR};

	for (int i = 0; i < 2; i++) {
		struct str suffix = str_from(suffixes[i]);

		if (resource.len <= suffix.len ||
		    memcmp(resource.data + resource.len - suffix.len,
			suffix.data, suffix.len) != 0)
			continue;
		request->operation =
		    (struct str){resource.data, resource.len - suffix.len};
		request->standard_error = i == 1;
		return true;
	}
	return false;
}

static void
output_stream_unref(struct output_stream *stream)
{
	if (atomic_fetch_sub(&stream->references, 1) != 1)
		return;
	worker_session_unref(stream->session);
	operation_unref(stream->operation);
	blob_stream_free(stream->rest);
	pthread_mutex_destroy(&stream->lock);
	free(stream->piece);
	free(stream);
}

/* --- what sets flags -------------------------------------------------------
 */

static void
output_stream_cancelled(struct rpc_call *call, void *cookie)
{
	struct output_stream *stream = cookie;

	(void)call;
	pthread_mutex_lock(&stream->lock);
	stream->cancelled = true;
	pthread_mutex_unlock(&stream->lock);
	output_stream_pump(stream);
}

static void
output_stream_sent(struct rpc_call *call, bool ok, void *cookie)
{
	struct output_stream *stream = cookie;

	(void)call;
	pthread_mutex_lock(&stream->lock);
	stream->sending = false;
	if (!ok)
		stream->cancelled = true;
	pthread_mutex_unlock(&stream->lock);
	output_stream_pump(stream);
}

/* Under the lock. */
static void
output_stream_finish(struct output_stream *stream, const struct error *err)
{
	if (stream->finished)
		return;
	stream->finished = true;
	stream->end = err != NULL ? *err : (struct error){.code = ERROR_OK};
}

/* Those for which wanted is true, each with a reference, malloced. */
static struct output_stream **
output_streams_list(struct execution_service *service,
    bool (*wanted)(const struct output_stream *stream, const void *cookie),
    const void *cookie, size_t *count)
{
	struct output_stream **list = NULL;
	struct output_stream *stream;

	*count = 0;
	pthread_mutex_lock(&service->lock);
	if (!LIST_EMPTY(&service->output_streams))
		list = xcalloc(service->output_stream_count, sizeof(stream));
	LIST_FOREACH (stream, &service->output_streams, link) {
		if (!wanted(stream, cookie))
			continue;
		atomic_fetch_add(&stream->references, 1);
		list[(*count)++] = stream;
	}
	pthread_mutex_unlock(&service->lock);
	return list;
}

static bool
is_of_operation(const struct output_stream *stream, const void *operation)
{
	return stream->operation == operation;
}

static bool
has_id(const struct output_stream *stream, const void *id)
{
	return stream->id == *(const uint64_t *)id;
}

static bool
is_any(const struct output_stream *stream, const void *cookie)
{
	(void)stream;
	(void)cookie;
	return true;
}

void
output_streams_notify(
    struct execution_service *service, struct operation *operation)
{
	size_t count;
	struct output_stream **list =
	    output_streams_list(service, is_of_operation, operation, &count);

	for (size_t i = 0; i < count; i++) {
		output_stream_pump(list[i]);
		output_stream_unref(list[i]);
	}
	free(list);
}

void
output_streams_stop(struct execution_service *service)
{
	struct error err;
	size_t count;
	struct output_stream **list =
	    output_streams_list(service, is_any, NULL, &count);

	error_set(&err, ERROR_UNAVAILABLE, "the server is stopping");
	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&list[i]->lock);
		output_stream_finish(list[i], &err);
		pthread_mutex_unlock(&list[i]->lock);
		output_stream_pump(list[i]);
		output_stream_unref(list[i]);
	}
	free(list);
}

/* Only from the worker that was asked, and never more than was asked for. */
static void
output_stream_take(struct output_stream *stream,
    const struct worker_session *session, struct str data)
{
	size_t len = data.len < PIECE_MAX ? data.len : PIECE_MAX;

	pthread_mutex_lock(&stream->lock);
	if (stream->asked && stream->session == session) {
		stream->asked = false;
		stream->lease_over = len == 0;
		if (len > stream->left)
			len = (size_t)stream->left;
		if (len > 0) {
			stream->piece = xmalloc(len);
			memcpy(stream->piece, data.data, len);
			stream->piece_len = len;
		}
	}
	pthread_mutex_unlock(&stream->lock);
	output_stream_pump(stream);
}

void
output_streams_take(struct execution_service *service,
    const struct worker_session *session, uint64_t read_id, struct str data)
{
	size_t count;
	struct output_stream **list =
	    output_streams_list(service, has_id, &read_id, &count);

	/* None: the reader has gone meanwhile. */
	for (size_t i = 0; i < count; i++) {
		output_stream_take(list[i], session, data);
		output_stream_unref(list[i]);
	}
	free(list);
}

/* --- what the result has ---------------------------------------------------
 */

static const Reapi__Digest *
digest_of_output(const struct output_stream *stream,
    const Reapi__ActionResult *result, ProtobufCBinaryData *raw)
{
	*raw = stream->standard_error ? result->stderr_raw : result->stdout_raw;
	return stream->standard_error ? result->stderr_digest
				      : result->stdout_digest;
}

/* The whole output lies in this blob. */
static int
open_rest(struct output_stream *stream, const Reapi__Digest *message,
    struct error *err)
{
	struct blob_stream_options options = {ENCODING_IDENTITY, 0, 0};
	struct digest digest;
	char text[DIGEST_TEXT_MAX];
	struct blob *blob;
	int found;

	if (digest_from_message(stream->operation->action_digest.function,
		message, &digest, err) < 0)
		return -1;
	if (stream->offset > digest.size)
		return error_set(err, ERROR_OUT_OF_RANGE,
		    "read_offset %llu is beyond the output's %llu bytes",
		    (unsigned long long)stream->offset,
		    (unsigned long long)digest.size);
	if (stream->offset == digest.size)
		return 0;
	found = store_open_blob(
	    stream->service->storage->store, &digest, &blob, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "the output of %.*s, blob %s, is not in the store any more",
		    STR_ARG(stream->operation->name),
		    digest_format(&digest, text));
	options.offset = stream->offset;
	stream->rest = blob_stream_open(blob, &options, err);
	return stream->rest != NULL ? 0 : -1;
}

/* Sets rest, or the piece that the response itself holds; neither: there is no
 * more. -1: the operation ended without output, and why. */
static int
find_rest(struct output_stream *stream, struct str *piece, struct error *err)
{
	const struct operation *operation = stream->operation;
	const Reapi__ExecuteResponse *response;
	const Reapi__Digest *digest;
	ProtobufCBinaryData raw;
	struct arena arena;
	int rc = 0;

	*piece = (struct str){NULL, 0};
	if (operation->error.code != ERROR_OK) {
		*err = operation->error;
		return -1;
	}
	arena_init(&arena, RESPONSE_ARENA);
	response = protos_unpack(&arena, &reapi__execute_response__descriptor,
	    operation->response, err);
	if (response == NULL) {
		rc = -1;
	} else if (response->result == NULL) {
		if (response->status != NULL && response->status->code != 0)
			rc = error_set(err,
			    (enum error_code)response->status->code, "%s",
			    response->status->message);
	} else {
		digest = digest_of_output(stream, response->result, &raw);
		if (digest != NULL)
			rc = open_rest(stream, digest, err);
		else if (raw.len > stream->offset)
			*piece = (struct str){
			    xstrndup((char *)raw.data + stream->offset,
				raw.len - (size_t)stream->offset),
			    raw.len - (size_t)stream->offset};
	}
	arena_clear(&arena);
	return rc;
}

static int
next_of_rest(struct output_stream *stream, struct str *piece, struct error *err)
{
	void *data;
	size_t len;

	if (stream->rest == NULL && find_rest(stream, piece, err) < 0)
		return -1;
	if (stream->rest == NULL)
		return 0;
	data = xmalloc(STORAGE_READ_CHUNK);
	if (blob_stream_next(
		stream->rest, data, STORAGE_READ_CHUNK, &len, err) < 0) {
		free(data);
		return -1;
	}
	*piece = (struct str){data, len};
	return 0;
}

/* On the pool. */
static void
rest_run(struct task *task)
{
	struct output_stream *stream =
	    (struct output_stream *)(void *)((char *)task -
					     offsetof(struct output_stream,
						 rest_task));
	struct str piece;
	struct error err;
	int rc = next_of_rest(stream, &piece, &err);

	pthread_mutex_lock(&stream->lock);
	stream->resting = false;
	if (rc < 0) {
		output_stream_finish(stream, &err);
	} else if (piece.len == 0) {
		free((char *)(uintptr_t)piece.data);
		output_stream_finish(stream, NULL);
	} else {
		stream->piece = (char *)(uintptr_t)piece.data;
		stream->piece_len =
		    piece.len < stream->left ? piece.len : (size_t)stream->left;
	}
	pthread_mutex_unlock(&stream->lock);
	output_stream_pump(stream);
	output_stream_unref(stream);
}

/* --- the pump --------------------------------------------------------------
 */

enum output_step {
	OUTPUT_STEP_NONE,
	OUTPUT_STEP_ASK,
	OUTPUT_STEP_SEND,
	OUTPUT_STEP_REST,
	OUTPUT_STEP_END,
};

/* Under the lock: another worker has the lease, or had it. */
static void
output_stream_change_lease(
    struct output_stream *stream, struct operation_lease *lease)
{
	struct error err;

	if (stream->lease_number != 0 && stream->offset > 0) {
		error_set(&err, ERROR_ABORTED,
		    "the worker that ran %.*s was lost, and another began "
		    "anew: read again from offset 0",
		    STR_ARG(stream->operation->name));
		output_stream_finish(stream, &err);
		return;
	}
	stream->lease_number = lease->number;
	stream->asked = false;
	stream->lease_over = false;
}

/* Under the lock. Takes the lease's session where it returns ASK. */
static enum output_step
output_stream_next(struct output_stream *stream, struct operation_lease *lease)
{
	bool told =
	    lease->number == atomic_load(&stream->operation->told_lease);

	if (stream->ended || stream->resting)
		return OUTPUT_STEP_NONE;
	if (!stream->cancelled && stream->piece != NULL) {
		if (stream->sending)
			return OUTPUT_STEP_NONE;
		stream->sending = true;
		return OUTPUT_STEP_SEND;
	}
	if (stream->left == 0)
		output_stream_finish(stream, NULL);
	if (lease->number != stream->lease_number && !stream->sending &&
	    !stream->finished)
		output_stream_change_lease(stream, lease);
	if (stream->cancelled || stream->finished) {
		stream->ended = true;
		return OUTPUT_STEP_END;
	}
	if (stream->sending)
		return OUTPUT_STEP_NONE;
	if (lease->state == OPERATION_DONE) {
		stream->asked = false; /* what still comes is too late */
		stream->resting = true;
		return OUTPUT_STEP_REST;
	}
	if (lease->session == NULL || !told || stream->asked ||
	    stream->lease_over)
		return OUTPUT_STEP_NONE;
	stream->asked = true;
	worker_session_unref(stream->session);
	stream->session = lease->session;
	lease->session = NULL;
	memcpy(stream->lease_id, lease->id, sizeof(stream->lease_id));
	return OUTPUT_STEP_ASK;
}

static void
output_stream_ask(struct output_stream *stream, uint32_t limit)
{
	const struct server_message_read read = {.id = stream->id,
	    .lease_id = stream->lease_id,
	    .standard_error = stream->standard_error,
	    .offset = stream->offset,
	    .limit = limit};

	worker_stream_read_output(stream->session, &read);
}

/* The next is asked for only when this one has gone out. */
static void
output_stream_send(struct output_stream *stream)
{
	struct rpc_message *message = rpc_message_new();
	uint8_t header[2 * WIRE_VARINT_MAX];
	void *piece;
	size_t len;

	pthread_mutex_lock(&stream->lock);
	piece = stream->piece;
	len = stream->piece_len;
	stream->piece = NULL;
	stream->offset += len;
	if (stream->left != UINT64_MAX)
		stream->left -= len;
	pthread_mutex_unlock(&stream->lock);
	rpc_message_add(
	    message, header, wire_put_bytes_header(header, DATA, len));
	rpc_message_add_take(message, piece, len);
	rpc_call_send(stream->call, message, output_stream_sent, stream);
}

static void
output_stream_end(struct output_stream *stream)
{
	struct execution_service *service = stream->service;
	struct error err;
	bool asked;

	pthread_mutex_lock(&service->lock);
	LIST_REMOVE(stream, link);
	service->output_stream_count--;
	pthread_mutex_unlock(&service->lock);
	error_set(&err, ERROR_CANCELLED, "the client ended the read");
	pthread_mutex_lock(&stream->lock);
	if (stream->finished)
		err = stream->end;
	asked = stream->asked;
	pthread_mutex_unlock(&stream->lock);
	if (asked)
		output_stream_ask(stream, 0);
	rpc_call_finish(stream->call, err.code != ERROR_OK ? &err : NULL);
	output_stream_unref(stream); /* the call's */
}

static void
output_stream_act(struct output_stream *stream, enum output_step step)
{
	switch (step) {
	case OUTPUT_STEP_ASK:
		output_stream_ask(stream, PIECE_MAX);
		break;
	case OUTPUT_STEP_SEND:
		output_stream_send(stream);
		break;
	case OUTPUT_STEP_REST:
		atomic_fetch_add(&stream->references, 1);
		rpc_call_submit(stream->call, &stream->rest_task);
		break;
	case OUTPUT_STEP_END:
		output_stream_end(stream);
		break;
	case OUTPUT_STEP_NONE:
		break;
	}
}

static void
output_stream_pump(struct output_stream *stream)
{
	struct scheduler *scheduler = stream->service->scheduler;
	struct operation_lease lease;
	enum output_step step;

	pthread_mutex_lock(&stream->lock);
	stream->again = true;
	if (stream->pumping) {
		pthread_mutex_unlock(&stream->lock);
		return;
	}
	stream->pumping = true;
	/* The end gives up the call's reference. */
	atomic_fetch_add(&stream->references, 1);
	while (stream->again) {
		stream->again = false;
		pthread_mutex_unlock(&stream->lock);
		scheduler_operation_lease(scheduler, stream->operation, &lease);
		pthread_mutex_lock(&stream->lock);
		step = output_stream_next(stream, &lease);
		stream->again = stream->again || step != OUTPUT_STEP_NONE;
		pthread_mutex_unlock(&stream->lock);
		worker_session_unref(lease.session);
		output_stream_act(stream, step);
		pthread_mutex_lock(&stream->lock);
	}
	stream->pumping = false;
	pthread_mutex_unlock(&stream->lock);
	output_stream_unref(stream);
}

/* --- beginning -------------------------------------------------------------
 */

static struct operation *
find_operation(struct execution_service *service,
    const struct output_stream_request *request, struct error *err)
{
	struct operation *operation;

	if (request->offset < 0 || request->limit < 0) {
		error_set(err,
		    request->offset < 0 ? ERROR_OUT_OF_RANGE
					: ERROR_INVALID_ARGUMENT,
		    "read_offset %lld or read_limit %lld is negative",
		    (long long)request->offset, (long long)request->limit);
		return NULL;
	}
	operation = operations_find(service, request->operation, err);
	if (operation == NULL)
		error_prefix(err,
		    "no output to follow (that of an action which has ended "
		    "is in its ActionResult)");
	return operation;
}

static int
output_stream_enlist(struct output_stream *stream, struct error *err)
{
	static atomic_uint_least64_t last_id;
	struct execution_service *service = stream->service;
	bool stopping;
	bool room;

	stream->id = atomic_fetch_add(&last_id, 1) + 1;
	pthread_mutex_lock(&service->lock);
	room = service->output_stream_count < OUTPUT_STREAMS_MAX;
	stopping = service->stopping;
	if (room && !stopping) {
		LIST_INSERT_HEAD(&service->output_streams, stream, link);
		service->output_stream_count++;
	}
	pthread_mutex_unlock(&service->lock);
	if (stopping)
		return error_set(
		    err, ERROR_UNAVAILABLE, "the server is stopping");
	if (!room)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%d reads of running actions' output are under way; no "
		    "more are served",
		    OUTPUT_STREAMS_MAX);
	return 0;
}

static struct output_stream *
output_stream_new(struct execution_service *service, struct rpc_call *call,
    const struct output_stream_request *request)
{
	struct output_stream *stream = xcalloc(1, sizeof(*stream));

	stream->service = service;
	stream->call = call;
	/* The call's, and ours: others may end it once it is in the list. */
	atomic_init(&stream->references, 2);
	pthread_mutex_init(&stream->lock, NULL);
	stream->standard_error = request->standard_error;
	stream->offset = (uint64_t)request->offset;
	stream->left =
	    request->limit > 0 ? (uint64_t)request->limit : UINT64_MAX;
	stream->rest_task.run = rest_run;
	/* Until it is in the list nobody is to end it. */
	stream->pumping = true;
	return stream;
}

void
output_stream_read(struct execution_service *service, struct rpc_call *call,
    const struct output_stream_request *request)
{
	struct output_stream *stream;
	struct operation *operation;
	struct error err;

	execution_service_meet(service, call);
	operation = find_operation(service, request, &err);
	if (operation == NULL) {
		rpc_call_finish(call, &err);
		return;
	}
	stream = output_stream_new(service, call, request);
	stream->operation = operation;
	rpc_call_on_cancel(call, output_stream_cancelled, stream);
	if (output_stream_enlist(stream, &err) < 0) {
		rpc_call_finish(call, &err);
		output_stream_unref(stream); /* the call's */
		output_stream_unref(stream);
		return;
	}
	pthread_mutex_lock(&stream->lock);
	stream->pumping = false;
	pthread_mutex_unlock(&stream->lock);
	output_stream_pump(stream);
	output_stream_unref(stream);
}
