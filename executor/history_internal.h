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
	SUBJECTS = HISTORY_SUBJECTS,
};

#define SUBJECT_SIZE HISTORY_SUBJECT_SIZE

/* What several entries were for. Shared by them, counted. */
struct subject_node {
	char key[SUBJECT_SIZE];
	struct entry *latest; /* NULL: that one is gone */
	size_t entries;
};

/* Entries of one build share it. */
struct invocation {
	size_t users;
	struct str text; /* owned */
};

struct entry {
	struct str key;  /* instance and action digest; owned */
	uint64_t number; /* of its record */
	struct str instance;
	struct digest action;
	struct str target; /* owned, as the texts below */
	struct str mnemonic;
	struct invocation *invocation; /* that used it last */
	int64_t used_ns;               /* then */
	bool result;
	bool superseded;          /* no more the latest of all its subjects */
	bool changed;             /* in the list of changes */
	bool taken;               /* in the list of what is being stored */
	bool stored;              /* has a record */
	bool missed;              /* the fields of miss are set */
	struct history_miss miss; /* texts but the summary: see above */
	struct str miss_invocation;
	struct str summary;
	struct subject_node *subjects[SUBJECTS]; /* NULL: has none */
	TAILQ_ENTRY(entry) link;
	TAILQ_ENTRY(entry) change; /* when changed */
	TAILQ_ENTRY(entry) taking; /* when taken */
};

/* The record of an entry that is gone, to be removed. */
struct removed {
	uint64_t number;
	STAILQ_ENTRY(removed) link;
};

STAILQ_HEAD(removed_list, removed);

struct history {
	struct history_limits limits; /* constant */
	pthread_mutex_t lock;         /* guards what follows */
	struct map actions;           /* entry.key -> entry */
	struct map subjects;          /* key -> subject_node */
	/* Used last first, but for uses of the last minute. */
	TAILQ_HEAD(entry_list, entry) entries;
	struct invocation *invocation; /* seen last; NULL at first */
	size_t bytes;
	uint64_t last_number;        /* that was given to an entry */
	TAILQ_HEAD(, entry) changes; /* the first that changed first */
	size_t change_count;         /* of both lists of changes */
	struct removed_list removed;
	TAILQ_HEAD(, entry) taken; /* by history_take_changes */
	struct removed_list removed_taken;
};

/* A copy, cut at HISTORY_TEXT_MAX; no lock. */
struct str history_copy_text(struct str text);
/* For history_take_changes. */
void history_mark_changed(struct history *history, struct entry *entry);
void history_remove_record(struct history *history, uint64_t number);
void history_free_removed(struct removed_list *list);
/* A new entry becomes the latest of its subjects. history_shrink afterwards. */
void history_insert(struct history *history, struct entry *entry,
    const struct history_subjects *subjects);
/* Drops what is above the limits, what was used longest ago first. */
void history_shrink(struct history *history);
/* With its keys, and nothing else; no lock. */
struct entry *history_entry_new(
    struct str instance, const struct digest *action);
void history_entry_free(struct entry *entry);
/* One with the text, which is counted as used once more. */
struct invocation *history_invocation(struct history *history, struct str text);

#endif
