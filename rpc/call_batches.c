/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a call: it arrives, receives, sends, is cancelled and ends,
 * each a batch of gRPC's and the tag that comes back. Events run on pollers,
 * the owner's functions on any one thread at a time.
 */
#include <google/rpc/status.pb-c.h>

#include "base/budget.h"
#include "base/container.h"
#include "base/error.h"
#include "rpc/message.h"
#include "rpc/server_core.h"
#include "rpc/status.h"

#define CALL_OF(tag, field) CONTAINER_OF(tag, struct rpc_call, field)

/* --- operations ------------------------------------------------------------
 */

static void
call_add_metadata_op(struct rpc_call *call, grpc_op *ops, size_t *count)
{
	if (call->metadata_sent)
		return;
	call->metadata_sent = true;
	ops[(*count)++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
}

static void
call_add_message_op(struct rpc_message *message, grpc_op *ops, size_t *count)
{
	ops[*count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
	ops[(*count)++].data.send_message.send_message =
	    rpc_message_buffer(message);
}

static void
call_add_close_op(struct rpc_call *call, grpc_op *ops, size_t *count)
{
	ops[*count] = (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
	ops[(*count)++].data.recv_close_on_server.cancelled =
	    &call->close_cancelled;
}

/* The peer's turn: to send, or to take what is sent. */
static void
call_waits(struct rpc_call *call)
{
	atomic_store_explicit(
	    &call->waits_since_ns, clock_monotonic_ns(), memory_order_relaxed);
}

static void
call_works(struct rpc_call *call)
{
	atomic_store_explicit(&call->waits_since_ns, 0, memory_order_relaxed);
}

static void
call_start_end(struct rpc_call *call)
{
	grpc_op ops[4];
	size_t count = 0;
	struct rpc_call_end *end = &call->end;
	grpc_op *status;

	call_add_metadata_op(call, ops, &count);
	if (end->message != NULL)
		call_add_message_op(end->message, ops, &count);
	status = &ops[count++];
	*status = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
	status->data.send_status_from_server.status =
	    (grpc_status_code)end->code;
	status->data.send_status_from_server.status_details =
	    end->code != GRPC_STATUS_OK ? &end->text : NULL;
	if (GRPC_SLICE_LENGTH(end->details) > 0) {
		call->end_metadata = (grpc_metadata){
		    .key = grpc_slice_from_static_string(
			"grpc-status-details-bin"),
		    .value = end->details,
		};
		status->data.send_status_from_server.trailing_metadata_count =
		    1;
		status->data.send_status_from_server.trailing_metadata =
		    &call->end_metadata;
	}
	/* A call that ends inside its handler saves a batch. */
	if (!atomic_exchange(&call->close_started, true))
		call_add_close_op(call, ops, &count);
	call_waits(call);
	/* The tag's reference is the owner's, which ends with it. */
	rpc_core_batch(call->core, ops, count, &call->ended);
}

/* Takes what `end` holds. */
static void
call_end(struct rpc_call *call, struct rpc_call_end end)
{
	rpc_call_ref(call);
	call->end = end;
	if (call_gate_close(&call->gate))
		call_start_end(call);
	rpc_call_unref(call);
}

static void
call_on_ended(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, ended);

	call->end_sent = ok;
	rpc_call_unref(call);
}

/* --- arriving --------------------------------------------------------------
 */

/* Known from a receive that failed, or from the close, whichever is first. */
static void
call_cancel(struct rpc_call *call)
{
	struct call_frame frame;

	if (atomic_exchange(&call->cancelled, true) || call->on_cancel == NULL)
		return;
	if (call_gate_enter(&call->gate, &frame)) {
		call->on_cancel(call, call->cancel_cookie);
		call_gate_leave(&call->gate, &frame);
	}
}

static void
call_on_closed(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, closed);

	(void)ok;
	if (call->close_cancelled != 0)
		call_cancel(call);
	rpc_call_unref(call);
}

/* Asks to be told of the call's close, unless the call has ended already. */
static void
call_watch_close(struct rpc_call *call)
{
	grpc_op op;
	size_t count = 0;

	if (atomic_exchange(&call->close_started, true))
		return;
	call_add_close_op(call, &op, &count);
	rpc_call_ref(call);
	rpc_core_batch(call->core, &op, count, &call->closed);
}

static bool
call_has_payload(const struct rpc_call *call)
{
	return call->slot != NULL &&
	       (call->slot->method->shape == RPC_UNARY ||
		   call->slot->method->shape == RPC_SERVER_STREAM);
}

static void
call_refuse_method(struct rpc_call *call)
{
	struct error err;

	error_set(&err, ERROR_UNIMPLEMENTED, "this server has no method %.*s",
	    STR_ARG(rpc_call_path(call)));
	rpc_call_finish(call, &err);
}

/* Starts to receive a message; the tag's function must be set. */
static void
call_start_receive(struct rpc_call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &call->incoming;
	rpc_call_ref(call);
	call_waits(call);
	rpc_core_batch(call->core, &op, 1, &call->received);
}

/* What the receive has brought. */
enum arrival {
	ARRIVAL_MESSAGE,
	ARRIVAL_TOO_LARGE,
	ARRIVAL_CANCELLED, /* or gRPC could not read it; it has ended the call
			    */
	ARRIVAL_HALF_CLOSE,
};

static enum arrival
call_arrival(
    const struct rpc_call *call, bool ok, const struct rpc_message *message)
{
	if (!ok)
		return ARRIVAL_CANCELLED;
	if (message == NULL)
		return grpc_call_failed_before_recv_message(call->core) != 0
			   ? ARRIVAL_CANCELLED
			   : ARRIVAL_HALF_CLOSE;
	return rpc_message_size(message) <=
		       call->server->options.max_receive_bytes
		   ? ARRIVAL_MESSAGE
		   : ARRIVAL_TOO_LARGE;
}

static enum arrival
call_take_received(struct rpc_call *call, bool ok, struct rpc_message **message)
{
	enum arrival arrival;

	*message = rpc_message_from_buffer(call->incoming);
	call->incoming = NULL;
	call_works(call);
	arrival = call_arrival(call, ok, *message);
	if (arrival == ARRIVAL_MESSAGE) {
		call->received_bytes += rpc_message_size(*message);
		return arrival;
	}
	rpc_message_free(*message);
	*message = NULL;
	if (arrival == ARRIVAL_CANCELLED)
		call_cancel(call);
	return arrival;
}

static void
call_set_too_large(const struct rpc_call *call, struct error *err)
{
	error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "%.*s: the message is larger than the %zu bytes that this server "
	    "accepts; send less at a time",
	    STR_ARG(rpc_call_path(call)),
	    call->server->options.max_receive_bytes);
}

/* A message of a stream. */
static void
call_cut_too_large(struct rpc_call *call)
{
	struct error err;
	bool marked;

	call_set_too_large(call, &err);
	pthread_mutex_lock(&call->server->lock);
	marked = rpc_call_mark_cut(call, (int)err.code);
	pthread_mutex_unlock(&call->server->lock);
	if (marked)
		rpc_call_cut(call, err.text);
	call_cancel(call);
}

/* A request that has not come. */
static void
call_refuse_request(struct rpc_call *call, enum arrival arrival)
{
	struct str path = rpc_call_path(call);
	struct error err;

	if (arrival == ARRIVAL_TOO_LARGE)
		call_set_too_large(call, &err);
	else if (arrival == ARRIVAL_CANCELLED)
		error_set(&err, ERROR_CANCELLED,
		    "%.*s: the client went away within its request",
		    STR_ARG(path));
	else
		error_set(&err, ERROR_UNIMPLEMENTED,
		    "%.*s takes one request, and none has come", STR_ARG(path));
	rpc_call_finish(call, &err);
}

/* Is there memory for the request? */
static int
call_admit(struct rpc_call *call, struct error *err)
{
	struct budget *budget = call->server->options.request_memory;
	uint64_t size = rpc_message_size(call->request);

	if (budget == NULL || size <= RPC_SMALL_REQUEST)
		return 0;
	if (!budget_take(budget, size))
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, 1000,
		    "a request of %llu bytes does not fit into what is left "
		    "of the server's memory budget of %llu bytes; try again, "
		    "send smaller requests, or raise --memory",
		    (unsigned long long)size,
		    (unsigned long long)budget->limit);
	call->budgeted = size;
	return 0;
}

/* The request of a call that has one. */
static void
call_on_request(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, received);
	enum arrival arrival = call_take_received(call, ok, &call->request);
	struct error err;

	/* An empty request is a message of length 0; none at all must not run
	 * as a default one. */
	if (arrival != ARRIVAL_MESSAGE)
		call_refuse_request(call, arrival);
	else if (call_admit(call, &err) < 0)
		rpc_call_finish(call, &err);
	else
		call->slot->method->handle(call, call->slot->method->service);
	call_watch_close(call);
	rpc_call_unref(call);
}

static void
call_on_arrived(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, arrived);
	struct rpc_server *server = call->server;

	if (!ok) { /* the server stops; no call has come */
		rpc_call_unref(call);
		return;
	}
	if (!atomic_load(&server->stopping))
		rpc_server_arm(server, call->slot);
	call->started_ns = clock_monotonic_ns();
	/* Of a call that was cancelled gRPC does not tell it any more. */
	call->peer = grpc_call_get_peer(call->core);
	if (call->slot == NULL)
		call->deadline = call->details.deadline;
	rpc_server_add_call(server, call);
	if (call_has_payload(call)) {
		call->received.complete = call_on_request;
		call_start_receive(call);
		return;
	}
	rpc_call_ref(call);
	if (call->slot == NULL)
		call_refuse_method(call);
	else
		call->slot->method->handle(call, call->slot->method->service);
	call_watch_close(call);
	rpc_call_unref(call);
}

/* --- receiving -------------------------------------------------------------
 */

/* Takes the message. */
static void
call_deliver(struct rpc_call *call, struct rpc_message *message)
{
	struct call_frame frame;

	if (call_gate_enter(&call->gate, &frame)) {
		call->on_received(call, message, call->receive_cookie);
		call_gate_leave(&call->gate, &frame);
	} else {
		rpc_message_free(message);
	}
	rpc_call_unref(call);
}

static void
call_on_received(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, received);
	struct rpc_message *message;

	if (call_take_received(call, ok, &message) == ARRIVAL_TOO_LARGE)
		call_cut_too_large(call);
	call_deliver(call, message);
}

void
rpc_call_receive(struct rpc_call *call,
    void (*received)(
	struct rpc_call *call, struct rpc_message *message, void *cookie),
    void *cookie)
{
	call->on_received = received;
	call->receive_cookie = cookie;
	call_start_receive(call);
}

/* --- sending ---------------------------------------------------------------
 */

static void
call_on_sent(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, sent);
	struct call_frame frame;

	call_works(call);
	if (call_gate_enter_sent(&call->gate, &frame)) {
		call->on_sent(call, ok, call->send_cookie);
		call_gate_leave(&call->gate, &frame);
	} else {
		call_start_end(call);
	}
	rpc_call_unref(call);
}

void
rpc_call_send(struct rpc_call *call, struct rpc_message *message,
    void (*sent)(struct rpc_call *call, bool ok, void *cookie), void *cookie)
{
	grpc_op ops[2];
	size_t count = 0;

	call->on_sent = sent;
	call->send_cookie = cookie;
	call->sent_bytes += rpc_message_size(message);
	call_add_metadata_op(call, ops, &count);
	call_add_message_op(message, ops, &count);
	rpc_call_ref(call);
	call_waits(call);
	call_gate_send(&call->gate);
	rpc_core_batch(call->core, ops, count, &call->sent);
	/* gRPC has taken the slices. */
	rpc_message_free(message);
}

/* --- ending ----------------------------------------------------------------
 */

void
rpc_call_reply(struct rpc_call *call, struct rpc_message *message)
{
	call->sent_bytes += rpc_message_size(message);
	call_end(call, (struct rpc_call_end){.message = message});
}

void
rpc_call_reply_packed(struct rpc_call *call, const ProtobufCMessage *message)
{
	rpc_call_reply(call, rpc_message_pack(message));
}

static grpc_slice
call_slice(struct str bytes)
{
	return bytes.data != NULL
		   ? grpc_slice_from_copied_buffer(bytes.data, bytes.len)
		   : grpc_empty_slice();
}

void
rpc_call_finish(struct rpc_call *call, const struct error *err)
{
	struct rpc_call_end end = {.code = GRPC_STATUS_OK};
	GrpcStatus__Status *status;

	if (err != NULL) {
		end.code = (int)err->code;
		end.text = call_slice(rpc_status_text(err->text));
		/* Without memory for the advice the code must do. */
		if (err->retry_delay_ms > 0 &&
		    (status = rpc_status_from_error(&call->arena, err)) != NULL)
			end.details =
			    call_slice(rpc_status_pack(&call->arena, status));
	}
	call_end(call, end);
}

void
rpc_call_finish_status(struct rpc_call *call, const GrpcStatus__Status *status)
{
	struct rpc_call_end end = {.code = status->code};

	if (status->code != GRPC_STATUS_OK) {
		end.text = call_slice(rpc_status_text(status->message));
		end.details = call_slice(rpc_status_pack(&call->arena, status));
	}
	call_end(call, end);
}

void
rpc_call_set_tags(struct rpc_call *call)
{
	call->arrived.complete = call_on_arrived;
	call->received.complete = call_on_received;
	call->sent.complete = call_on_sent;
	call->closed.complete = call_on_closed;
	call->ended.complete = call_on_ended;
}
