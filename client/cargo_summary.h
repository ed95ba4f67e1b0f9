/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of each call of the compiler in a build: a line at the end, and
 * a file for scripts. Any thread.
 */
#ifndef TOOLROOT_CLIENT_CARGO_SUMMARY_H
#define TOOLROOT_CLIENT_CARGO_SUMMARY_H

#include <stdint.h>

#include "cas/digest.h"

struct cargo_summary;
struct error;

enum cargo_outcome {
	CARGO_OUTCOME_HIT,
	CARGO_OUTCOME_REMOTE,
	CARGO_OUTCOME_LOCAL,
};

struct cargo_summary_row {
	const char *crate;   /* copied, all four */
	const char *package; /* NULL or "" when it has none */
	const char *type;    /* of crate */
	const char *cause;   /* why it was local; NULL or "" otherwise */
	/* The last action that was looked for, as HASH/SIZE; "": none was. */
	char action[DIGEST_TEXT_MAX];
	enum cargo_outcome outcome;
	int64_t start_ms; /* of the call, monotonic */
	int64_t wall_ms;  /* of the call, in the front */
	/* From its start until cargo had the metadata, where that was before
	 * the library; else 0. */
	int64_t metadata_ms;
	int64_t executed_ms; /* of the compiler, when it ran elsewhere */
	uint64_t up;         /* bytes */
	uint64_t down;
};

struct cargo_summary *cargo_summary_new(void);
void cargo_summary_free(struct cargo_summary *summary);
void cargo_summary_add(
    struct cargo_summary *summary, const struct cargo_summary_row *row);
/* A fact about the whole build, told once. */
void cargo_summary_note(struct cargo_summary *summary, const char *text);

struct cargo_summary_counts {
	uint64_t hits;
	uint64_t remote;
	uint64_t local;
};
/* Up to now. */
struct cargo_summary_counts cargo_summary_count(struct cargo_summary *summary);

/* What all wait for, a static text for the progress line; NULL: nothing. */
void cargo_summary_set_status(struct cargo_summary *summary, const char *text);
const char *cargo_summary_status(struct cargo_summary *summary);

/* To standard error; nothing when nothing was called. */
void cargo_summary_print(struct cargo_summary *summary);
/* JSON. */
int cargo_summary_write(
    struct cargo_summary *summary, const char *path, struct error *err);

#endif
