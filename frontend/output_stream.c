/* SPDX-License-Identifier: Apache-2.0 */
/* One object a read, with a pump (rpc/call_pump.h) that asks and sends. */
#include "frontend/output_stream.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/container.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "frontend/execution_internal.h"
#include "frontend/server_message.h"
#include "protos/arena_allocator.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/call_pump.h"
#include "rpc/message.h"

/* Of one ask. */
#define PIECE_MAX (128u << 10)
/* A worker's response, unpacked. */
#define RESPONSE_ARENA (64u << 20)
/* ReadResponse */
enum { DATA = 10 };

struct output_stream {
	/* First. References: those of threads and of the task. */
	struct call_pump pump;
	struct execution_service *service;
	struct operation *operation; /* a reference */
	bool standard_error;
	LIST_ENTRY(output_stream) link; /* the service's lock */
	struct task rest_task;
	struct blob_stream *rest; /* the task's, while it runs */

	/* Of the last piece that was asked for; a new one each time, so that
	 * no answer is taken for another. The pump's. */
	_Atomic uint64_t read_id;

	/* The pump's lock guards what follows. */
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
};

static struct output_stream *
output_stream_of(struct call_pump *pump)
{
	return (struct output_stream *)(void *)pump;
}

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
output_stream_free(struct call_pump *pump)
{
	struct output_stream *stream = output_stream_of(pump);

	worker_session_unref(stream->session);
	operation_unref(stream->operation);
	blob_stream_free(stream->rest);
	free(stream->piece);
	free(stream);
}

/* --- what sets flags -------------------------------------------------------
 */

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
		call_pump_ref(&stream->pump);
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
has_asked(const struct output_stream *stream, const void *read_id)
{
	return atomic_load(&stream->read_id) == *(const uint64_t *)read_id;
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
		call_pump_run(&list[i]->pump);
		call_pump_unref(&list[i]->pump);
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
		pthread_mutex_lock(&list[i]->pump.lock);
		output_stream_finish(list[i], &err);
		pthread_mutex_unlock(&list[i]->pump.lock);
		call_pump_run(&list[i]->pump);
		call_pump_unref(&list[i]->pump);
	}
	free(list);
}

/* Only from the worker that was asked, and never more than was asked for. */
static void
output_stream_take(struct output_stream *stream,
    const struct worker_session *session, uint64_t read_id, struct str data)
{
	size_t len = data.len < PIECE_MAX ? data.len : PIECE_MAX;

	pthread_mutex_lock(&stream->pump.lock);
	if (stream->asked && stream->session == session &&
	    atomic_load(&stream->read_id) == read_id) {
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
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_run(&stream->pump);
}

void
output_streams_take(struct execution_service *service,
    const struct worker_session *session, uint64_t read_id, struct str data)
{
	size_t count;
	struct output_stream **list =
	    output_streams_list(service, has_asked, &read_id, &count);

	/* None: the reader has gone meanwhile, or asked anew. */
	for (size_t i = 0; i < count; i++) {
		output_stream_take(list[i], session, read_id, data);
		call_pump_unref(&list[i]->pump);
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

/* Of an output of so many bytes. 1: there are some from the offset on. */
static int
check_offset(
    const struct output_stream *stream, uint64_t size, struct error *err)
{
	if (stream->offset > size)
		return error_set(err, ERROR_OUT_OF_RANGE,
		    "read_offset %llu is beyond the output's %llu bytes",
		    (unsigned long long)stream->offset,
		    (unsigned long long)size);
	return stream->offset < size;
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
	int more;
	int found;

	if (digest_from_message(stream->operation->action_digest.function,
		message, &digest, err) < 0)
		return -1;
	more = check_offset(stream, digest.size, err);
	if (more <= 0)
		return more;
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

/* The whole output lies in the response itself. */
static int
copy_rest(const struct output_stream *stream, const ProtobufCBinaryData *raw,
    struct str *piece, struct error *err)
{
	int more = check_offset(stream, raw->len, err);

	if (more > 0) {
		piece->len = raw->len - (size_t)stream->offset;
		piece->data =
		    xstrndup((char *)raw->data + stream->offset, piece->len);
	}
	return more < 0 ? -1 : 0;
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
		rc = digest != NULL ? open_rest(stream, digest, err)
				    : copy_rest(stream, &raw, piece, err);
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
	    CONTAINER_OF(task, struct output_stream, rest_task);
	struct str piece;
	struct error err;
	int rc = next_of_rest(stream, &piece, &err);

	pthread_mutex_lock(&stream->pump.lock);
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
	pthread_mutex_unlock(&stream->pump.lock);
	call_pump_run(&stream->pump);
	call_pump_unref(&stream->pump);
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
	static atomic_uint_least64_t last_read_id;
	const struct call_pump *pump = &stream->pump;
	bool told =
	    lease->number == atomic_load(&stream->operation->told_lease);

	if (stream->resting)
		return OUTPUT_STEP_NONE;
	if (!pump->cancelled && stream->piece != NULL)
		return pump->sending ? OUTPUT_STEP_NONE : OUTPUT_STEP_SEND;
	if (stream->left == 0)
		output_stream_finish(stream, NULL);
	if (lease->number != stream->lease_number && !pump->sending &&
	    !stream->finished)
		output_stream_change_lease(stream, lease);
	if (pump->cancelled || stream->finished)
		return OUTPUT_STEP_END;
	if (pump->sending)
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
	atomic_store(&stream->read_id, atomic_fetch_add(&last_read_id, 1) + 1);
	worker_session_unref(stream->session);
	stream->session = lease->session;
	lease->session = NULL;
	memcpy(stream->lease_id, lease->id, sizeof(stream->lease_id));
	return OUTPUT_STEP_ASK;
}

static void
output_stream_ask(struct output_stream *stream, uint32_t limit)
{
	const struct server_message_read read = {
	    .id = atomic_load(&stream->read_id),
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

	pthread_mutex_lock(&stream->pump.lock);
	piece = stream->piece;
	len = stream->piece_len;
	stream->piece = NULL;
	stream->offset += len;
	if (stream->left != UINT64_MAX)
		stream->left -= len;
	pthread_mutex_unlock(&stream->pump.lock);
	rpc_message_add(
	    message, header, wire_put_bytes_header(header, DATA, len));
	rpc_message_add_take(message, piece, len);
	call_pump_send(&stream->pump, message);
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
	pthread_mutex_lock(&stream->pump.lock);
	if (stream->finished)
		err = stream->end;
	asked = stream->asked;
	pthread_mutex_unlock(&stream->pump.lock);
	if (asked)
		output_stream_ask(stream, 0);
	call_pump_finish(&stream->pump, err.code != ERROR_OK ? &err : NULL);
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
		call_pump_ref(&stream->pump);
		rpc_call_submit(stream->pump.call, &stream->rest_task);
		break;
	case OUTPUT_STEP_END:
		output_stream_end(stream);
		break;
	case OUTPUT_STEP_NONE:
		break;
	}
}

static bool
output_stream_step(struct call_pump *pump)
{
	struct output_stream *stream = output_stream_of(pump);
	struct operation_lease lease;
	enum output_step step;

	scheduler_operation_lease(
	    stream->service->scheduler, stream->operation, &lease);
	pthread_mutex_lock(&pump->lock);
	step = output_stream_next(stream, &lease);
	pthread_mutex_unlock(&pump->lock);
	worker_session_unref(lease.session);
	output_stream_act(stream, step);
	return step != OUTPUT_STEP_NONE;
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
	struct execution_service *service = stream->service;
	bool stopping;
	bool room;

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
	static const struct call_pump_type type = {
	    output_stream_step, output_stream_free};
	struct output_stream *stream = xcalloc(1, sizeof(*stream));

	stream->service = service;
	stream->standard_error = request->standard_error;
	stream->offset = (uint64_t)request->offset;
	stream->left =
	    request->limit > 0 ? (uint64_t)request->limit : UINT64_MAX;
	stream->rest_task.run = rest_run;
	call_pump_init(&stream->pump, &type, call);
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
	if (output_stream_enlist(stream, &err) < 0)
		call_pump_finish(&stream->pump, &err);
	else
		call_pump_start(&stream->pump);
}
