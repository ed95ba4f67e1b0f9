/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call with one request on its way through its handler: what most methods
 * begin and end with. The handler names the function that does the work, and
 * the thread: the pool's where it may block, the poller's own where it cannot.
 */
#ifndef TOOLROOT_FRONTEND_UNARY_CALL_H
#define TOOLROOT_FRONTEND_UNARY_CALL_H

#include <protobuf-c/protobuf-c.h>

#include "base/str.h"
#include "base/thread_pool.h"

struct error;
struct rpc_call;
struct unary_call;

/* Does the work. 0: the call has its reply, or will get it; -1: the call is
 * to be ended with err. */
typedef int unary_call_fn(struct unary_call *call, struct error *err);

/* Lives as long as the RPC. */
struct unary_call {
	struct task task; /* first */
	struct rpc_call *rpc;
	void *service; /* as the handler got it */
	unary_call_fn *run;
};

/* Runs the function on the pool; the handler returns. */
void unary_call_submit(struct rpc_call *rpc, void *service, unary_call_fn *run);
/* Runs it here and now. */
void unary_call_run(struct rpc_call *rpc, void *service, unary_call_fn *run);
/* The request's bytes in one run. */
struct str unary_call_message(const struct unary_call *call);
/* The request, unpacked into the RPC's arena; NULL: see protos_unpack. */
void *unary_call_unpack(const struct unary_call *call,
    const ProtobufCMessageDescriptor *descriptor, struct error *err);
/* The RPC's arena is at its cap. Returns -1. */
int unary_call_out_of_memory(struct error *err);

#endif
