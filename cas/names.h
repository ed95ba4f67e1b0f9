/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names for trees in the store: a name of an instance points to a Directory
 * and keeps all below it (the collector takes names as roots), and carries
 * details that the store does not look at. Kept in the index, so that a name
 * and the blobs it needs are one transaction. Any thread.
 */
#ifndef TOOLROOT_CAS_NAMES_H
#define TOOLROOT_CAS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct arena;
struct digest_list;
struct error;
struct store;

#define NAMES_NAME_MAX 100u /* bytes */
#define NAMES_DETAILS_MAX (256u << 10)
#define NAMES_INSTANCE_LENGTH 32
/* Of all instances. */
#define NAMES_MAX 10000u

struct name_key {
	struct str instance;
	struct str name;
};

struct name_entry {
	struct digest root;
	int64_t created_ns; /* wall clock */
	struct str details;
	/* Walks set it, nobody else looks: the SHA-256 of the instance. */
	const uint8_t *instance;
};

/* One to NAMES_NAME_MAX letters, digits, ".", "_", "-" and "+", the first a
 * letter or digit: INVALID_ARGUMENT for any other name. */
int names_check(struct str name, struct error *err);

/* Durable when it returns. blobs are those that the tree needs, which counts as
 * use of them: FAILED_PRECONDITION names the first that is absent. 1 when the
 * name stood for *previous before, 0 when it is new, -1. RESOURCE_EXHAUSTED
 * past the limits. Blocks. */
int names_put(struct store *store, const struct name_key *key,
    const struct name_entry *entry, const struct digest_list *blobs,
    struct digest *previous, struct error *err);
/* 1, with the details in arena, 0, -1. */
int names_get(struct store *store, const struct name_key *key,
    struct arena *arena, struct name_entry *entry, struct error *err);
/* 1 removed, 0 not there, -1. Blocks. */
int names_remove(
    struct store *store, const struct name_key *key, struct error *err);

/* Borrowed for the call. -1 ends the walk. */
typedef int names_visit_fn(void *cookie, struct str name,
    const struct name_entry *entry, struct error *err);
/* Up to count names of the instance that come after a name ("" = from the
 * start), in bytewise order. 1 when there are more, 0, -1. */
int names_list(struct store *store, const struct name_key *after, size_t count,
    names_visit_fn *visit, void *cookie, struct error *err);
/* As names_remove, by what a walk told; 0 as well when the name has been put
 * anew since, which leaves it. Blocks. */
int names_drop(struct store *store, struct str name,
    const struct name_entry *seen, struct error *err);
/* Whether an entry of the table meta is a name, and well-formed. */
bool names_entry_is_sound(struct str key, struct str value);
/* All names of all instances: what must be kept. */
int names_each(struct store *store, names_visit_fn *visit, void *cookie,
    struct error *err);

#endif
