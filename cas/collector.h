/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector: keeps a store below its limit by dropping what was not used
 * for longest. docs/garbage-collection.md tells the story for operators.
 *
 * What goes: action results and blobs in the order of their epochs (ten
 * minutes wide), results before the blobs of the same age. A result is never
 * younger than the blobs that it names, so none outlives them; those of the
 * last epoch, of which only a part goes, are checked afterwards. Then segments
 * that nothing uses are unlinked and mostly dead ones are compacted.
 *
 * What stays: whatever was written, found or read less than min_age ago; what
 * hangs below a pin, a name (cas/names.h) or another root; what a look-up said
 * is present since the collection began (store_touch in cas/store_internal.h).
 * Handles on blobs stay readable in any case.
 *
 * A write that is refused for lack of room makes the watching thread collect
 * too, below the high mark, if what may go is enough for it. One of more than a
 * third of the limit does not: a declared size alone must not empty a store.
 *
 * An instance with a quota (cas/owners.h) is collected by itself, in the same
 * way, with its quota for the limit. One with a floor keeps so much of what it
 * has, and loses only what is above it, in all collections but those that name
 * it.
 *
 * It works in small transactions through the committer's queue, so writes go on
 * between them. One collection runs at a time. A thread of its own watches the
 * high mark; collector_collect may be called from any thread and blocks.
 */
#ifndef TOOLROOT_CAS_COLLECTOR_H
#define TOOLROOT_CAS_COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/collection_past.h"

struct collection_details;
struct error;
struct keep;
struct store;

#define COLLECTOR_MIN_AGE_MS ((int64_t)3 * 60 * 60 * 1000)
#define COLLECTOR_HIGH_PERCENT 90
#define COLLECTOR_LOW_PERCENT 80

/* What high_percent and low_percent are of a limit. */
uint64_t collection_percent(uint64_t bytes, unsigned percent);

struct collector_options {
	struct store *store;   /* borrowed, writable */
	int64_t min_age_ms;    /* nothing younger goes */
	unsigned high_percent; /* of the store's limit: a collection begins; 0 =
				* COLLECTOR_HIGH_PERCENT */
	unsigned low_percent;  /* and ends; 0 = COLLECTOR_LOW_PERCENT */
	/* Whether a thread watches the high mark. */
	bool watch;
	/* Adds what must stay beside the pins (inputs of operations): asked at
	 * the start of each collection. -1 puts the collection off. May be
	 * NULL. */
	int (*roots)(void *cookie, struct keep *keep, struct error *err);
	void *cookie;
};

struct collector;

struct collector *collector_new(
    const struct collector_options *options, struct error *err);
/* Breaks off what runs, which ends with ABORTED, and lets nothing begin. */
void collector_stop(struct collector *collector);
/* Waits for the thread; a collection that runs is broken off. NULL is
 * allowed. */
void collector_free(struct collector *collector);

/* What a collection is to do. With all of it 0: down to the low mark, if the
 * store is above. */
struct collection_wish {
	bool run;             /* false: only tell */
	bool sized;           /* target_size counts */
	uint64_t target_size; /* bytes that the store may take afterwards */
	int64_t max_age_ms;   /* what was not used for longer goes; 0 = no such
			       * bound */
	/* data NULL: all. Else only what this instance has: its results, and
	 * the blobs that it was the first to write. Sizes are its use then, and
	 * its quota stands for the limit. Results of others that lose a blob go
	 * too. */
	struct str instance;
	/* Of the toolchains with a name, only so many of each instance stay
	 * whatever their age, those used last; other names are removed, unless
	 * used within min_age. */
	bool limit_toolchains;
	uint64_t keep_toolchains;
	/* Filled when not NULL (cas/collector_details.h): shares by a plan
	 * only, roots in any case. Initialised by its owner. */
	struct collection_details *details;
};

/* What a wish's sizes are measured by. */
struct collection_extent {
	uint64_t bytes;     /* in use; of what is promised to open uploads no
			     * more than a third of the limit */
	uint64_t max_bytes; /* the limit; 0: there is none */
};
/* Of the store (instance.data NULL), or of an instance; one that has nothing
 * has 0 bytes. */
int collection_extent(struct store *store, struct str instance,
    struct collection_extent *extent, struct error *err);

/* What went, or would go. */
struct collection_report {
	uint64_t bytes_before;
	uint64_t bytes_after; /* a plan: an estimate */
	uint64_t max_bytes;
	uint64_t blobs;
	uint64_t blob_bytes;
	uint64_t files; /* of the blobs */
	uint64_t results;
	uint64_t result_bytes;
	uint64_t segments_removed;
	uint64_t segments_compacted; /* of those removed */
	uint64_t moved_bytes;
	/* What stays although it is old enough. */
	uint64_t kept_blobs;
	uint64_t kept_bytes;
	/* Of what is old enough, what floors keep. */
	uint64_t floor_bytes;
	/* What stays since it is younger than min_age. */
	uint64_t young_blobs;
	uint64_t young_bytes;
	uint64_t roots;         /* pins and others */
	uint64_t dropped_names; /* of toolchains */
	/* Of what went, or up to ten minutes more; -1: nothing did. */
	int64_t youngest_age_ms;
	int64_t oldest_age_ms; /* of what is too young; -1: nothing */
	int64_t min_age_ms;
	bool short_of; /* the target was not reached: the rest is too young or
			* kept */
};

/* Blocks. ABORTED when the collector is being freed, NOT_FOUND when nobody has
 * the name of the wish's instance. */
int collector_collect(struct collector *collector,
    const struct collection_wish *wish, struct collection_report *report,
    struct error *err);

/* What a collection is at. */
enum collection_phase {
	COLLECTION_NONE,
	COLLECTION_ROOTS,      /* what has to stay */
	COLLECTION_COUNTING,   /* all entries, by age */
	COLLECTION_DROPPING,   /* entries, to find those that go */
	COLLECTION_COMPACTING, /* segments */
	COLLECTION_ENDED,
};
struct collection_progress {
	enum collection_phase phase;
	uint64_t done; /* of the phase; they may come more than once */
	uint64_t total;
	uint64_t dropped_bytes; /* by the collection; of a plan: would be */
};
/* Of the collection that runs, or of the last. Any thread. */
void collector_progress(
    struct collector *collector, struct collection_progress *progress);

/* The collection that took what was used last at used_ns (wall clock); false:
 * none that is remembered. Any thread. */
bool collector_find_past(struct collector *collector, int64_t used_ns,
    struct collection_event *event);

/* Since the store was opened. Any thread. */
struct collector_statistics {
	uint64_t collections;
	uint64_t failures;
	uint64_t blobs;
	uint64_t bytes;
	uint64_t results;
	uint64_t moved_bytes;
	/* Of what the last that removed something removed, in seconds; 0: none
	 * did. The number that says "too small". */
	uint64_t youngest_age_s;
};
void collector_statistics(
    struct collector *collector, struct collector_statistics *statistics);

#endif
