/* SPDX-License-Identifier: Apache-2.0 */
/* One word: a callback starts only by counting itself while GATE_CLOSED is not
 * set. Any thread. */
#include "rpc/call_gate.h"

#include <sched.h>
#include <stddef.h>

#define GATE_CLOSED 0x80000000u
#define GATE_SENDING 0x40000000u
#define GATE_CALLBACKS 0x3fffffffu

/* Innermost first. */
static _Thread_local const struct call_frame *frames;

/* Clears the bits and, unless the gate is closed, counts a callback. */
static bool
gate_enter(struct call_gate *gate, unsigned clear, struct call_frame *frame)
{
	unsigned old = atomic_load(&gate->state);
	unsigned next;

	do {
		next = old & ~clear;
		if ((old & GATE_CLOSED) == 0)
			next++;
	} while (!atomic_compare_exchange_weak(&gate->state, &old, next));
	if ((old & GATE_CLOSED) != 0)
		return false;
	*frame = (struct call_frame){gate, frames};
	frames = frame;
	return true;
}

bool
call_gate_enter(struct call_gate *gate, struct call_frame *frame)
{
	return gate_enter(gate, 0, frame);
}

bool
call_gate_enter_sent(struct call_gate *gate, struct call_frame *frame)
{
	return gate_enter(gate, GATE_SENDING, frame);
}

void
call_gate_leave(struct call_gate *gate, const struct call_frame *frame)
{
	frames = frame->outer;
	atomic_fetch_sub(&gate->state, 1);
}

void
call_gate_send(struct call_gate *gate)
{
	atomic_fetch_or(&gate->state, GATE_SENDING);
}

/* Callbacks are short by contract: no need to sleep. */
static void
gate_wait(const struct call_gate *gate)
{
	unsigned own = 0;

	for (const struct call_frame *f = frames; f != NULL; f = f->outer)
		if (f->gate == gate)
			own++;
	while ((atomic_load(&gate->state) & GATE_CALLBACKS) > own)
		sched_yield();
}

bool
call_gate_close(struct call_gate *gate)
{
	unsigned old = atomic_fetch_or(&gate->state, GATE_CLOSED);

	gate_wait(gate);
	return (old & GATE_SENDING) == 0;
}

bool
call_gate_ended(const struct call_gate *gate)
{
	unsigned state = atomic_load(&gate->state);

	return (state & GATE_CLOSED) != 0 && (state & GATE_SENDING) == 0;
}
