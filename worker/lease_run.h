/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lease from its message to its result: inputs fetched, action run,
 * outputs uploaded. Runs on a slot's thread; struct lease_table_options.run.
 */
#ifndef TOOLROOT_WORKER_LEASE_RUN_H
#define TOOLROOT_WORKER_LEASE_RUN_H

struct held_lease;
struct worker;

/* Hands the result to the worker's session, whatever comes of the lease. */
void lease_run(struct worker *worker, struct held_lease *lease);

#endif
