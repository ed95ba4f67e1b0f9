/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leases a worker holds, and the threads that run them: one thread and at
 * most one lease a slot. Any thread, except where said otherwise.
 */
#ifndef TOOLROOT_WORKER_LEASE_TABLE_H
#define TOOLROOT_WORKER_LEASE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/arena.h"
#include "base/str.h"
#include "worker/live_output.h"

struct held_lease {
	struct arena arena;              /* of the message and the result */
	const Workerapi__Lease *message; /* in arena */
	size_t slot;
	int64_t received_wall_ns;
	atomic_int stage; /* Workerapi__LeaseState__Stage */
	/* Its result goes out: from now on the server takes its slot for free.
	 * Set by whoever runs it, before the result is sent. */
	atomic_bool answered;
	atomic_bool cancelled; /* with cancel_fd */
	int cancel_fd;         /* eventfd, readable once cancelled */
	struct live_output output;
};

/* Where the pieces of output go that somebody reads while a lease runs. */
struct lease_readers {
	live_output_answer_fn *answer;
	void *cookie; /* lives longer than the lease */
};

/* Takes the arena. */
struct held_lease *held_lease_new(const struct arena *arena,
    const Workerapi__Lease *message, const struct lease_readers *readers);
/* After live_output_end, where it ran. */
void held_lease_free(struct held_lease *lease);
struct str held_lease_id(const struct held_lease *lease);

struct lease_table;

/* run is called on the slot's thread and returns when the lease is done and
 * its result handed on; then idle is called, with the lease gone. */
struct lease_table_options {
	size_t slots;
	void (*run)(void *cookie, struct held_lease *lease);
	void (*idle)(void *cookie);
	void *cookie;
};
struct lease_table *lease_table_new(const struct lease_table_options *options);
/* No lease may be left. NULL is allowed. */
void lease_table_free(struct lease_table *table);

/* Runs it on a free slot, or next on one whose lease is answered; false when
 * there is none: the lease stays the caller's. */
bool lease_table_offer(struct lease_table *table, struct held_lease *lease);
/* False when there is no such lease. */
bool lease_table_cancel(struct lease_table *table, struct str id);
void lease_table_cancel_all(struct lease_table *table);
/* live_output_read on the lease. One that is not there has nothing more to
 * say. */
bool lease_table_read_output(struct lease_table *table, struct str id,
    const struct output_read *read, struct str *data);
/* Of any lease. */
void lease_table_withdraw_read(struct lease_table *table, uint64_t read_id);
size_t lease_table_count(struct lease_table *table);
/* Blocks until no lease is left. */
void lease_table_wait_idle(struct lease_table *table);

/* The states of all leases as messages in the arena. NULL at its cap. */
Workerapi__LeaseState **lease_table_states(
    struct lease_table *table, struct arena *arena, size_t *count);

#endif
