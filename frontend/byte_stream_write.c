/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ByteStream.Write. A small blob is taken in on the poller; one that its first
 * message brings whole is stored from where gRPC put it. A large one is a
 * pipeline: the poller receives, a pool thread hashes and writes what came in,
 * and between them stand at most UPLOAD_QUEUE_MAX bytes, taken from the memory
 * budget when the upload starts.
 *
 * Who may touch the call: the thread that turned `receiving` on, until it has
 * asked for the next message, and after that whoever drains, while `receiving`
 * is off. So the call is only ended with no receive outstanding: an error found
 * while one is, is sent when the next message or the end arrives.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/budget.h"
#include "base/container.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/owners.h"
#include "cas/store.h"
#include "frontend/byte_stream.h"
#include "frontend/request_metadata.h"
#include "frontend/resource_name.h"
#include "frontend/rpc_metrics.h"
#include "frontend/unary_call.h"
#include "frontend/upload_table.h"
#include "frontend/write_request.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define UPLOAD_QUEUE_MAX (2u << 20)
/* Advice to a client that goes on before its last call has ended here. */
#define RESUME_RETRY_MS 200
/* As many parts as a message of 1 MiB has, and some. */
#define WRITE_PARTS_FEW 64

/* A message between the poller and the pool. */
struct piece {
	struct rpc_message *message; /* NULL: the client sends no more */
	STAILQ_ENTRY(piece) link;
};

/* How an upload ends. */
enum outcome {
	OUTCOME_NONE,
	OUTCOME_DONE,      /* answer with committed */
	OUTCOME_FAILED,    /* answer with err */
	OUTCOME_COMMITTING /* the store will call back */
};

/* In the call's arena. */
struct write {
	struct task task; /* first */
	struct rpc_call *call;
	struct storage *storage;
	struct resource_name name; /* points into the call's arena */
	struct str name_text;
	struct upload *upload;      /* NULL: another call has this name */
	uint16_t owner;             /* of what is written, by the instance */
	struct blob_writer *writer; /* NULL before the first and at the end */
	uint64_t budget;
	uint64_t expected_offset; /* write_offset of the next message */
	bool started;
	bool pooled;          /* pieces are taken in on the pool */
	bool plain_committed; /* this client wants uncompressed counts */
	/* Set by whoever drains, read when the call is ended. */
	enum outcome outcome;
	int64_t committed;
	struct error err;
	/* Of a blob that came whole, until it is stored. */
	struct rpc_message *whole; /* NULL: it did not */
	char *flat;                /* where its data is then, or NULL */
	struct store_put put;
	struct store_batch batch;
	/* Guards queue, queued, receiving, draining and over. */
	pthread_mutex_t lock;
	STAILQ_HEAD(, piece) queue;
	uint64_t queued; /* bytes in it */
	bool receiving;  /* a receive is outstanding, or about to be */
	bool draining;   /* somebody is taking pieces in */
	bool over;       /* the client has finished, or there is an outcome */
};

static void write_received(
    struct rpc_call *call, struct rpc_message *message, void *cookie);

/* --- ending ----------------------------------------------------------------
 */

/* With no receive outstanding; the call is gone afterwards. */
static void
write_finish(struct write *write)
{
	uint8_t field[2 * WIRE_VARINT_MAX];
	struct rpc_message *reply;

	if (write->upload != NULL)
		upload_table_end(
		    write->storage->uploads, write->upload, write->writer);
	else
		blob_writer_free(write->writer);
	write->writer = NULL;
	rpc_message_free(write->whole);
	free(write->flat);
	budget_give(write->storage->upload_memory, write->budget);
	/* The lock is not destroyed: a poller may just be leaving it. */
	if (write->outcome == OUTCOME_FAILED) {
		rpc_call_finish(write->call, &write->err);
		return;
	}
	reply = rpc_message_new();
	rpc_message_add(reply, field,
	    wire_put_varint_field(field, 1, (uint64_t)write->committed));
	rpc_call_reply(write->call, reply);
}

static void
write_fail(struct write *write)
{
	write->outcome = OUTCOME_FAILED;
	/* Only what the client's side cut off is kept for going on: bad data
	 * is of no use, and on a full disk the room is. */
	blob_writer_free(write->writer);
	write->writer = NULL;
}

static void
write_done(struct write *write, int64_t committed)
{
	write->outcome = OUTCOME_DONE;
	write->committed = committed;
}

/* What an upload answers when the blob is there already. */
static int64_t
write_existing_size(const struct write *write)
{
	if (write->name.encoding == ENCODING_ZSTD && !write->plain_committed)
		return -1;
	return (int64_t)write->name.digest.size;
}

static void
write_finish_task(struct task *task)
{
	write_finish((struct write *)task);
}

/* blob_writer_commit's callback: durable, or not. */
static void
write_committed(void *cookie, const struct error *err)
{
	struct write *write = cookie;
	atomic_size_t *committing = &write->storage->committing;

	if (err != NULL) {
		write->err = *err;
		write->outcome = OUTCOME_FAILED;
	} else if (write->name.encoding == ENCODING_ZSTD &&
		   !write->plain_committed) {
		/* Where this call began, and the bytes that it brought. */
		write_done(write, (int64_t)write->expected_offset);
	} else {
		write_done(write, (int64_t)write->name.digest.size);
	}
	/* One alone is answered here and now. While others wait for the disk,
	 * the thread that works on it is not held up. */
	if (atomic_fetch_sub(committing, 1) == 1) {
		write_finish(write);
		return;
	}
	write->task.run = write_finish_task;
	rpc_call_submit_to_poller(write->call, &write->task);
}

/* store_batch.done */
static void
write_stored(struct store_batch *batch)
{
	struct write *write = CONTAINER_OF(batch, struct write, batch);
	struct error *error = write->put.error;

	write_committed(write, error);
	free(error);
}

/* --- starting --------------------------------------------------------------
 */

/* These clients take only the uncompressed size for an answer. */
static bool
wants_plain_committed(const struct rpc_call *call)
{
	struct request_metadata metadata;
	struct str tool;

	request_metadata_read(call, &metadata);
	tool = request_metadata_tool(&metadata);
	return str_starts_with(tool, STR("siso")) ||
	       str_starts_with(tool, STR("re-client")) ||
	       str_starts_with(tool, STR("remote-apis-sdks"));
}

static int
write_parse_name(struct write *write, struct str text, struct error *err)
{
	char *copy = arena_copy(rpc_call_arena(write->call), text);

	if (copy == NULL)
		return unary_call_out_of_memory(err);
	write->name_text = (struct str){copy, text.len};
	if (resource_name_parse_upload(write->name_text, &write->name, err) < 0)
		return -1;
	if (write->name.encoding == ENCODING_ZSTD)
		rpc_call_set_note(write->call, RPC_NOTE_ZSTD);
	if (storage_check_instance(write->storage, write->name.instance, err) <
	    0)
		return -1;
	if (!storage_function_enabled(
		write->storage, write->name.digest.function))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest function %s is not enabled on this server",
		    digest_function_name(write->name.digest.function));
	if (write->storage->max_blob_size > 0 &&
	    write->name.digest.size > write->storage->max_blob_size)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a blob of %llu bytes is larger than the %llu that this "
		    "server accepts (max_cas_blob_size_bytes)",
		    (unsigned long long)write->name.digest.size,
		    (unsigned long long)write->storage->max_blob_size);
	return 0;
}

static int
write_take_budget(struct write *write, struct error *err)
{
	/* What may block leaves the poller. */
	write->pooled = !store_owner_known(
	    write->storage->store, write->name.instance, &write->owner);
	if (write->name.digest.size <= STORAGE_INLINE_WORK_MAX)
		return 0;
	if (!budget_take(write->storage->upload_memory, UPLOAD_QUEUE_MAX))
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, 200,
		    "%zu uploads are running and the memory budget of %llu "
		    "bytes is used up; try again, or raise --memory",
		    upload_table_running(write->storage->uploads),
		    (unsigned long long)write->storage->upload_memory->limit);
	write->budget = UPLOAD_QUEUE_MAX;
	write->pooled = true;
	return 0;
}

/* The first message, on the poller: who writes what. 1 when the blob is there
 * already. */
static int
write_start(
    struct write *write, const struct write_request *request, struct error *err)
{
	bool missing;

	if (request->resource_name.len == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the first WriteRequest has no resource_name");
	if (write_parse_name(write, request->resource_name, err) < 0)
		return -1;
	if (request->write_offset < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "write_offset %lld is negative",
		    (long long)request->write_offset);
	write->plain_committed = wants_plain_committed(write->call);
	if (store_find_missing(write->storage->store, &write->name.digest, 1,
		&missing, err) < 0)
		return -1;
	if (!missing)
		return 1;
	if (write_take_budget(write, err) < 0)
		return -1;
	write->expected_offset = (uint64_t)request->write_offset;
	write->started = true;
	return 0;
}

/* Claims the name, and what is here of the upload up to the offset. */
static int
write_claim(struct write *write, uint64_t offset, struct error *err)
{
	struct upload_table *uploads = write->storage->uploads;
	uint64_t held;

	write->upload =
	    upload_table_begin(uploads, write->name_text, &write->writer);
	if (offset == 0) {
		/* A client that starts anew does not continue what it left. */
		blob_writer_free(write->writer);
		write->writer = NULL;
		return 0;
	}
	if (write->upload == NULL)
		return error_set_retry(err, ERROR_UNAVAILABLE, RESUME_RETRY_MS,
		    "cannot go on at write_offset %llu yet: another Write "
		    "with this resource_name has not ended; try again, or "
		    "begin anew at offset 0",
		    (unsigned long long)offset);
	held = write->writer != NULL ? blob_writer_position(write->writer) : 0;
	if (offset <= held)
		return 0;
	/* Stays for a client that asks where to go on. */
	upload_table_end(uploads, write->upload, write->writer);
	write->upload = NULL;
	write->writer = NULL;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "write_offset %llu is beyond the %llu bytes that are here of this "
	    "upload; QueryWriteStatus tells where to go on",
	    (unsigned long long)offset, (unsigned long long)held);
}

/* Finds or makes the writer; may block for a large blob. */
static int
write_open(struct write *write, struct error *err)
{
	uint64_t offset = write->expected_offset;

	if (write_claim(write, offset, err) < 0)
		return -1;
	if (write->writer != NULL)
		return blob_writer_resume(write->writer, offset, err);
	if (store_owner(write->storage->store, write->name.instance,
		&write->owner, err) < 0)
		return -1;
	write->writer = blob_writer_new(write->storage->store,
	    &write->name.digest, write->name.encoding, write->owner, err);
	return write->writer != NULL ? 0 : -1;
}

/* --- taking pieces in ------------------------------------------------------
 */

static int
write_append(struct write *write, const struct iovec *parts, size_t count,
    const struct write_request *request)
{
	struct iovec few[WRITE_PARTS_FEW];
	struct iovec *data = few;
	size_t used;
	int rc;

	if (count > WRITE_PARTS_FEW)
		data = xcalloc(count, sizeof(*data));
	used = write_request_data(request, parts, count, data);
	rc = blob_writer_append_parts(write->writer, data, used, &write->err);
	if (data != few)
		free(data);
	return rc;
}

static int
write_check(struct write *write, const struct write_request *request)
{
	if (request->resource_name.len > 0 &&
	    !str_equal(request->resource_name, write->name_text))
		return error_set(&write->err, ERROR_INVALID_ARGUMENT,
		    "resource_name changed within the stream");
	if ((uint64_t)request->write_offset != write->expected_offset)
		return error_set(&write->err, ERROR_INVALID_ARGUMENT,
		    "write_offset is %lld where %llu was to come",
		    (long long)request->write_offset,
		    (unsigned long long)write->expected_offset);
	return 0;
}

/* One message. Sets the outcome when it is the last or a bad one. */
static void
write_take(struct write *write, struct rpc_message *message)
{
	struct write_request request;
	const struct iovec *parts;
	size_t count;
	int rc;

	parts = rpc_message_parts(message, &count);
	if (write_request_parse(parts, count, &request, &write->err) < 0) {
		write_fail(write);
		return;
	}
	rc = write_check(write, &request);
	if (rc == 0 && write->writer == NULL)
		rc = write_open(write, &write->err);
	if (rc == 0)
		rc = write_append(write, parts, count, &request);
	free(request.flat);
	if (rc < 0) {
		write_fail(write);
		return;
	}
	write->expected_offset += request.data_len;
	if (write->upload != NULL)
		upload_progress(
		    write->upload, blob_writer_position(write->writer));
	if (request.finish_write)
		write->outcome = OUTCOME_COMMITTING;
}

/* The client closed its side without finish_write, or went away. */
static void
write_cut_off(struct write *write)
{
	if (rpc_call_cancelled(write->call)) {
		error_set(&write->err, ERROR_CANCELLED,
		    "the client ended the upload");
		write->outcome = OUTCOME_FAILED;
	} else {
		/* Where the next call is to go on. */
		write_done(
		    write, write->writer != NULL
			       ? (int64_t)blob_writer_position(write->writer)
			       : (int64_t)write->expected_offset);
	}
}

/* Commits or answers. No receive is outstanding. */
static void
write_conclude(struct write *write)
{
	struct blob_writer *writer = write->writer;

	if (write->outcome != OUTCOME_COMMITTING) {
		write_finish(write);
		return;
	}
	write->writer = NULL;
	atomic_fetch_add(&write->storage->committing, 1);
	if (write->whole != NULL)
		store_put_batch(write->storage->store, &write->batch);
	else
		blob_writer_commit(writer, write_committed, write);
}

static struct piece *
write_next_piece(struct write *write)
{
	struct piece *piece;

	pthread_mutex_lock(&write->lock);
	piece = STAILQ_FIRST(&write->queue);
	if (piece != NULL) {
		STAILQ_REMOVE_HEAD(&write->queue, link);
		if (piece->message != NULL)
			write->queued -= rpc_message_size(piece->message);
	} else {
		write->draining = false;
	}
	pthread_mutex_unlock(&write->lock);
	return piece;
}

static void
piece_free(struct piece *piece)
{
	rpc_message_free(piece->message);
	free(piece);
}

/* What the thread that drains does after a piece. */
enum drain { DRAIN_MORE, DRAIN_CONCLUDE, DRAIN_LEAVE };

/* After a piece: asks for more when there is room. DRAIN_LEAVE: a poller
 * concludes, perhaps already; nothing of the call may be looked at any more. */
static enum drain
write_after_piece(struct write *write)
{
	enum drain next = DRAIN_MORE;
	bool receive = false;

	pthread_mutex_lock(&write->lock);
	if (write->outcome != OUTCOME_NONE) {
		write->over = true;
		next = write->receiving ? DRAIN_LEAVE : DRAIN_CONCLUDE;
	} else if (!write->receiving && !write->over &&
		   write->queued < UPLOAD_QUEUE_MAX / 2) {
		write->receiving = true;
		receive = true;
	}
	pthread_mutex_unlock(&write->lock);
	if (receive)
		rpc_call_receive(write->call, write_received, write);
	return next;
}

static void
write_drop_queue(struct write *write)
{
	struct piece *piece;

	while ((piece = STAILQ_FIRST(&write->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&write->queue, link);
		piece_free(piece);
	}
}

/* On the pool, one thread at a time (draining). */
static void
write_drain(struct task *task)
{
	struct write *write = (struct write *)task;
	enum drain next = DRAIN_MORE;
	struct piece *piece;

	while (
	    next == DRAIN_MORE && (piece = write_next_piece(write)) != NULL) {
		if (piece->message != NULL)
			write_take(write, piece->message);
		else
			write_cut_off(write);
		piece_free(piece);
		/* When it is left, draining stays on: nobody else starts. */
		next = write_after_piece(write);
	}
	if (next == DRAIN_CONCLUDE) {
		write_drop_queue(write);
		write_conclude(write);
	}
}

/* Does the message end the client's side? Malformed ones are found later. */
static bool
is_last(struct rpc_message *message)
{
	struct write_request request;
	struct error ignored;
	size_t count;
	const struct iovec *parts = rpc_message_parts(message, &count);
	bool last;

	if (write_request_parse(parts, count, &request, &ignored) < 0)
		return true;
	last = request.finish_write;
	free(request.flat);
	return last;
}

/* A message for the pool. */
static void
write_queue(struct write *write, struct rpc_message *message)
{
	bool last = message == NULL || is_last(message);
	struct piece *piece = xcalloc(1, sizeof(*piece));
	bool conclude;
	bool start = false;
	bool more = false;

	piece->message = message;
	pthread_mutex_lock(&write->lock);
	write->receiving = false;
	conclude = write->over;
	if (!conclude) {
		STAILQ_INSERT_TAIL(&write->queue, piece, link);
		write->queued +=
		    message != NULL ? rpc_message_size(message) : 0;
		write->over = last;
		start = !write->draining;
		write->draining = true;
		more = !last && write->queued < UPLOAD_QUEUE_MAX;
		write->receiving = more;
	}
	pthread_mutex_unlock(&write->lock);
	if (conclude) {
		piece_free(piece);
		write_drop_queue(write);
		write_conclude(write);
		return;
	}
	if (start)
		rpc_call_submit(write->call, &write->task);
	if (more)
		rpc_call_receive(write->call, write_received, write);
}

/* Is it all of a small blob, of which nothing came before? */
static bool
is_whole(const struct write *write, const struct rpc_message *message,
    const struct write_request *request)
{
	return request->finish_write && request->write_offset == 0 &&
	       rpc_message_size(message) <= STORAGE_INLINE_WORK_MAX &&
	       !write->pooled &&
	       !upload_table_has_interrupted(write->storage->uploads);
}

/* Takes the message and request->flat, if there is memory for it. */
static void
write_whole(struct write *write, struct rpc_message *message,
    struct write_request *request)
{
	size_t count;
	const struct iovec *parts = rpc_message_parts(message, &count);
	struct iovec *data = arena_alloc(
	    rpc_call_arena(write->call), (count + 1) * sizeof(*data));

	if (data == NULL) {
		unary_call_out_of_memory(&write->err);
		write_fail(write);
		return;
	}
	write->put = (struct store_put){.digest = write->name.digest,
	    .encoding = write->name.encoding,
	    .parts = data,
	    .part_count = write_request_data(request, parts, count, data)};
	write->batch = (struct store_batch){.puts = &write->put,
	    .count = 1,
	    .owner = write->owner,
	    .absent = true,
	    .done = write_stored};
	write->whole = message;
	write->flat = request->flat;
	request->flat = NULL;
	write->expected_offset = request->data_len;
	write->outcome = OUTCOME_COMMITTING;
}

/* The first message. True when the call has an outcome, and the message was
 * taken or freed. */
static bool
write_first(struct write *write, struct rpc_message *message)
{
	struct write_request request;
	size_t count;
	const struct iovec *parts = rpc_message_parts(message, &count);
	int rc;

	if (write_request_parse(parts, count, &request, &write->err) < 0) {
		write_fail(write);
		rpc_message_free(message);
		return true;
	}
	rc = write_start(write, &request, &write->err);
	if (rc < 0)
		write_fail(write);
	else if (rc > 0)
		write_done(write, write_existing_size(write));
	else if (is_whole(write, message, &request))
		write_whole(write, message, &request);
	free(request.flat);
	if (write->outcome == OUTCOME_NONE)
		return false;
	if (write->whole == NULL)
		rpc_message_free(message);
	return true;
}

/* On a poller: the next message, or the end of the client's side. */
static void
write_received(struct rpc_call *call, struct rpc_message *message, void *cookie)
{
	struct write *write = cookie;

	if (!write->started && message != NULL && write_first(write, message)) {
		write_conclude(write);
		return;
	}
	if (!write->started && message == NULL) {
		error_set(&write->err, ERROR_INVALID_ARGUMENT,
		    "the upload ended before its first WriteRequest");
		write_fail(write);
		write_conclude(write);
		return;
	}
	if (write->pooled) {
		write_queue(write, message);
		return;
	}
	if (message != NULL)
		write_take(write, message);
	else
		write_cut_off(write);
	rpc_message_free(message);
	if (write->outcome != OUTCOME_NONE)
		write_conclude(write);
	else
		rpc_call_receive(call, write_received, write);
}

void
byte_stream_write(struct rpc_call *call, void *storage)
{
	struct write *write = rpc_call_new_state(call, sizeof(*write));

	write->task.run = write_drain;
	write->call = call;
	write->storage = storage;
	STAILQ_INIT(&write->queue);
	pthread_mutex_init(&write->lock, NULL);
	rpc_call_receive(call, write_received, write);
}
