/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One execution of an action, known to clients as a long-running operation.
 * All clients that asked for it while it was under way share it.
 *
 * Reference-counted (operation_ref, operation_unref: any thread); the
 * scheduler holds a reference until it forgets the operation. The fields of
 * the first group never change; the second belongs to the scheduler and its
 * lock, others ask scheduler_status.
 */
#ifndef TOOLROOT_EXECUTOR_OPERATION_H
#define TOOLROOT_EXECUTOR_OPERATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/error.h"
#include "base/str.h"
#include "cas/digest.h"
#include "executor/heap.h"
#include "executor/platform.h"

struct invocation;
struct lease;
struct queue;
struct share;

enum operation_state {
	OPERATION_QUEUED,    /* waits for a worker */
	OPERATION_LEASED,    /* a worker has it: fetches, stages */
	OPERATION_EXECUTING, /* the worker said that the command runs or ran */
	OPERATION_STORING,   /* the result is being made durable */
	OPERATION_DONE,
};

/* What a client asks for. Everything is copied. */
struct operation_request {
	struct str instance;
	struct digest action_digest;
	struct str action;           /* encoded Action */
	struct str request_metadata; /* encoded RequestMetadata, or empty */
	/* Whom to be fair to: the tool invocation, or whatever tells clients
	 * apart. */
	struct str invocation;
	/* For logs alone: the W3C trace parent, and the name that the client's
	 * certificate proves. */
	struct str traceparent;
	struct str identity;
	const struct platform_property *properties;
	size_t property_count;
	int32_t priority;   /* lower is more urgent; 0 is the default */
	int64_t timeout_ms; /* of the command, within the server's limits */
	int64_t queued_ns;  /* wall clock, for the result's metadata */
	bool do_not_cache;  /* nor merge */
	/* skip_cache_lookup: nothing that others could see before. */
	bool fresh;
};

/* Priorities beyond are taken for the limit. */
#define OPERATION_PRIORITY_MIN (-100)
#define OPERATION_PRIORITY_MAX 100

/* "<instance>/operations/<uuid>", without the instance and its slash when that
 * is empty. */
#define OPERATION_NAME_MIDDLE "operations/"
/* A new one, malloced. */
char *operation_name_new(struct str instance);

/* What an execution spent its time with, as its worker tells. */
enum operation_stage {
	STAGE_QUEUE,   /* until a worker took it */
	STAGE_FETCH,   /* inputs and trees that were not there */
	STAGE_STAGE,   /* laying out the input root, starting the command */
	STAGE_RUN,     /* the command */
	STAGE_COLLECT, /* reading outputs */
	STAGE_UPLOAD,
	OPERATION_STAGES,
};
const char *operation_stage_name(enum operation_stage stage);

struct operation_run {
	bool told; /* else all below is void */
	int exit_code;
	int64_t ns[OPERATION_STAGES]; /* -1: not told */
	uint64_t output_bytes;
};

struct operation {
	atomic_size_t references;
	struct str name;
	struct str instance;
	struct str action;
	struct str request_metadata;
	struct str invocation_id;
	struct str traceparent;
	struct str identity;
	struct digest action_digest;
	struct platform platform;
	int64_t timeout_ms;
	int64_t queued_ns;
	bool do_not_cache;
	/* lease_number of the last lease that its worker was told of; set by
	 * whoever tells. */
	atomic_uint told_lease;
	struct str merge_key; /* instance and action digest as bytes */
	size_t bytes;         /* what it holds of the request */
	char *memory;         /* what the texts point into */

	/* --- the scheduler's, under its lock ------------------------------ */
	enum operation_state state;
	uint64_t number; /* in order of submission */
	int64_t queued_ms;
	int64_t state_ms;     /* when the state was entered */
	int64_t abandoned_ms; /* since when nobody waits; CLOCK_NEVER */
	int32_t priority;
	size_t waiters;
	unsigned attempts;
	unsigned lease_number;  /* of the last lease, from 1; unlike attempts
				 * it never goes back */
	uint64_t avoid_session; /* the last that failed on it; 0 = none */
	char worker[256];       /* name of the last that had it */
	char history[384];      /* of failed attempts, for the final error */
	struct invocation *invocation;
	struct queue *queue;   /* when queued */
	struct share *share;   /* when queued, unless it goes first */
	struct lease *lease;   /* when leased or executing */
	struct str early;      /* EarlyOutputs of that lease, encoded; malloc */
	size_t early_files;    /* in it */
	uint64_t early_bytes;  /* of those */
	struct heap_node turn; /* in the share */
	struct heap_node deadline;
	TAILQ_ENTRY(operation) again;    /* in the queue: goes first */
	TAILQ_ENTRY(operation) link;     /* of all */
	TAILQ_ENTRY(operation) finished; /* oldest first */

	/* Written once, before the state becomes DONE; then constant. */
	struct error error; /* OK when response is set */
	struct operation_run run;
	struct str response; /* encoded ExecuteResponse; malloc, owned */
};

/* One reference, in no list. INVALID_ARGUMENT: see platform_init. */
struct operation *operation_new(
    const struct operation_request *request, struct error *err);
struct operation *operation_ref(struct operation *operation);
/* NULL is allowed. */
void operation_unref(struct operation *operation);

/* The key under which equal actions in flight are merged, malloced. */
struct str operation_merge_key(
    struct str instance, const struct digest *action_digest);

#endif
