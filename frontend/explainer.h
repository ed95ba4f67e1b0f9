/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches the action cache and finds out why actions miss: keeps the history
 * (executor/history.h) and, off the hot path, one after the other on a thread
 * of its own, reads and compares actions (frontend/explain_job.h). That waits
 * while the server or the machine is busy (frontend/explain_pace.h). A bounded
 * number waits; above it the oldest are dropped and counted.
 *
 * A miss is a look-up without result that is followed by an execution or by
 * the client's own result; a look-up alone is not, since clients may ask twice
 * or give up. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_EXPLAINER_H
#define TOOLROOT_FRONTEND_EXPLAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "executor/explain.h"

struct action_key;
struct collector;
struct explainer;
struct history;
struct metrics;
struct setting_list;
struct store;

/* Both are borrowed; metrics gets the misses by toolchain. */
struct explainer *explainer_new(struct store *store, struct metrics *metrics);
/* Before it starts: what happens in these instances is passed over. Names are
 * borrowed. */
void explainer_leave_out(
    struct explainer *explainer, const struct setting_list *instances);
/* Whether it passes over this one. */
bool explainer_leaves_out(
    const struct explainer *explainer, struct str instance);
/* Begins to explain. The collector knows why results went. NULL is allowed. */
void explainer_start(struct explainer *explainer, struct collector *collector);
/* Stores what the history has learned since the last time, so that a restart
 * does not forget it; what cannot be stored is kept for the next time. Blocks;
 * NULL is allowed. */
void explainer_save(struct explainer *explainer);
/* When nobody notes anything any more, and no thread that did is about to end:
 * what waits is looked at, for a bounded time; what is left then is dropped,
 * counted and logged. Saves, too. NULL is allowed. */
void explainer_free(struct explainer *explainer);

enum explainer_event {
	EXPLAINER_HIT,       /* the cache answered */
	EXPLAINER_NO_RESULT, /* GetActionResult found nothing: no miss yet */
	EXPLAINER_EXECUTES,  /* no result, and it will be executed: a miss */
	EXPLAINER_UPDATED,   /* a client has written the result: a miss when it
			      * had looked for it */
	EXPLAINER_STORED,    /* a worker's result was stored */
};

/* Before a look-up: what its hit will need is fetched meanwhile. Returns what
 * explainer_note_hit is given. NULL is allowed. */
__attribute__((hot)) uint64_t explainer_expect(
    const struct explainer *explainer, const struct action_key *key);
/* The same as EXPLAINER_HIT, for less. */
__attribute__((hot)) void explainer_note_hit(struct explainer *explainer,
    const struct action_key *key, uint64_t expected,
    struct str request_metadata);
/* Never blocks; what it keeps is copied. request_metadata: encoded, or empty.
 * explainer may be NULL: then nothing happens. */
void explainer_note(struct explainer *explainer, enum explainer_event event,
    const struct action_key *key, struct str request_metadata);

/* For what people ask. NULL for NULL. */
struct history *explainer_history(struct explainer *explainer);

/* Somebody asks: how many notes there were, and how many of them were looked
 * at. What waits is looked at without pause. */
void explainer_progress(
    struct explainer *explainer, uint64_t *noted, uint64_t *explained);

struct explainer_statistics {
	uint64_t misses[EXPLAIN_CAUSES];
	uint64_t dropped; /* misses and results: too many were waiting */
	uint64_t dropped_hits;
	uint64_t waiting;
	uint64_t save_failures;
	uint64_t unsaved; /* changes of the history that are not stored yet */
};
void explainer_statistics(
    struct explainer *explainer, struct explainer_statistics *statistics);

#endif
