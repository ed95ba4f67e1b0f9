/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the repair share: repair.c (order, the new index),
 * repair_segments.c, repair_files.c, repair_salvage.c (the old index). Not for
 * others.
 */
#ifndef TOOLROOT_CAS_REPAIR_INTERNAL_H
#define TOOLROOT_CAS_REPAIR_INTERNAL_H

#include <time.h>

#include "cas/repair.h"
#include "cas/store_internal.h"

struct repair {
	struct store *store; /* without index and threads */
	struct store_index *index;
	const struct repair_options *options;
	struct repair_report *report;
	struct repair_found *found; /* sound blobs, not in the index yet */
	size_t found_count;
	struct index_write write; /* runs while changes > 0 */
	size_t changes;
	uint64_t told; /* bytes, when progress was told last */
};

/* So many bytes more were read. */
void repair_progress(struct repair *repair, uint64_t bytes);
void repair_tell(struct repair *repair, const char *what, const char *why);
void repair_tell_digest(
    struct repair *repair, const struct digest *digest, const char *why);

/* A transaction of the new index for one more change; it ends after some
 * thousands of them, or with repair_write_end. */
int repair_write_begin(struct repair *repair, struct error *err);
int repair_write_end(struct repair *repair, struct error *err);

/* A sound blob, for the new index; of two places the later one counts. */
int repair_add(struct repair *repair, const struct digest *digest,
    const struct place *place, struct error *err);
/* Writes what repair_add was given to the index. */
int repair_flush(struct repair *repair, struct error *err);

/* All records of all segments; *end: where the log goes on. */
int repair_segments(
    struct repair *repair, struct log_position *end, struct error *err);
/* All files of large blobs; bad ones are removed. */
int repair_files(struct repair *repair, struct error *err);
/* What they are going to read. */
int repair_measure_segments(
    struct repair *repair, uint64_t *bytes, struct error *err);
int repair_measure_files(
    struct repair *repair, uint64_t *bytes, struct error *err);
/* Of what was written last at that time, but not of the future. */
uint32_t repair_epoch(time_t seconds);

/* Entries of a table of the old index, in a child, so that a damaged one may
 * crash it. 1 when all were seen, 0 when it ended early, -1: err is visit's. */
typedef int repair_visit_fn(
    struct repair *repair, struct str key, struct str value, struct error *err);
int repair_salvage(struct repair *repair, enum index_table table,
    repair_visit_fn *visit, struct error *err);

#endif
