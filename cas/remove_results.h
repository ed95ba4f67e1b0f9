/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing action results by where they came from: the answer to a poisoned
 * cache. Only results go; the blobs that they name are what their digests say,
 * and age. On a store that is in use or idle. Blocks.
 */
#ifndef TOOLROOT_CAS_REMOVE_RESULTS_H
#define TOOLROOT_CAS_REMOVE_RESULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest_list.h"

struct action_value;
struct error;
struct provenance;
struct store;

/* What is set has to hold, all of it; a pattern with data NULL is not set.
 * Patterns: "*" and "?" stand for any characters (fnmatch), and "//a/..." for
 * //a and all targets in and below it. What a result lacks, no pattern
 * matches. */
struct result_filter {
	struct digest_list actions; /* unique; empty = any */
	struct str instance;        /* data NULL = any */
	const char *target;
	const char *writer;
	const char *worker;
	/* One of its toolchains; DIGEST_UNKNOWN = any. */
	struct digest toolchain;
	/* When it was written, wall clock, ns: from <= t < until; 0 = open. */
	uint64_t from_ns;
	uint64_t until_ns;
};

struct result_removal {
	struct result_filter filter; /* the caller's, borrowed */
	bool run;                    /* false: only tell */
	/* Each that matches; borrowed for the call, in a transaction. -1 ends
	 * the walk. May be NULL. */
	int (*visit)(void *cookie, const struct action_value *value,
	    const struct provenance *provenance, struct error *err);
	void *cookie;
};

struct result_removal_report {
	uint64_t results; /* looked at */
	uint64_t matched;
	uint64_t removed; /* but not those that were replaced meanwhile */
	uint64_t bytes;   /* of those that match, in the index */
	/* Of those looked at, written before provenance was kept. */
	uint64_t unknown;
};

/* INVALID_ARGUMENT when the filter has nothing set: all results would go. */
int results_remove(struct store *store, const struct result_removal *removal,
    struct result_removal_report *report, struct error *err);

/* Whether all that is set holds. */
bool result_filter_matches(const struct result_filter *filter,
    const struct action_value *value, const struct provenance *provenance);
/* The pattern of struct result_filter against a text. */
bool result_pattern_matches(const char *pattern, struct str text);

#endif
