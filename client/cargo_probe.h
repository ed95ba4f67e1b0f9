/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cargo asks the compiler before each build, `rustc - --print=...`: the
 * answer depends on the toolchain, where it is and the question alone, so it is
 * remembered from one build to the next. It would take half of the time of a
 * build with nothing to do. Any thread; blocks.
 */
#ifndef TOOLROOT_CLIENT_CARGO_PROBE_H
#define TOOLROOT_CLIENT_CARGO_PROBE_H

#include <stdbool.h>

struct cargo_crate;
struct cargo_message_answer;

/* Whether the call is this question, as cargo asks it. */
bool cargo_probe_is(const struct cargo_crate *crate);
/* Asks the compiler if need be. The answer stays as it is, which is to run the
 * compiler where it was called, when there is no toolchain or it fails. */
void cargo_probe_answer(
    const struct cargo_crate *crate, struct cargo_message_answer *answer);

#endif
