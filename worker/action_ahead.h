/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The action's own process, made while nobody waits: before it is known what it
 * is to run, and where. It is fenced in at once (worker/action_process.h),
 * enters its network, and waits.
 *
 *	action_ahead_fork(&ahead, &fence, network, &err);
 *	action_ahead_tell(&ahead, &process, &err);	what to run
 *	... the root becomes complete ...
 *	action_ahead_go(&ahead, &err);
 *	... its socket ends: the program runs, or cannot ...
 *	action_ahead_end(&ahead, process.spec, &err);	could it?
 *
 * Used by the sandbox's first process, whose namespaces, root, control group
 *and, until the program runs, memory and oom_score_adj it shares; one thread.
 */
#ifndef TOOLROOT_WORKER_ACTION_AHEAD_H
#define TOOLROOT_WORKER_ACTION_AHEAD_H

#include <stdbool.h>
#include <sys/types.h>

struct action_fence;
struct action_process;
struct error;
struct run_spec;

struct action_ahead {
	pid_t pid;  /* 0: there is none */
	int socket; /* to it, or -1 */
};
#define ACTION_AHEAD_NONE ((struct action_ahead){0, -1})

/* False where this program's runtime cannot share its memory with another
 * process, as with the thread sanitizer: then the action's process is made when
 * it is wanted. */
bool action_ahead_possible(void);
/* network: a namespace to enter; -1 = stay. */
int action_ahead_fork(struct action_ahead *ahead,
    const struct action_fence *fence, int network, struct error *err);
/* The process gets copies of the descriptors; the spec stays where it is. */
int action_ahead_tell(struct action_ahead *ahead,
    const struct action_process *process, struct error *err);
/* Until its socket can be read the caller must not use errno. */
int action_ahead_go(struct action_ahead *ahead, struct error *err);
/* When its socket can be read or the process has ended: 0 when the program ran,
 * -1 as action_process_start. */
int action_ahead_end(
    struct action_ahead *ahead, const struct run_spec *spec, struct error *err);
/* Ends one that is not wanted. */
void action_ahead_kill(struct action_ahead *ahead);

#endif
