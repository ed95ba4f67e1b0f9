/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a one-shot sandbox, process 1 of its PID namespace: it
 * waits to be told what to run, completes the root with mounts, moves into it,
 * starts the action's program, ends everything that is left when that ends (or
 * when told to), reports, and stays until the worker has read the outputs.
 * Forked by the spawner, talks to the worker over its own socket.
 *
 *   worker                                init
 *   START + root, spec, stdout, stderr ->
 *   MOUNTS + detached mounts           ->      (as many as the spec counts)
 *   KILL                               ->      (perhaps)
 *                                      <-      struct sandbox_report
 *   (closes its end)                           exits, the namespaces die
 */
#ifndef TOOLROOT_WORKER_SANDBOX_INIT_H
#define TOOLROOT_WORKER_SANDBOX_INIT_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "worker/cgroup.h"
#include "worker/namespaces.h"

enum sandbox_request_kind {
	SANDBOX_START = 1,
	SANDBOX_MOUNTS = 2,
	SANDBOX_KILL = 3,
};

struct sandbox_request {
	enum sandbox_request_kind kind;
};

/* Descriptors that come with SANDBOX_START, in this order. More may follow, up
 * to SANDBOX_KEPT_MAX: mounts that the process only has to keep until it ends,
 * since to let go of the last one takes a while. */
enum sandbox_start_fd {
	SANDBOX_FD_ROOT,
	SANDBOX_FD_SPEC,
	SANDBOX_FD_STDOUT,
	SANDBOX_FD_STDERR,
	SANDBOX_FD_COUNT,
};
#define SANDBOX_KEPT_MAX 3

struct sandbox_report {
	struct error error; /* code OK: the program ran */
	int32_t wait_status;
	uint32_t killed;    /* by SANDBOX_KILL */
	int64_t started_ns; /* CLOCK_MONOTONIC, just before execve */
	int64_t ended_ns;
	int64_t user_us; /* all processes of the action together */
	int64_t system_us;
	int64_t max_rss_bytes; /* of its largest process */
	struct cgroup_usage usage;
};

struct sandbox_init_options {
	enum sandbox_tier tier;
	int socket;                  /* to the worker */
	int network;                 /* namespace to enter; -1 = stay */
	int root;                    /* detached mount, to be entered */
	struct cgroup group;         /* to enter, or to be in (version 2) */
	struct action_limits limits; /* those of the worker */
	size_t slots;                /* actions that run beside this one */
	const struct sock_fprog *filter;
};

/* In the new process. Takes the descriptors; all others are closed. */
void sandbox_init_main(const struct sandbox_init_options *options)
    __attribute__((noreturn));

#endif
