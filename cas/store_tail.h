/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tail of the log: the records past the position that the index reached.
 * A writer reads it once, when it opens the store: what was acknowledged
 * before a crash is there. A read-only process reads on in it whenever it
 * misses a blob, so it sees what the writer acknowledged a moment ago.
 *
 * Records are believed when their checksums are right; they were verified
 * before they were written. A reader may see one that is written but not
 * synced yet: whole, and gone with the machine if the power fails.
 *
 * The writer keeps the tail below about 100 MiB (store_indexer.c), which bounds
 * both uses.
 */
#ifndef TOOLROOT_CAS_STORE_TAIL_H
#define TOOLROOT_CAS_STORE_TAIL_H

#include "cas/store_pending.h"

struct error;
struct store;

/* The writer, before its threads start: all sound records of the tail become
 * pending, synced. *end is where the log goes on. Blocks. */
int tail_recover(
    struct store *store, struct log_position *end, struct error *err);

/* Where a read-only process has come to. */
struct tail;

struct tail *tail_new(void);
/* NULL is allowed. */
void tail_free(struct tail *tail);
/* What came since becomes pending, what is in the index by now is forgotten.
 * Any thread of a read-only store. Blocks on the disk when it lags far. */
int tail_refresh(struct store *store, struct error *err);

#endif
