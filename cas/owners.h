/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which instance the store's content counts for. Each instance that writes
 * gets a number, its owner number, which stands with every blob that it was
 * the first to write and with its action results; 0 stands where none was
 * recorded (stores of earlier programs, caches of workers). What others write
 * again or read costs them nothing.
 *
 * An instance may have a quota: writes beyond it are refused, and the collector
 * (cas/collector.h) drops what it has and has not used for longest. And a
 * floor: so much of it a collection leaves it. Both are kept in the store, so
 * that commands on the store of no server know them.
 *
 * Any thread. The table is guarded by store.usage_lock, as what is promised to
 * writers.
 */
#ifndef TOOLROOT_CAS_OWNERS_H
#define TOOLROOT_CAS_OWNERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct error;
struct store;

/* Numbers for instances that have neither quota nor floor: names come from
 * clients. Beyond, a new one gets the number of one that has nothing in the
 * store any more; where there is none, it is counted for nobody. */
#define OWNERS_MET_MAX 4096
/* Bytes; longer names have no number, and no limits. */
#define OWNER_NAME_MAX 512u

/* The instance's number; 0 when there is none left, the store is read-only, or
 * the disk is too full to note a new one: what is written meanwhile counts for
 * nobody. Blocks when it is met for the first time. */
int store_owner(struct store *store, struct str instance, uint16_t *owner,
    struct error *err);
/* The same without blocking: false when store_owner might. */
bool store_owner_known(
    struct store *store, struct str instance, uint16_t *owner);

struct owner_limits {
	struct str instance;
	uint64_t quota; /* bytes; 0 = none */
	uint64_t floor;
};
/* Sets the limits of those named, and takes them from all others. Blocks;
 * nothing is written when they stand already. INVALID_ARGUMENT for a name that
 * is too long. */
int store_set_owner_limits(struct store *store,
    const struct owner_limits *limits, size_t count, struct error *err);

/* Whether any instance has a quota. */
bool store_has_quotas(struct store *store);

struct owner_report {
	uint16_t number;
	bool named;          /* false: its name was lost with an index */
	struct str instance; /* owned by the list */
	uint64_t bytes;      /* in use, and promised to writes under way */
	uint64_t uploading;  /* of bytes: to uploads not whole yet */
	uint64_t stored;     /* of bytes: in use */
	uint64_t blobs;
	uint64_t results;
	uint64_t quota;
	uint64_t floor;
};
struct owner_list {
	struct owner_report *items; /* by number */
	size_t count;
};
/* All that have something, or limits; a read-only store asks the index. The
 * caller clears the list, also on failure. */
int store_owners(
    struct store *store, struct owner_list *list, struct error *err);
void owner_list_clear(struct owner_list *list);
/* NULL when it is not there. */
const struct owner_report *owner_list_find(
    const struct owner_list *list, struct str instance);

#endif
