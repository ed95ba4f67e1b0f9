/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The action's own process: started from the sandbox's first process, without
 * any privilege, with exactly the environment, working directory, limits and
 * streams it is to have. Single-threaded callers.
 *
 * The program is found as REAPI's Command.arguments wants it: a name with "/"
 * is a path as seen from the working directory, a bare one is looked for in
 * PATH of the action's environment, or in the spec's search path without one.
 */
#ifndef TOOLROOT_WORKER_ACTION_PROCESS_H
#define TOOLROOT_WORKER_ACTION_PROCESS_H

#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "worker/namespaces.h"

struct error;
struct run_spec;

/* The same for all actions of a worker. */
struct action_fence {
	const struct sock_fprog *filter;
	enum sandbox_tier tier;
	int priority; /* "nice", as the worker has it */
};

struct action_process {
	const struct run_spec *spec;
	int stdout_fd;
	int stderr_fd;
	/* Where no control group limits them; RLIM_INFINITY = not at all. */
	rlim_t data_limit;    /* bytes, of each process */
	rlim_t process_limit; /* of the user, that is of all actions */
};

/* Returns when the program runs. -1: FAILED_PRECONDITION when there is no such
 * program, INVALID_ARGUMENT when it cannot be executed or the working
 * directory is not there. */
pid_t action_process_start(const struct action_fence *fence,
    const struct action_process *process, struct error *err);

/* What the process does itself, in this order, for worker/action_ahead.h. Each
 * returns only on failure, or (fence) when it is done. */
enum action_step {
	ACTION_STEP_NONE, /* nothing failed */
	ACTION_STEP_FENCE,
	ACTION_STEP_STREAMS,
	ACTION_STEP_LIMITS,
	ACTION_STEP_DIRECTORY,
	ACTION_STEP_EXECUTE,
};
struct action_failure {
	enum action_step step;
	int number; /* errno */
};
void action_process_fence(
    const struct action_fence *fence, struct action_failure *failure);
void action_process_become(
    const struct action_process *process, struct action_failure *failure);
/* Sets err, of which the codes are told above; -1. */
int action_process_explain(const struct run_spec *spec,
    const struct action_failure *failure, struct error *err);

/* Without a PID namespace: kills the process's group and all our children, of
 * which orphans become. Repeated until no child is left, it ends all. */
void action_process_kill_tree(pid_t pid);

#endif
