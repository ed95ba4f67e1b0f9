/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One note of the explainer (frontend/explainer.h): the action is read, found
 * in the history or compared with its like, and remembered; a miss is counted
 * by cause and logged. Blocks; one thread at a time.
 */
#ifndef TOOLROOT_FRONTEND_EXPLAIN_JOB_H
#define TOOLROOT_FRONTEND_EXPLAIN_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"
#include "frontend/note.h"

struct collector;
struct history;
struct metric_family;
struct store;

/* All are borrowed. */
struct explain_job_tools {
	struct store *store;
	struct history *history;
	struct collector *collector; /* who knows why results went; or NULL */
	struct metric_family *by_toolchain; /* labels toolchain and cause */
	atomic_uint_least64_t *misses;      /* by cause */
};

struct explain_job {
	bool miss;
	bool result; /* there is one now */
	bool known;  /* what it was for is not told, since it is remembered */
	struct str instance;
	struct digest action;
	struct note_texts texts;
};

/* Whether the action is remembered now: false when it was said to be known, and
 * has been forgotten. */
bool explain_job_run(
    const struct explain_job_tools *tools, const struct explain_job *job);

#endif
