/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls on the server: from the armed slot to the last tag. Events run on
 * pollers, the owner's functions on any one thread at a time.
 *
 * `gate` settles races between an ending owner and callbacks. An owner that
 * ends sets CALL_ENDED, then waits for callbacks of other threads; a callback
 * starts only by counting itself while CALL_ENDED is not set. CALL_SENDING is
 * set while a send is under way: the final batch then starts when it is done.
 */
#include "rpc/call.h"

#include <assert.h>
#include <google/rpc/status.pb-c.h>
#include <grpc/support/alloc.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/budget.h"
#include "base/error.h"
#include "base/memory.h"
#include "rpc/message.h"
#include "rpc/poller.h"
#include "rpc/server_core.h"
#include "rpc/status.h"
#include "rpc/tls.h"

#define CALL_ENDED 0x80000000u
#define CALL_SENDING 0x40000000u
#define CALL_CALLBACKS 0x3fffffffu
/* How long a stream that seems half-closed is held back, to see whether it was
 * cancelled in truth. */
#define CALL_SETTLE_MS 20

#define CALL_OF(tag, field) \
	((struct rpc_call *)(void *)((char *)(tag)-offsetof( \
	    struct rpc_call, field)))

/* The callbacks that run on this thread, innermost first. */
struct call_frame {
	const struct rpc_call *call;
	const struct call_frame *outer;
};
static _Thread_local const struct call_frame *call_frames;

static void call_free(struct rpc_call *call);
static void call_deliver(struct rpc_call *call, struct rpc_message *message);

static void
call_ref(struct rpc_call *call)
{
	atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

static void
call_unref(struct rpc_call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) == 1)
		call_free(call);
}

/* --- callbacks and the end -------------------------------------------------
 */

/* Clears the bits and, unless the call has ended, counts a callback. */
static bool
call_enter(struct rpc_call *call, unsigned clear, struct call_frame *frame)
{
	unsigned old = atomic_load(&call->gate);
	unsigned next;

	do {
		next = old & ~clear;
		if ((old & CALL_ENDED) == 0)
			next++;
	} while (!atomic_compare_exchange_weak(&call->gate, &old, next));
	if ((old & CALL_ENDED) != 0)
		return false;
	*frame = (struct call_frame){call, call_frames};
	call_frames = frame;
	return true;
}

static void
call_leave(struct rpc_call *call, const struct call_frame *frame)
{
	call_frames = frame->outer;
	atomic_fetch_sub(&call->gate, 1);
}

/* Callbacks are short by contract: no need to sleep. */
static void
call_wait_for_callbacks(struct rpc_call *call)
{
	unsigned own = 0;

	for (const struct call_frame *f = call_frames; f != NULL; f = f->outer)
		if (f->call == call)
			own++;
	while ((atomic_load(&call->gate) & CALL_CALLBACKS) > own)
		sched_yield();
}

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
	unsigned old;

	call_ref(call);
	call->end = end;
	old = atomic_fetch_or(&call->gate, CALL_ENDED);
	call_wait_for_callbacks(call);
	if ((old & CALL_SENDING) == 0)
		call_start_end(call);
	call_unref(call);
}

static void
call_on_ended(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, ended);

	call->end_sent = ok;
	call_unref(call);
}

/* --- arriving --------------------------------------------------------------
 */

static void
call_on_closed(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, closed);
	struct call_frame frame;

	(void)ok;
	if (call->close_cancelled != 0) {
		atomic_store(&call->cancelled, true);
		if (call->on_cancel != NULL && call_enter(call, 0, &frame)) {
			call->on_cancel(call, call->cancel_cookie);
			call_leave(call, &frame);
		}
		if (rpc_timer_cancel(call->server, &call->settle))
			call_deliver(call, NULL);
	}
	call_unref(call);
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
	call_ref(call);
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
call_refuse(struct rpc_call *call)
{
	struct rpc_server *server = call->server;
	struct str path = rpc_call_path(call);
	struct error err;

	if (call->slot == NULL)
		error_set(&err, ERROR_UNIMPLEMENTED,
		    "this server has no method %.*s", STR_ARG(path));
	else
		error_set(&err, ERROR_RESOURCE_EXHAUSTED,
		    "%.*s: the request is missing, or larger than the %zu "
		    "bytes that this server accepts; send less at a time",
		    STR_ARG(path), server->options.max_receive_bytes);
	rpc_call_finish(call, &err);
}

/* Starts to receive a message; the tag's function must be set. */
static void
call_start_receive(struct rpc_call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &call->incoming;
	call_ref(call);
	call_waits(call);
	rpc_core_batch(call->core, &op, 1, &call->received);
}

static struct rpc_message *
call_take_received(struct rpc_call *call, bool ok)
{
	struct rpc_message *message = rpc_message_from_buffer(call->incoming);

	call_works(call);
	call->incoming = NULL;
	if (message != NULL)
		call->received_bytes += rpc_message_size(message);
	if (ok)
		return message;
	rpc_message_free(message);
	return NULL;
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
	struct error err;

	call->request = call_take_received(call, ok);
	/* A message above the limit arrives as none (an empty one arrives as a
	 * message of length 0): it must not run as a default request. */
	if (call->request == NULL)
		call_refuse(call);
	else if (call_admit(call, &err) < 0)
		rpc_call_finish(call, &err);
	else
		call->slot->method->handle(call, call->slot->method->service);
	call_watch_close(call);
	call_unref(call);
}

static void
call_on_arrived(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, arrived);
	struct rpc_server *server = call->server;

	if (!ok) { /* the server stops; no call has come */
		call_unref(call);
		return;
	}
	if (!atomic_load(&server->stopping))
		rpc_server_arm(server, call->slot);
	call->started_ns = clock_monotonic_ns();
	if (call->slot == NULL)
		call->deadline = call->details.deadline;
	rpc_server_add_call(server, call);
	if (call_has_payload(call)) {
		call->received.complete = call_on_request;
		call_start_receive(call);
		return;
	}
	call_ref(call);
	if (call->slot == NULL)
		call_refuse(call);
	else
		call->slot->method->handle(call, call->slot->method->service);
	call_watch_close(call);
	call_unref(call);
}

/* --- receiving -------------------------------------------------------------
 */

/* Takes the message. */
static void
call_deliver(struct rpc_call *call, struct rpc_message *message)
{
	struct call_frame frame;

	if (call_enter(call, 0, &frame)) {
		call->on_received(call, message, call->receive_cookie);
		call_leave(call, &frame);
	} else {
		rpc_message_free(message);
	}
	call_unref(call);
}

static void
call_on_settled(struct rpc_timer *timer)
{
	call_deliver(CALL_OF(timer, settle), NULL);
}

static void
call_on_received(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CALL_OF(tag, received);
	struct rpc_message *message = call_take_received(call, ok);

	if (message != NULL || atomic_load(&call->cancelled)) {
		call_deliver(call, message);
		return;
	}
	/* gRPC ends the receive of a cancelled call just before it reports the
	 * close, as if the client had half-closed: wait for that report. */
	call_ref(call); /* whoever delivers drops the receive's */
	rpc_timer_set(
	    call->server, &call->settle, clock_monotonic_ms() + CALL_SETTLE_MS);
	if (atomic_load(&call->cancelled) &&
	    rpc_timer_cancel(call->server, &call->settle))
		call_deliver(call, NULL);
	call_unref(call);
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
	if (call_enter(call, CALL_SENDING, &frame)) {
		call->on_sent(call, ok, call->send_cookie);
		call_leave(call, &frame);
	} else {
		call_start_end(call);
	}
	call_unref(call);
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
	call_ref(call);
	call_waits(call);
	atomic_fetch_or(&call->gate, CALL_SENDING);
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

/* --- birth, death and what the owner asks ----------------------------------
 */

struct rpc_call *
rpc_call_new(struct rpc_server *server, const struct rpc_slot *slot)
{
	struct rpc_call *call = xcalloc(1, sizeof(*call));

	call->server = server;
	call->slot = slot;
	arena_init(&call->arena, server->options.max_call_memory);
	grpc_metadata_array_init(&call->metadata);
	if (slot == NULL)
		grpc_call_details_init(&call->details);
	call->arrived.complete = call_on_arrived;
	call->received.complete = call_on_received;
	rpc_timer_init(&call->settle, call_on_settled);
	call->sent.complete = call_on_sent;
	call->closed.complete = call_on_closed;
	call->ended.complete = call_on_ended;
	atomic_init(&call->refs, 1);
	return call;
}

static void
call_report(struct rpc_call *call)
{
	const struct rpc_server_options *options = &call->server->options;
	int status = call->end_sent ? call->end.code : GRPC_STATUS_CANCELLED;

	if (options->finished != NULL)
		options->finished(call, status,
		    clock_monotonic_ns() - call->started_ns, options->cookie);
}

static void
call_free(struct rpc_call *call)
{
	struct rpc_server *server = call->server;

	if (call->core != NULL) {
		if (call->close_cancelled != 0)
			atomic_store(&call->cancelled, true);
		call_report(call);
		grpc_call_unref(call->core);
	}
	rpc_message_free(call->request);
	rpc_message_free(call->end.message);
	grpc_slice_unref(call->end.text);
	grpc_slice_unref(call->end.details);
	grpc_metadata_array_destroy(&call->metadata);
	if (call->slot == NULL)
		grpc_call_details_destroy(&call->details);
	gpr_free(call->peer);
	free(call->identity);
	arena_clear(&call->arena);
	if (call->budgeted > 0)
		budget_give(server->options.request_memory, call->budgeted);
	rpc_server_release_call(server, call);
	free(call);
}

bool
rpc_call_try_ref(struct rpc_call *call)
{
	unsigned refs = atomic_load(&call->refs);

	while (refs > 0)
		if (atomic_compare_exchange_weak(&call->refs, &refs, refs + 1))
			return true;
	return false;
}

void
rpc_call_give_way(struct rpc_call *call)
{
	grpc_call_cancel_with_status(call->core, GRPC_STATUS_RESOURCE_EXHAUSTED,
	    "the server's memory is used up by messages that are on their way "
	    "to it; try again, send smaller messages, or raise --memory",
	    NULL);
	call_unref(call);
}

struct arena *
rpc_call_arena(struct rpc_call *call)
{
	return &call->arena;
}

struct rpc_server *
rpc_call_server(struct rpc_call *call)
{
	return call->server;
}

struct str
rpc_call_path(const struct rpc_call *call)
{
	if (call->slot != NULL)
		return str_from(call->slot->method->path);
	return rpc_core_str(&call->details.method);
}

struct str
rpc_call_peer(struct rpc_call *call)
{
	if (call->peer == NULL)
		call->peer = grpc_call_get_peer(call->core);
	return str_from(call->peer);
}

struct str
rpc_call_identity(struct rpc_call *call)
{
	if (call->identity == NULL)
		call->identity = rpc_tls_identity(call->core);
	return str_from(call->identity);
}

struct str
rpc_call_metadata(const struct rpc_call *call, struct str key)
{
	return rpc_core_metadata(&call->metadata, key);
}

int64_t
rpc_call_deadline_ms(const struct rpc_call *call)
{
	return rpc_core_monotonic_ms(call->deadline);
}

bool
rpc_call_cancelled(const struct rpc_call *call)
{
	return atomic_load(&call->cancelled);
}

void
rpc_call_on_cancel(struct rpc_call *call,
    void (*cancelled)(struct rpc_call *call, void *cookie), void *cookie)
{
	call->on_cancel = cancelled;
	call->cancel_cookie = cookie;
}

void *
rpc_call_new_state(struct rpc_call *call, size_t size)
{
	call->state = arena_zalloc(&call->arena, 1, size);
	assert(call->state != NULL);
	return call->state;
}

void *
rpc_call_state(const struct rpc_call *call)
{
	return call->state;
}

uint64_t
rpc_call_received_bytes(const struct rpc_call *call)
{
	return call->received_bytes;
}

uint64_t
rpc_call_sent_bytes(const struct rpc_call *call)
{
	return call->sent_bytes;
}

void
rpc_call_set_note(struct rpc_call *call, unsigned note)
{
	call->note = note;
}

unsigned
rpc_call_note(const struct rpc_call *call)
{
	return call->note;
}

struct rpc_message *
rpc_call_request(struct rpc_call *call)
{
	return call->request;
}

void
rpc_call_submit(struct rpc_call *call, struct task *task)
{
	thread_pool_submit(call->server->options.pool, task);
}

void
rpc_call_submit_to_poller(struct rpc_call *call, struct task *task)
{
	rpc_pollers_submit(call->server->pollers, task);
}
