/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cargo it is: asked by a thread of its own, beside what else is done
 * before a build, since it takes some milliseconds, and remembered for programs
 * that are cargo itself; one that only chooses among several is asked each
 * time. Blocks on the disk.
 */
#ifndef TOOLROOT_CLIENT_CARGO_VERSION_H
#define TOOLROOT_CLIENT_CARGO_VERSION_H

#include <stdbool.h>

#include "base/str.h"

/* Whether a cargo that says this of itself (`cargo -V`) asks the compiler for
 * its version past RUSTC_WRAPPER, as it did before 1.79. Pure. */
bool cargo_version_is_old(struct str answer);

struct cargo_version;
/* cache is the directory to remember it in; toolchain is "+NAME" or NULL;
 * environment ends in NULL. All are used until cargo_version_end has returned.
 */
struct cargo_version *cargo_version_ask(const char *cache, const char *cargo,
    const char *toolchain, char *const *environment);
/* Waits for the answer: whether it is an old one. False also when there is no
 * answer. Takes version; NULL is allowed. */
bool cargo_version_end(struct cargo_version *version);

#endif
