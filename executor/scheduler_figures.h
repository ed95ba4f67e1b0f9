/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the scheduler stands, for monitoring: copies taken under its lock, at a
 * cost that grows with workers, leases and queues. Any thread.
 */
#ifndef TOOLROOT_EXECUTOR_SCHEDULER_FIGURES_H
#define TOOLROOT_EXECUTOR_SCHEDULER_FIGURES_H

#include "executor/scheduler.h"

struct scheduler_statistics {
	/* Now. */
	size_t queued;
	size_t leased; /* at workers, EXECUTING included */
	size_t executing;
	size_t stages[LEASE_STAGES]; /* of the leased, as workers told last */
	size_t storing;
	size_t kept; /* done, not yet forgotten */
	size_t workers;
	size_t sandboxes[SANDBOX_KINDS]; /* of the workers */
	size_t slots;
	size_t slots_busy;
	/* Since the start. */
	uint64_t submitted;
	uint64_t merged;
	uint64_t refused;
	uint64_t leases_offered;
	uint64_t leases_lost;
	uint64_t requeued;
	uint64_t early_outputs; /* that leases reported while they went on */
	uint64_t early_bytes;   /* of those */
	uint64_t sessions_lost; /* silent, or gone without draining */
	uint64_t unknown_results;
	uint64_t completed;
	uint64_t failed;    /* ended by an error of the executor or workers */
	uint64_t cancelled; /* of them: on request */
	uint64_t abandoned; /* of them: nobody waited */
};
void scheduler_statistics(
    struct scheduler *scheduler, struct scheduler_statistics *statistics);

/* Operations that wait for the same kind of worker. */
#define QUEUE_FIGURE_TEXT_MAX 128
struct queue_figure {
	/* "ISA=x86-64,OSFamily=linux": what decides, sorted; cut. "" when the
	 * actions ask for nothing. */
	char platform[QUEUE_FIGURE_TEXT_MAX];
	size_t queued;
	bool unplaceable; /* no worker matches */
};
/* Up to count of them; returns how many. */
size_t scheduler_queue_figures(
    struct scheduler *scheduler, struct queue_figure *figures, size_t count);

#endif
