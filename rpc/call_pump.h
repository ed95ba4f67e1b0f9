/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One user at a time for a call on which several things happen: its client
 * goes away, a send or receive ends, a timer fires, other threads have news.
 * What happens only sets flags, under the pump's lock, and runs the pump; the
 * pump looks at the flags and does one thing after the other with the call.
 * Whoever finds it running leaves the work to it.
 *
 * A call may thus be ended anywhere, also within the callbacks of other calls,
 * as pumps run each other: ending waits for the call's callbacks on other
 * threads (rpc/call.h), and these find its pump running and return. Callbacks
 * that did more could wait for each other's end for ever.
 *
 * Life: call_pump_init in the handler, whose owner then uses the call alone;
 * call_pump_start gives it to the pump. Either one ends it, once, by
 * call_pump_reply or call_pump_finish. The object that the pump is in goes with
 * the last reference.
 */
#ifndef TOOLROOT_RPC_CALL_PUMP_H
#define TOOLROOT_RPC_CALL_PUMP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "rpc/call.h"

struct call_pump;

struct call_pump_type {
	/* Does one thing; false: there is nothing to do. Without the lock, one
	 * thread at a time, not after the end. */
	bool (*step)(struct call_pump *pump);
	/* Frees the object; after call_pump_clear. */
	void (*free)(struct call_pump *pump);
};

/* Embedded first in the object. */
struct call_pump {
	const struct call_pump_type *type;
	struct rpc_call *call; /* the pump's once it has started */
	/* The call's, until its end, and those of others that use the object
	 * for a while. */
	atomic_size_t references;
	/* Guards what follows, and the object's own flags; not held across
	 * calls of rpc/call.h. */
	pthread_mutex_t lock;
	bool running; /* or not yet started */
	bool again;   /* look once more */
	bool sending; /* one message at a time */
	bool cancelled;
	bool ended;
};

/* Before the handler returns. */
void call_pump_init(struct call_pump *pump, const struct call_pump_type *type,
    struct rpc_call *call);
/* The pump's turn; it may end the call, and free the object, in here. */
void call_pump_start(struct call_pump *pump);

/* For everybody who has a reference, without the lock. */
void call_pump_ref(struct call_pump *pump);
void call_pump_unref(struct call_pump *pump);
/* Something has happened. */
void call_pump_run(struct call_pump *pump);
/* The same, and sets the flag under the lock. */
void call_pump_set(struct call_pump *pump, bool *flag);

/* For whoever has the call. When the message has gone out `sending` is off
 * again, and the pump runs. Takes the message. */
void call_pump_send(struct call_pump *pump, struct rpc_message *message);
/* The end, as by the functions of rpc/call.h; gives up the call's reference. */
void call_pump_reply(struct call_pump *pump, struct rpc_message *message);
void call_pump_finish(struct call_pump *pump, const struct error *err);
void call_pump_finish_status(
    struct call_pump *pump, const struct GrpcStatus__Status *status);

#endif
