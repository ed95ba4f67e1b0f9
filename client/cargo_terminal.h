/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cargo's messages on a terminal, with what we know at the end of its progress
 * line: "Building [==>  ] 57/173: syn, tokio | 50 hits, 5 remote, 2 local".
 * Two programs that draw on one line garble it, so cargo writes to a pipe and
 * this alone draws. Only for commands of cargo's that run no program of the
 * user's, who might ask whether standard error is a terminal. A thread of its
 * own.
 */
#ifndef TOOLROOT_CLIENT_CARGO_TERMINAL_H
#define TOOLROOT_CLIENT_CARGO_TERMINAL_H

struct cargo_strings;
struct cargo_summary;
struct cargo_terminal;

/* words are cargo's own, up to NULL. NULL when cargo is to write to standard
 * error itself: that is no terminal, or the command or the settings are not
 * for it. */
struct cargo_terminal *cargo_terminal_open(
    char *const *words, struct cargo_summary *summary);
/* Where cargo's standard error is to go, until it was started. */
int cargo_terminal_fd(const struct cargo_terminal *terminal);
/* Adds the variables by which cargo writes as to a terminal. */
void cargo_terminal_environment(
    const struct cargo_terminal *terminal, struct cargo_strings *environment);
/* After cargo was started, or was not. */
void cargo_terminal_started(struct cargo_terminal *terminal);
/* After cargo ended: shows the rest and clears the line. NULL is allowed. */
void cargo_terminal_close(struct cargo_terminal *terminal);

#endif
