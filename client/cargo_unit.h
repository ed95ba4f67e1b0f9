/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of the compiler, from its arguments to its answer: made an action,
 * looked for, run elsewhere, checked, put in place; or, whenever anything is
 * not as it should be, handed back to be run where it was called. Any thread;
 * blocks, within bounds. Rules: what a crate was seen to read (its dep-info)
 * must be what it would have read here.
 */
#ifndef TOOLROOT_CLIENT_CARGO_UNIT_H
#define TOOLROOT_CLIENT_CARGO_UNIT_H

#include <stdbool.h>

struct cargo_message_answer;
struct cargo_message_call;
struct cargo_session;

/* answer was initialised. Adds a row to the session's summary. True when the
 * answer is to compile a crate here, with which a processor is busy then. */
bool cargo_unit_answer(struct cargo_session *session,
    const struct cargo_message_call *call, struct cargo_message_answer *answer);

#endif
