/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a unary call. The thread that holds the RPC. */
#include "frontend/unary_call.h"

#include "base/error.h"
#include "rpc/call.h"
#include "rpc/message.h"

static void
unary_call_task(struct task *task)
{
	struct unary_call *call = (struct unary_call *)task;
	struct rpc_call *rpc = call->rpc;
	struct error err;

	if (call->run(call, &err) < 0)
		rpc_call_finish(rpc, &err);
}

static struct unary_call *
unary_call_new(struct rpc_call *rpc, void *service, unary_call_fn *run)
{
	struct unary_call *call = rpc_call_new_state(rpc, sizeof(*call));

	call->task.run = unary_call_task;
	call->rpc = rpc;
	call->service = service;
	call->run = run;
	return call;
}

void
unary_call_submit(struct rpc_call *rpc, void *service, unary_call_fn *run)
{
	rpc_call_submit(rpc, &unary_call_new(rpc, service, run)->task);
}

void
unary_call_run(struct rpc_call *rpc, void *service, unary_call_fn *run)
{
	unary_call_task(&unary_call_new(rpc, service, run)->task);
}

struct str
unary_call_message(const struct unary_call *call)
{
	return rpc_message_flat(rpc_call_request(call->rpc));
}

void *
unary_call_unpack(const struct unary_call *call,
    const ProtobufCMessageDescriptor *descriptor, struct error *err)
{
	return rpc_message_unpack(rpc_call_request(call->rpc), descriptor,
	    rpc_call_arena(call->rpc), err);
}

int
unary_call_out_of_memory(struct error *err)
{
	return error_set(
	    err, ERROR_RESOURCE_EXHAUSTED, "the call's memory is used up");
}
