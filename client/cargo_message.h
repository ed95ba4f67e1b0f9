/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the shim and the broker tell each other over the private socket of a
 * build: a call of the compiler one way, its answer the other. Bounded, though
 * both ends are the same user's. Blocks on the socket.
 *
 *	call:    "TRC3" length:4 argc:4 environment:4, then so many strings,
 *	         each ended by NUL: directory, arguments, environment
 *	answer:  kind:4 status:4 output:4 errors:4 place:4 and three counts,
 *	         then output, errors and the strings of the place
 *	reply:   a byte, for an answer that another one follows
 */
#ifndef TOOLROOT_CLIENT_CARGO_MESSAGE_H
#define TOOLROOT_CLIENT_CARGO_MESSAGE_H

#include <stdbool.h>

#include "base/buffer.h"
#include "client/cargo_strings.h"

struct error;

struct cargo_message_call {
	char *directory; /* owned; where the compiler is to run */
	struct cargo_strings arguments; /* the compiler first */
	struct cargo_strings environment;
	int caller; /* borrowed: the shim's socket; -1: it is ourselves */
};

enum cargo_message_kind {
	CARGO_MESSAGE_DONE = 'D',  /* output, errors and status tell all */
	CARGO_MESSAGE_LOCAL = 'L', /* run the compiler where you are */
	CARGO_MESSAGE_PLACE = 'P', /* run it where actions run: see place */
	/* Say errors at once, then wait for the answer proper. If none comes,
	 * place is what is to be done; so, unless status is set, this comes to
	 * nothing on a machine where that cannot be. */
	CARGO_MESSAGE_EARLY = 'E',
};

/* How an action is run on this machine, at its fixed paths, so that what it
 * makes is what a worker would make. */
struct cargo_message_place {
	char *directory; /* owned, all three */
	char *dep_info;  /* its true path; it gets true paths */
	/* The true path of metadata that cargo was told of already: it has to
	 * come out the same. "": it was not. */
	char *metadata;
	struct cargo_strings arguments;
	struct cargo_strings environment;
	struct cargo_strings paths; /* real, fixed, real, fixed, ... */
};

struct cargo_message_answer {
	enum cargo_message_kind kind;
	int status;
	struct buffer output;
	struct buffer errors;
	struct cargo_message_place place;
};

int cargo_message_send_call(
    int fd, const struct cargo_message_call *call, struct error *err);
int cargo_message_receive_call(
    int fd, struct cargo_message_call *call, struct error *err);
/* False once the shim, and so cargo, is gone. */
bool cargo_message_is_awaited(const struct cargo_message_call *call);
void cargo_message_call_clear(struct cargo_message_call *call);

void cargo_message_answer_init(struct cargo_message_answer *answer);
void cargo_message_answer_clear(struct cargo_message_answer *answer);
int cargo_message_send_answer(
    int fd, const struct cargo_message_answer *answer, struct error *err);
/* To a CARGO_MESSAGE_EARLY: whether cargo was told. */
int cargo_message_send_reply(int fd, bool told, struct error *err);
int cargo_message_receive_reply(int fd, bool *told, struct error *err);
/* The answer was initialised. */
int cargo_message_receive_answer(
    int fd, struct cargo_message_answer *answer, struct error *err);

#endif
