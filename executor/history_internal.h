/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the history share. history.c: entries and finding them;
 * history_record.c: what is kept of them over a restart. Everything under the
 * history's lock, unless it says otherwise. Not for other modules.
 */
#ifndef TOOLROOT_EXECUTOR_HISTORY_INTERNAL_H
#define TOOLROOT_EXECUTOR_HISTORY_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "base/map.h"
#include "executor/history.h"

/* Ways to look for an earlier action, the best first. */
enum subject {
	SUBJECT_TARGET_OUTPUTS,
	SUBJECT_TARGET_NAME, /* of the first output, without its directory */
	SUBJECT_TARGET,
	SUBJECT_OUTPUTS,
	SUBJECTS,
};

#define SUBJECT_SIZE 33 /* which one, and a SHA-256 */

struct entry {
	struct str key; /* instance and action digest; owned */
	uint8_t record_key[HISTORY_KEY_SIZE]; /* a hash of it */
	struct str instance;
	struct digest action;
	struct str target; /* owned, as the texts below */
	struct str mnemonic;
	struct str invocation; /* that used it last */
	int64_t used_ns;       /* then */
	bool result;
	bool changed;             /* in the list of changes */
	bool stored;              /* was taken as a change before */
	bool missed;              /* the fields of miss are set */
	struct history_miss miss; /* texts but the summary: see above */
	struct str miss_invocation;
	struct str summary;
	char subjects[SUBJECTS][SUBJECT_SIZE];
	bool has_subject[SUBJECTS];
	TAILQ_ENTRY(entry) link;
	TAILQ_ENTRY(entry) change; /* when changed */
};

/* The record of an entry that is gone, to be removed. */
struct removed {
	uint8_t key[HISTORY_KEY_SIZE];
	STAILQ_ENTRY(removed) link;
};

struct history {
	struct history_limits limits;          /* constant */
	pthread_mutex_t lock;                  /* guards what follows */
	struct map actions;                    /* entry.key -> entry */
	struct map subjects;                   /* -> the latest entry */
	TAILQ_HEAD(entry_list, entry) entries; /* used last first */
	size_t bytes;
	TAILQ_HEAD(, entry) changes; /* the first that changed first */
	STAILQ_HEAD(, removed) removed;
};

/* A copy, cut at HISTORY_TEXT_MAX; no lock. */
struct str history_copy_text(struct str text);
/* Instance and action as a map's key, malloced; no lock. */
struct str history_action_key(struct str instance, const struct digest *action);
/* For history_take_changes. */
void history_mark_changed(struct history *history, struct entry *entry);
/* A new entry becomes the latest of its subjects. history_shrink afterwards. */
void history_insert(struct history *history, struct entry *entry);
/* Drops what is above the limits, what was used longest ago first. */
void history_shrink(struct history *history);
/* With its keys, and nothing else; no lock. */
struct entry *history_entry_new(
    struct str instance, const struct digest *action);
void history_entry_free(struct entry *entry);

#endif
