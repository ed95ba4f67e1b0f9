/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot doctor` in a directory with a cargo project: cargo and its
 * compiler, the shim, the C compiler that links, and the whole chain: a crate
 * of a few lines is built through the server in two places; the second build
 * must be hits alone. Blocks, within bounds.
 */
#ifndef TOOLROOT_CLIENT_DOCTOR_CARGO_H
#define TOOLROOT_CLIENT_DOCTOR_CARGO_H

#include <stdbool.h>

struct client_options;
struct doctor_report;

/* executes: the server does; the chain is left out otherwise. */
void doctor_cargo(struct doctor_report *report,
    const struct client_options *options, bool executes);

#endif
