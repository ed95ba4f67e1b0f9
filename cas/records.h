/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small records of other modules, kept in the index (table meta) under
 * "record/" and a prefix of their own, with the durability of everything there.
 * What they take is not counted against the store's limit: whoever writes them
 * bounds them. Any thread; all block.
 */
#ifndef TOOLROOT_CAS_RECORDS_H
#define TOOLROOT_CAS_RECORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct error;
struct store;

#define RECORD_KEY_MAX 200 /* bytes, the prefix included */

struct record {
	struct str key;   /* without the prefix */
	struct str value; /* data NULL removes it */
};

/* Whether an entry of the table meta is a record. Nothing more is known of it
 * here: one that is damaged is its reader's to pass over. */
bool records_entry_is_one(struct str key);

/* All of them in one transaction; durable when it returns. */
int records_write(struct store *store, const char *prefix,
    const struct record *records, size_t count, struct error *err);

/* Borrowed for the call. -1 ends the walk. */
typedef int record_visit_fn(
    void *cookie, const struct record *record, struct error *err);
/* All with the prefix, in the order of their keys; none has an empty key. */
int records_each(struct store *store, const char *prefix,
    record_visit_fn *visit, void *cookie, struct error *err);

#endif
