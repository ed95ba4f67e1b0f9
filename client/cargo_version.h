/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cargo it is: asked by a thread of its own, beside what else is done
 * before a build, since it takes some milliseconds.
 */
#ifndef TOOLROOT_CLIENT_CARGO_VERSION_H
#define TOOLROOT_CLIENT_CARGO_VERSION_H

#include <stdbool.h>

#include "base/str.h"

/* Whether a cargo that says this of itself (`cargo -V`) asks the compiler for
 * its version past RUSTC_WRAPPER, as it did before 1.79. Pure. */
bool cargo_version_is_old(struct str answer);

struct cargo_version;
/* toolchain is "+NAME" or NULL; environment ends in NULL and is used until
 * cargo_version_end has returned. */
struct cargo_version *cargo_version_ask(
    const char *cargo, const char *toolchain, char *const *environment);
/* Waits for the answer: whether it is an old one. False also when there is no
 * answer. Takes version; NULL is allowed. */
bool cargo_version_end(struct cargo_version *version);

#endif
