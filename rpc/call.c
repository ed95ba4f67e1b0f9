/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a call on the server, and what its owner asks of it. What happens
 * to it is in call_batches.c. */
#include "rpc/call.h"

#include <assert.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>

#include "base/budget.h"
#include "base/error.h"
#include "base/memory.h"
#include "rpc/memory_guard.h"
#include "rpc/message.h"
#include "rpc/poller.h"
#include "rpc/server_core.h"
#include "rpc/tls.h"

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
	rpc_call_set_tags(call);
	atomic_init(&call->refs, 1);
	return call;
}

/* By us, before it had an end. */
static bool
call_was_cut(const struct rpc_call *call)
{
	return call->close_cancelled != 0 && call->cut_status != GRPC_STATUS_OK;
}

static int
call_status(const struct rpc_call *call)
{
	/* Whatever its owner made of it, its peer has not heard of that. */
	if (call_was_cut(call))
		return call->cut_status;
	if (call->close_cancelled != 0 && atomic_load(&call->server->cutting))
		return GRPC_STATUS_UNAVAILABLE;
	return call->close_cancelled == 0 && call->end_sent
		   ? call->end.code
		   : GRPC_STATUS_CANCELLED;
}

static void
call_report(struct rpc_call *call)
{
	const struct rpc_server_options *options = &call->server->options;

	if (options->finished != NULL)
		options->finished(call, call_status(call),
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
	free(call->identity);
	free(call->cut_reason);
	arena_clear(&call->arena);
	if (call->budgeted > 0)
		budget_give(server->options.request_memory, call->budgeted);
	rpc_server_release_call(server, call);
	/* Read by others as long as the call is in the list. */
	gpr_free(call->peer);
	free(call);
}

void
rpc_call_ref(struct rpc_call *call)
{
	atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void
rpc_call_unref(struct rpc_call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) == 1)
		call_free(call);
}

bool
rpc_call_mark_cut(struct rpc_call *call, int status)
{
	unsigned refs = atomic_load(&call->refs);

	if (call->cut_status != GRPC_STATUS_OK)
		return false;
	do {
		if (refs == 0)
			return false;
	} while (!atomic_compare_exchange_weak(&call->refs, &refs, refs + 1));
	/* Not before there is a reference: who frees the call reads it. */
	call->cut_status = status;
	call->cut_ms = clock_monotonic_ms();
	return true;
}

void
rpc_call_cut(struct rpc_call *call, const char *reason)
{
	call->cut_reason = xstrdup(reason);
	grpc_call_cancel_with_status(
	    call->core, (grpc_status_code)call->cut_status, reason, NULL);
	rpc_call_unref(call);
}

/* --- what the owner asks ----------------------------------------------------
 */

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
rpc_call_peer(const struct rpc_call *call)
{
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
rpc_call_end_text(const struct rpc_call *call)
{
	if (call_was_cut(call) && call->cut_reason != NULL)
		return str_from(call->cut_reason);
	return (struct str){(const char *)GRPC_SLICE_START_PTR(call->end.text),
	    GRPC_SLICE_LENGTH(call->end.text)};
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

int
rpc_call_check_memory(const struct rpc_call *call, struct error *err)
{
	if (!memory_guard_is_urgent(call->server->guard))
		return 0;
	return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, 1000,
	    "the server's memory is used up; try again, read fewer blobs at a "
	    "time, or raise --memory");
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
