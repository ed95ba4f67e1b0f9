/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small records of other modules, kept in the index (table meta) under a prefix
 * of their own, with the durability of everything there. What they take is not
 * counted against the store's limit: whoever writes them bounds them. Any
 * thread; all block.
 */
#ifndef TOOLROOT_CAS_RECORDS_H
#define TOOLROOT_CAS_RECORDS_H

#include <stddef.h>

#include "base/str.h"

struct error;
struct store;

#define RECORD_KEY_MAX 200 /* bytes, the prefix included */

struct record {
	struct str key;   /* without the prefix */
	struct str value; /* data NULL removes it */
};

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
