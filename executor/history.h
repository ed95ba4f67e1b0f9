/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The actions that were asked for lately, so that a miss can be compared with
 * the nearest earlier action: the last one with the same target and outputs,
 * else with the same target and mnemonic if it was used in another invocation,
 * else with the same outputs. And why the misses among them were misses. Of an
 * instance never another's.
 *
 * In memory and bounded by entries and bytes; what was used longest ago goes
 * first. Whoever wants it kept over a restart stores what history_take_changes
 * gives, and gives it to history_restore at the start.
 *
 * Any thread; one lock inside, which guards everything.
 */
#ifndef TOOLROOT_EXECUTOR_HISTORY_H
#define TOOLROOT_EXECUTOR_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"
#include "executor/explain.h"

struct arena;
struct history;

struct history_limits {
	size_t entries;
	size_t bytes;
};

/* Texts above this are cut. */
#define HISTORY_TEXT_MAX 512u

struct history *history_new(const struct history_limits *limits);
/* NULL is allowed. */
void history_free(struct history *history);

/* Which action, and when and by whom it was asked for. */
struct history_use {
	struct str instance;
	struct digest action;
	struct str invocation; /* RequestMetadata.tool_invocation_id */
	int64_t now_ns;        /* wall clock */
	bool result;           /* it has a result now */
};

/* What is needed to find its like. Borrowed. */
struct history_action {
	struct history_use use;
	struct str target;
	struct str mnemonic;
	const struct str *outputs; /* as the command lists them */
	size_t output_count;
};

/* What it was for, as keys: made once, since hashing them is most of the work
 * of finding and adding an action. */
#define HISTORY_SUBJECTS 4
#define HISTORY_SUBJECT_SIZE 33 /* which one, and a SHA-256 */
struct history_subjects {
	char keys[HISTORY_SUBJECTS][HISTORY_SUBJECT_SIZE];
	bool present[HISTORY_SUBJECTS];
};

/* Pure. */
void history_subjects_of(
    const struct history_action *action, struct history_subjects *subjects);

/* False when the action is not known: then add it. */
bool history_use(struct history *history, const struct history_use *use);
/* Adds it, or does what history_use does. The subjects are the action's. */
void history_add(struct history *history, const struct history_action *action,
    const struct history_subjects *subjects);
/* Whether it is there, and had a result when it was used last. */
bool history_knows(struct history *history, struct str instance,
    const struct digest *action, bool *result);
/* When that was, by the wall clock; 0: it is not there. */
int64_t history_last_use(
    struct history *history, struct str instance, const struct digest *action);

/* 1 and *previous, the nearest earlier action; 0. Before history_add. */
int history_previous(struct history *history,
    const struct history_action *action,
    const struct history_subjects *subjects, struct digest *previous);

struct history_miss {
	struct digest action;
	struct digest previous; /* when has_previous */
	bool has_previous;
	enum explain_cause cause;
	int64_t time_ns; /* wall clock */
	struct str invocation;
	struct str target;
	struct str mnemonic;
	struct str summary;
};

/* Keeps why it was a miss, in place of an earlier one's. Copies; target and
 * mnemonic are not looked at. Nothing happens when the action is not there any
 * more. */
void history_put_miss(struct history *history, struct str instance,
    const struct history_miss *miss);

/* Texts in the arena. hash: in hexadecimal, of the action. 1, 0. */
int history_find_miss(struct history *history, struct str instance,
    struct str hash, struct arena *arena, struct history_miss *miss);
/* The invocation that used any action last; "" when there is none. */
struct str history_last_invocation(
    struct history *history, struct str instance, struct arena *arena);
/* Those whose invocation or target is `of`, or whose target begins with its
 * words, the newest first; all when that is empty. Returns how many. */
size_t history_list_misses(struct history *history, struct str instance,
    struct str of, struct arena *arena, struct history_miss *misses,
    size_t limit);

/* --- keeping ---------------------------------------------------------------
 * What has changed and is not taken yet: entries that came, missed, or got or
 * lost their result; a use alone is no change. */
/* Numbers are those of the order in which actions came, so that what comes
 * together is kept together. One is never given to another action. */
struct history_record {
	uint64_t number;  /* from 1 on */
	struct str value; /* a RememberedAction; data NULL: it is gone */
};
/* Up to count of them; returns how many. The caller frees the values, which
 * are malloced, and settles before more are taken. One thread at a time. */
size_t history_take_changes(
    struct history *history, struct history_record *changes, size_t count);
/* What was taken last is stored, or it is not: then it will be given again. */
void history_settle_changes(struct history *history, bool stored);
/* How many are to be taken. */
size_t history_count_changes(struct history *history);
/* Before anything is added: records in any order. One that is malformed is
 * passed over, and will be among those that are gone; returns how many were
 * taken in. */
size_t history_restore(struct history *history,
    const struct history_record *records, size_t count);

#endif
