/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the collector share: collector.c (the thread, one
 * collection at a time), collector_survey.c (what there is, how old, where to
 * cut), collector_sweep.c (results and blobs), collector_segments.c (their
 * bytes). Not for others.
 */
#ifndef TOOLROOT_CAS_COLLECTOR_INTERNAL_H
#define TOOLROOT_CAS_COLLECTOR_INTERNAL_H

#include <stdatomic.h>

#include "cas/collector.h"
#include "cas/keep.h"
#include "cas/store_internal.h"

/* Epochs have a grain of ten minutes: what has the epoch e was used before
 * e + EPOCH_GRAIN. */
#define EPOCH_GRAIN 10u
/* About 15 months; what is older counts as that old. */
#define SURVEY_BUCKETS 65536
struct survey_bucket {
	uint64_t bytes;
	uint32_t entries;
};

/* One collection. Owned by the thread that runs it. */
struct collection {
	struct store *store;
	const atomic_bool *stopping;
	const struct collection_wish *wish;
	struct collection_report *report;
	int64_t min_age_ms;
	struct keep keep;
	uint32_t now; /* minutes since 1970, when it began */
	/* The youngest epoch that min_age lets go; all else stays. */
	uint32_t limit;
	bool limited_out; /* none does */
	/* Epochs before the cutoff go, and of its own as much as says rest. */
	uint32_t cutoff;
	uint64_t rest;     /* bytes; UINT64_MAX = all of it */
	bool nothing;      /* no cutoff: nothing goes */
	uint32_t youngest; /* epoch of what went, 0 = nothing did */
	uint32_t oldest;   /* of what is too young, UINT32_MAX = nothing */
	struct survey_bucket *buckets; /* from the limit backwards */
};

/* ABORTED when the collector is being freed. */
int collection_check(const struct collection *collection, struct error *err);
/* The epoch that counts: no entry is older than the index's floor. */
uint32_t collection_epoch(uint32_t epoch, const struct index_state *state);
/* What an entry takes. */
uint64_t collection_place_cost(const struct place *place);

/* Fills keep: pins, names, and what options->roots adds. Removes names of
 * toolchains beyond the wish's number. */
int collection_roots(struct collection *collection,
    const struct collector_options *options, struct error *err);

/* Counts everything by age and sets the cutoff, so that `needed` bytes go, and
 * all that is older than the wish's max_age. The report gets what stays. */
int collection_survey(
    struct collection *collection, uint64_t needed, struct error *err);
/* Removes what the cutoff says. */
int collection_sweep(struct collection *collection, struct error *err);
/* Bytes in sealed segments that nothing uses. */
int collection_dead_bytes(
    struct collection *collection, uint64_t *bytes, struct error *err);
/* Unlinks unused segments and compacts: those that are mostly dead, and while
 * the store takes more than target, those with a tenth to win. */
int collection_reclaim(
    struct collection *collection, uint64_t target, struct error *err);
/* Removes segment files that the index does not know and the log has passed:
 * left by a crash. */
int collection_remove_strays(struct store *store, struct error *err);

#endif
