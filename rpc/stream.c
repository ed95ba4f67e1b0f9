/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of a client. The completion queue is the stream's own; the sender,
 * the receiver and whoever waits for the end each wait ("pluck") for a tag of
 * their own. The batch with the tag `ended` runs from the beginning and is
 * waited for once, by the receiver or by rpc_stream_free.
 */
#include <grpc/byte_buffer.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "rpc/channel_core.h"
#include "rpc/message.h"

struct rpc_stream {
	grpc_completion_queue *queue;
	grpc_call *call;
	/* Only their addresses matter. */
	char sent;
	char received;
	char ended;
	bool has_ended; /* `ended` was waited for; the receiver's */
	bool silent;    /* cancelled for it; the receiver's */
	int64_t silence_ms;
	grpc_metadata_array initial;
	struct rpc_client_status status;
};

static bool
stream_wait(struct rpc_stream *stream, void *tag)
{
	return grpc_completion_queue_pluck(stream->queue, tag,
		   gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
		   .success != 0;
}

/* The same for what the server has to send. */
static bool
stream_wait_message(struct rpc_stream *stream)
{
	grpc_event event;

	if (stream->silence_ms == 0)
		return stream_wait(stream, &stream->received);
	event = grpc_completion_queue_pluck(stream->queue, &stream->received,
	    rpc_core_time(clock_monotonic_ms() + stream->silence_ms), NULL);
	if (event.type != GRPC_QUEUE_TIMEOUT)
		return event.success != 0;
	stream->silent = true;
	grpc_call_cancel(stream->call, NULL);
	return stream_wait(stream, &stream->received);
}

static void
stream_wait_end(struct rpc_stream *stream)
{
	if (stream->has_ended)
		return;
	stream_wait(stream, &stream->ended);
	stream->has_ended = true;
}

static void
stream_start(
    struct rpc_stream *stream, const struct rpc_client_metadata *metadata)
{
	grpc_op ops[3] = {
	    {.op = GRPC_OP_SEND_INITIAL_METADATA},
	    {.op = GRPC_OP_RECV_INITIAL_METADATA},
	};

	ops[0].data.send_initial_metadata.count = metadata->count;
	ops[0].data.send_initial_metadata.metadata = metadata->entries;
	ops[1].data.recv_initial_metadata.recv_initial_metadata =
	    &stream->initial;
	ops[2] = rpc_client_status_op(&stream->status);
	rpc_core_start(stream->call, ops, 3, &stream->ended);
}

struct rpc_stream *
rpc_stream_open(struct rpc_channel *channel, const char *path,
    const struct rpc_call_options *options, struct error *err)
{
	struct rpc_client_metadata metadata;
	struct rpc_stream *stream;
	int64_t deadline_ms = options->timeout_ms > 0
				  ? clock_monotonic_ms() + options->timeout_ms
				  : CLOCK_NEVER;
	grpc_slice method;

	if (rpc_client_metadata_init(&metadata, options, err) < 0)
		return NULL;
	method = grpc_slice_from_copied_string(path);
	stream = xcalloc(1, sizeof(*stream));
	stream->silence_ms = options->silence_ms;
	grpc_metadata_array_init(&stream->initial);
	rpc_client_status_init(&stream->status);
	stream->queue = grpc_completion_queue_create_for_pluck(NULL);
	stream->call = grpc_channel_create_call(channel->core, NULL, 0,
	    stream->queue, method, NULL, rpc_core_time(deadline_ms), NULL);
	grpc_slice_unref(method);
	stream_start(stream, &metadata);
	rpc_client_metadata_clear(&metadata);
	return stream;
}

static int
stream_send_op(struct rpc_stream *stream, const grpc_op *op, struct error *err)
{
	rpc_core_start(stream->call, op, 1, &stream->sent);
	if (stream_wait(stream, &stream->sent))
		return 0;
	return error_set(err, ERROR_UNAVAILABLE,
	    "the stream has ended; the receiving side knows why");
}

int
rpc_stream_send(
    struct rpc_stream *stream, struct rpc_message *message, struct error *err)
{
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
	int rc;

	op.data.send_message.send_message = rpc_message_buffer(message);
	rpc_core_count_sent(rpc_message_size(message));
	rc = stream_send_op(stream, &op, err);
	rpc_message_free(message);
	return rc;
}

int
rpc_stream_half_close(struct rpc_stream *stream, struct error *err)
{
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

	return stream_send_op(stream, &op, err);
}

int
rpc_stream_receive(
    struct rpc_stream *stream, struct rpc_message **message, struct error *err)
{
	grpc_byte_buffer *received = NULL;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
	bool ok;

	*message = NULL;
	op.data.recv_message.recv_message = &received;
	rpc_core_start(stream->call, &op, 1, &stream->received);
	ok = stream_wait_message(stream);
	if (ok && received != NULL) {
		*message = rpc_message_from_buffer(received);
		return 1;
	}
	if (received != NULL)
		grpc_byte_buffer_destroy(received);
	stream_wait_end(stream);
	if (stream->silent)
		return error_set(err, ERROR_DEADLINE_EXCEEDED,
		    "the server was silent for %lld s",
		    (long long)stream->silence_ms / 1000);
	return rpc_client_status_error(&stream->status, err);
}

void
rpc_stream_cancel(struct rpc_stream *stream)
{
	grpc_call_cancel(stream->call, NULL);
}

void
rpc_stream_free(struct rpc_stream *stream)
{
	if (stream == NULL)
		return;
	if (!stream->has_ended) {
		grpc_call_cancel(stream->call, NULL);
		stream_wait_end(stream);
	}
	grpc_call_unref(stream->call);
	grpc_metadata_array_destroy(&stream->initial);
	rpc_client_status_clear(&stream->status);
	grpc_completion_queue_shutdown(stream->queue);
	grpc_completion_queue_destroy(stream->queue);
	free(stream);
}
