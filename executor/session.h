/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker's session and the leases it holds. A lease is one attempt at one
 * operation; a session holds at most as many as it has slots, cancelled ones
 * included until the worker has let go of them.
 *
 * Sessions are reference-counted (any thread). The fields of the first group
 * never change; the rest belongs to the scheduler and its lock.
 */
#ifndef TOOLROOT_EXECUTOR_SESSION_H
#define TOOLROOT_EXECUTOR_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/str.h"
#include "executor/heap.h"
#include "executor/platform.h"

struct error;
struct operation;
struct worker_session;

#define SESSION_SLOTS_MAX 1024
#define SESSION_HELD_ROOTS_MAX 4096
#define LEASE_ID_SIZE 37 /* a uuid and NUL */

/* How far a lease is; the numbers of LeaseState.Stage. */
enum lease_stage {
	LEASE_UNSPECIFIED = 0,
	LEASE_FETCHING = 1,
	LEASE_STAGING = 2,
	LEASE_RUNNING = 3,
	LEASE_COLLECTING = 4,
	LEASE_UPLOADING = 5,
	LEASE_STAGES,
};

/* How a worker fences its actions in; Hello.sandbox_tier. */
enum session_sandbox {
	SANDBOX_KIND_UNKNOWN,
	SANDBOX_KIND_NONE,
	SANDBOX_KIND_USER_NAMESPACES,
	SANDBOX_KIND_NAMESPACES,
	SANDBOX_KINDS,
};
/* As in Hello; "unknown" and for all others. */
const char *session_sandbox_name(enum session_sandbox sandbox);
enum session_sandbox session_sandbox_parse(struct str name);

struct lease {
	char id[LEASE_ID_SIZE];
	struct worker_session *session;
	struct operation *operation; /* NULL once cancelled */
	enum lease_stage stage;
	int64_t stage_ms; /* since when */
	bool confirmed;   /* a heartbeat has named it */
	bool named;       /* the current heartbeat names it */
	LIST_ENTRY(lease) link;
};

struct session_options {
	struct str worker_name;
	size_t slots;
	const struct platform_property *properties;
	size_t property_count;
	enum session_sandbox sandbox; /* only shown */
	/* The server's own, carried by the session; release runs with the last
	 * reference, on any thread. */
	void *cookie;
	void (*release)(void *cookie);
};

struct worker_session {
	atomic_size_t references;
	uint64_t number; /* set when it joins; never 0 then */
	char id[LEASE_ID_SIZE];
	struct str worker_name; /* owned */
	size_t slots;
	enum session_sandbox sandbox;
	struct platform offered;
	void *cookie;
	void (*release)(void *cookie);

	/* --- the scheduler's, under its lock ------------------------------ */
	LIST_HEAD(, lease) leases;
	size_t lease_count;
	struct str *held_roots; /* owned, sorted */
	size_t held_root_count;
	bool draining;
	bool joined;
	struct heap_node deadline; /* of the next heartbeat */
	TAILQ_ENTRY(worker_session) link;
};

/* One reference. INVALID_ARGUMENT for slots, name or properties out of
 * bounds; the cookie is then not released. */
struct worker_session *worker_session_new(
    const struct session_options *options, struct error *err);
struct worker_session *worker_session_ref(struct worker_session *session);
/* NULL is allowed. */
void worker_session_unref(struct worker_session *session);

/* Under the scheduler's lock. */
void worker_session_set_held_roots(
    struct worker_session *session, const struct str *roots, size_t count);
/* How many of the platform's roots it holds. */
size_t worker_session_held(
    const struct worker_session *session, const struct platform *platform);
size_t worker_session_free_slots(const struct worker_session *session);
struct lease *worker_session_find_lease(
    const struct worker_session *session, struct str id);

/* Both change session->lease_count. A new lease has its operation set. */
struct lease *lease_new(
    struct worker_session *session, struct operation *operation);
void lease_free(struct lease *lease);

#endif
