/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the collector share: collector.c (one collection at a
 * time), collector_extent.c (what it is measured by), collector_watch.c (what
 * the thread does), collector_survey.c (what there is, how old, where to cut),
 * collector_classes.c (whose it is), collector_pick.c (which of an age),
 * collector_sweep.c (results and blobs), collector_segments.c (their bytes).
 * Not for others.
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

/* Entries that are cut at an age of their own: what one owner has (one with a
 * floor, or the only one that is asked for), or all that no other class has. */
struct collection_class {
	uint16_t owner;     /* 0: all others */
	uint64_t allowance; /* bytes that may go; UINT64_MAX = all */
	bool nothing;       /* no cutoff: nothing goes */
	/* Epochs before the cutoff go, and of its own as much as says rest. */
	uint32_t cutoff;
	uint64_t rest; /* bytes; UINT64_MAX = all of it */
	/* What the rest is taken of (collector_pick.c): of files, and no
	 * record goes; or of a segment, and files and earlier segments go; or
	 * of results, and all blobs go. */
	enum { REST_OF_FILES, REST_OF_SEGMENT, REST_OF_RESULTS } rest_of;
	uint32_t segment;
	struct survey_bucket *buckets; /* from the limit backwards */
};

/* How far it is, for those who watch: any thread reads. */
struct collection_meter {
	atomic_uint phase; /* enum collection_phase */
	atomic_uint_least64_t done;
	atomic_uint_least64_t total;
	atomic_uint_least64_t dropped;
};

/* One collection. Owned by the thread that runs it. */
struct collection {
	struct store *store;
	const atomic_bool *stopping;
	struct collection_meter *meter;
	const struct collection_wish *wish;
	struct collection_report *report;
	int64_t min_age_ms;
	struct keep keep;
	uint32_t now; /* minutes since 1970, when it began */
	/* The youngest epoch that min_age lets go; all else stays. */
	uint32_t limit;
	bool limited_out; /* none does */
	uint16_t owner;   /* of the wish's instance; 0: it has no number */
	struct collection_class *classes; /* the first is all others */
	size_t class_count;
	uint16_t *class_of; /* by owner */
	uint32_t youngest;  /* epoch of what went, 0 = nothing did */
	uint32_t oldest;    /* of what is too young, UINT32_MAX = nothing */
};

struct action_value;

/* ABORTED when the collector is being freed. */
int collection_check(const struct collection *collection, struct error *err);
/* Sets the owner of the wish's instance. NOT_FOUND when nobody has that name.
 */
int collection_find_instance(struct collection *collection, struct error *err);
/* Tells that a phase begins, and so many steps of it. */
void collection_begin(const struct collection *collection,
    enum collection_phase phase, uint64_t total);
void collection_advance(const struct collection *collection, uint64_t steps);
/* Entries of the tables that passes go over. */
uint64_t collection_entries(const struct collection *collection);
/* The epoch that counts: no entry is older than the index's floor. */
uint32_t collection_epoch(uint32_t epoch, const struct index_state *state);
/* The same as the cutoffs are told: all that is older than the survey's last
 * bucket has that one's epoch. */
uint32_t collection_cut_epoch(const struct collection *collection,
    uint32_t epoch, const struct index_state *state);
/* (Re)makes the classes, by what each owner has now. */
int collection_classify(struct collection *collection, struct error *err);
void collection_classes_clear(struct collection *collection);
/* NULL when the wish does not concern it. */
struct collection_class *collection_class_of_blob(
    const struct collection *collection, const struct place *place);
struct collection_class *collection_class_of_result(
    const struct collection *collection, const struct action_value *value,
    uint16_t owner);

/* Fills keep: pins, names, and what options->roots adds. Removes names of
 * toolchains beyond the wish's number. */
int collection_roots(struct collection *collection,
    const struct collector_options *options, struct error *err);

/* Counts everything by age and sets the cutoffs, so that `needed` bytes go, and
 * all that is older than the wish's max_age. The report gets what stays. */
int collection_survey(
    struct collection *collection, uint64_t needed, struct error *err);
/* Chooses what goes of an epoch that goes in part. */
int collection_pick(struct collection *collection,
    struct collection_class *class, struct error *err);
/* Removes what the cutoffs say. */
int collection_sweep(struct collection *collection, struct error *err);
/* Bytes in sealed segments that nothing uses. */
int collection_dead_bytes(
    struct collection *collection, uint64_t *bytes, struct error *err);
/* Unlinks unused segments and compacts: those that are mostly dead, and while
 * the store takes more than target, those with a tenth to win. */
int collection_reclaim(
    struct collection *collection, uint64_t target, struct error *err);
/* For the thread: options are borrowed. */
struct collector_watch;
struct collector_watch *collector_watch_new(
    struct collector *collector, const struct collector_options *options);
/* NULL is allowed. */
void collector_watch_free(struct collector_watch *watch);
/* Looks once, and collects where it is needed. */
void collector_watch_run(struct collector_watch *watch);

/* Removes segment files that the index does not know and the log has passed:
 * left by a crash. */
int collection_remove_strays(struct store *store, struct error *err);

#endif
