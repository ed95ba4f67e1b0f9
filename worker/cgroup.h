/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control group of one action, as its sandbox's first process uses it:
 *
 *	cgroup_join(&group, &err);             once, nobody waits
 *	cgroup_set_limits(&group, &limits, &err);
 *	cgroup_start(&group, &start);
 *	... the action runs and ends ...
 *	cgroup_lift_memory(&group);            so that there is room to report
 *	cgroup_measure(&group, &limits, &start, &usage);
 *
 * Groups are kept and used again (worker/cgroup_tree.h), hence the start, of
 * which differences are taken. Versions 1 and 2 of the kernel's interface
 * (Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst).
 */
#ifndef TOOLROOT_WORKER_CGROUP_H
#define TOOLROOT_WORKER_CGROUP_H

#include <stdint.h>

#include "worker/action_limits.h"

struct clone_args;
struct error;

enum cgroup_kind {
	CGROUP_NONE, /* the host gives us none */
	CGROUP_V1,
	CGROUP_V2,
};

/* "none", "cgroup-v1", "cgroup-v2". */
const char *cgroup_kind_name(enum cgroup_kind kind);

enum cgroup_controller {
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_CPU,
	CGROUP_IO,
	CGROUP_CONTROLLERS,
};

struct cgroup {
	enum cgroup_kind kind;
	unsigned number; /* its name */
	/* Of the group below each controller; -1 where there is none. On
	 * version 2 they are all the same directory. */
	int directories[CGROUP_CONTROLLERS];
	/* Version 2 keeps a peak for each descriptor of the file; -1. */
	int peak;
};

struct cgroup_usage {
	uint64_t memory_peak; /* bytes; 0 where it is not known */
	/* Processes that the kernel ended for want of memory: in the group, or
	 * around it, which memory_refused tells apart. */
	uint64_t oom_kills;
	uint64_t memory_refused; /* times that the group's limit was met */
	uint64_t pids_refused;
	uint64_t read_bytes; /* of block devices */
	uint64_t written_bytes;
};

/* Nothing open. */
void cgroup_init(struct cgroup *group);
void cgroup_clear(struct cgroup *group);

/* Has the new process be born in the group, where that can be (version 2). */
void cgroup_clone_into(const struct cgroup *group, struct clone_args *args);
/* Moves the calling process, which must have one thread, into the group; on
 * version 2 it was born there. */
int cgroup_join(const struct cgroup *group, struct error *err);
/* Those for which the group has a controller. */
int cgroup_set_limits(const struct cgroup *group,
    const struct action_limits *limits, struct error *err);
/* Of an action that has ended. */
void cgroup_lift_memory(const struct cgroup *group);
void cgroup_start(struct cgroup *group, struct cgroup_usage *start);
/* limits: those that held for the action. */
void cgroup_measure(const struct cgroup *group,
    const struct action_limits *limits, const struct cgroup_usage *start,
    struct cgroup_usage *usage);

#endif
