/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settles the races between the owner of a call who ends it and the callbacks
 * of the call on other threads: a callback enters the gate or, once it is
 * closed, does not run; who closes it waits until the others have left. Also
 * whether a send is under way, since then the end has to wait for it.
 */
#ifndef TOOLROOT_RPC_CALL_GATE_H
#define TOOLROOT_RPC_CALL_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

/* Zeroed at first. */
struct call_gate {
	atomic_uint state; /* closed, sending, and callbacks that run */
};

/* A callback that runs on this thread, on its stack. */
struct call_frame {
	const struct call_gate *gate;
	const struct call_frame *outer; /* it runs within this one */
};

/* False: the gate is closed. Else call_gate_leave follows, with this frame. */
bool call_gate_enter(struct call_gate *gate, struct call_frame *frame);
/* The same for the callback of a send, which is over then; when false, the end
 * is now to be sent. */
bool call_gate_enter_sent(struct call_gate *gate, struct call_frame *frame);
void call_gate_leave(struct call_gate *gate, const struct call_frame *frame);
/* A send begins. Not after the gate was closed. */
void call_gate_send(struct call_gate *gate);
/* Returns when no callback runs but those that this thread is in. True: the
 * end may be sent; false: call_gate_enter_sent will say so. */
bool call_gate_close(struct call_gate *gate);
/* It is closed, and no send is under way that the end has to wait for. */
bool call_gate_ended(const struct call_gate *gate);

#endif
