/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt to have a crate compiled elsewhere: its inputs, its action, the
 * server's result, and whether that is to be believed: what the result's
 * dep-info says was read must be what it would have read here. One thread;
 * blocks, within bounds.
 */
#ifndef TOOLROOT_CLIENT_CARGO_ATTEMPT_H
#define TOOLROOT_CLIENT_CARGO_ATTEMPT_H

struct cargo_crate;
struct cargo_message_answer;
struct cargo_server;
struct cargo_summary_row;
struct error;

struct cargo_attempt {
	struct cargo_crate *crate; /* borrowed, all */
	const struct cargo_server *server;
	struct cargo_message_answer *answer;
	struct cargo_summary_row *row;
};

/* 1: the outputs are in place and the answer is filled. 0: what it reads was
 * not all known; the crate knows more now, so that another attempt makes
 * sense. -1: it stays on this machine. */
int cargo_attempt_run(const struct cargo_attempt *attempt, struct error *err);

#endif
