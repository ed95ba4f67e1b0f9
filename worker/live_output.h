/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a running command has written so far, for readers elsewhere (ReadOutput
 * and OutputPiece of the worker's protocol). It shows the captures of the run,
 * which keep the output for the result anyway: a reader costs the piece that is
 * on its way to it, and never holds up the command.
 *
 * Order: live_output_init; while the command runs, live_output_begin, then
 * live_output_grown after each growth, then live_output_end; live_output_clear.
 * These are the slot's thread's. live_output_read and live_output_withdraw are
 * for any thread, at any time between init and clear.
 */
#ifndef TOOLROOT_WORKER_LIVE_OUTPUT_H
#define TOOLROOT_WORKER_LIVE_OUTPUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/str.h"

struct capture;
struct waiting_read;

/* Most bytes of one answer. */
#define LIVE_OUTPUT_PIECE_MAX (256u << 10)
/* Reads that wait for one command; what is above is answered as at its end. */
#define LIVE_OUTPUT_READS_MAX 64

struct output_read {
	uint64_t id; /* the reader's */
	bool standard_error;
	uint64_t offset;
	size_t limit; /* bytes; cut to LIVE_OUTPUT_PIECE_MAX */
};

/* data is borrowed; empty: nothing comes any more. Runs without a lock. */
typedef void live_output_answer_fn(
    void *cookie, uint64_t read_id, struct str data);

struct live_output {
	live_output_answer_fn *answer;
	void *cookie;
	/* Guards what follows, and the contents of the captures, which change
	 * under it only (struct capture, guard). */
	pthread_mutex_t lock;
	const struct capture *streams[2]; /* output, errors; NULL: not yet */
	bool ended;
	STAILQ_HEAD(waiting_reads, waiting_read) waiting;
	size_t waiting_count;
};

void live_output_init(
    struct live_output *live, live_output_answer_fn *answer, void *cookie);
/* Nobody may wait any more: after live_output_end. */
void live_output_clear(struct live_output *live);

/* The captures stay where they are until live_output_end. */
void live_output_begin(struct live_output *live, const struct capture *output,
    const struct capture *errors);
/* Answers those that waited for what is there now. */
void live_output_grown(struct live_output *live);
/* Answers all that wait, with what is there. May be called without
 * live_output_begin, and twice. */
void live_output_end(struct live_output *live);

/* True and *data (malloc; perhaps empty) when the answer is known now; else
 * the answer function gets it later. */
bool live_output_read(
    struct live_output *live, const struct output_read *read, struct str *data);
/* False when no such read waits. */
bool live_output_withdraw(struct live_output *live, uint64_t read_id);

#endif
