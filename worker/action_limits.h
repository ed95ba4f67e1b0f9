/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one action may take of its worker: the worker's settings are the most,
 * and platform properties may ask for less (names as Buildfarm has them):
 *
 *	max-mem=2G        bytes of memory, scratch files included; K M G T
 *	max-cores=1.5     CPUs
 *	max-pids=100      processes and threads
 *
 * Being properties they are part of the action's digest. Plain values, pure.
 */
#ifndef TOOLROOT_WORKER_ACTION_LIMITS_H
#define TOOLROOT_WORKER_ACTION_LIMITS_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct error;

/* 0 = no limit. */
struct action_limits {
	uint64_t memory;    /* bytes */
	uint64_t pids;      /* processes and threads */
	uint64_t cpu_milli; /* thousandths of a CPU */
};

/* Less would not start a program, and looks like a slip of the unit. */
#define ACTION_LIMITS_MEMORY_MIN ((uint64_t)4 << 20)
#define ACTION_LIMITS_PIDS_MIN 4
/* A kernel takes no less than a millisecond of each tenth of a second. */
#define ACTION_LIMITS_CPU_MIN 10

/* A decimal number of CPUs, such as 2 or 0.5. INVALID_ARGUMENT. */
int action_limits_parse_cpus(
    struct str text, uint64_t *cpu_milli, struct error *err);
/* INVALID_ARGUMENT for a limit that is below the least. */
int action_limits_check(const struct action_limits *limits, struct error *err);
/* Lowers limits to what the platform asks for; NULL asks for nothing. Asking
 * for more than there is changes nothing. INVALID_ARGUMENT names the property.
 */
int action_limits_lower(struct action_limits *limits,
    const Reapi__Platform *platform, struct error *err);
bool action_limits_equal(
    const struct action_limits *a, const struct action_limits *b);

#endif
