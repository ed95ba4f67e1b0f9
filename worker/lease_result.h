/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking leases and making their results. Any thread.
 */
#ifndef TOOLROOT_WORKER_LEASE_RESULT_H
#define TOOLROOT_WORKER_LEASE_RESULT_H

#include <stddef.h>
#include <toolroot/worker/v1/worker.pb-c.h>

struct digest_list;
struct error;
struct held_lease;
struct session;

/* What every lease must have. INVALID_ARGUMENT names what it lacks. */
int lease_result_check(const Workerapi__Lease *message, struct error *err);

/* Sends the result of a lease. err NULL: status OK. With missing, which may be
 * NULL or empty, the status gets a PreconditionFailure with a MISSING
 * violation for each blob (REAPI, Execution.Execute). result may be NULL. */
struct lease_result {
	Reapi__ActionResult *result;
	const struct digest_list *missing;
	const struct error *error;
	const char *message; /* for people; may be NULL */
};
void lease_result_send(struct session *session, struct held_lease *lease,
    const struct lease_result *result);
/* The result of a lease that was not run. */
void lease_result_refuse(
    struct session *session, struct held_lease *lease, const struct error *err);

/* Makes a LeaseResult message that is longer than max_bytes (0 = any) shorter:
 * without inline streams, else without the result and INVALID_ARGUMENT, in
 * spare. What is left out stays its owner's. */
void lease_result_fit(Workerapi__WorkerMessage *message, size_t max_bytes,
    GrpcStatus__Status *spare);

#endif
