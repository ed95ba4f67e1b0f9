/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last collections that removed something, so that what is gone can be
 * told when it went, and why. Kept in the store (cas/records.h) over restarts.
 * One thread at a time.
 */
#ifndef TOOLROOT_CAS_COLLECTION_PAST_H
#define TOOLROOT_CAS_COLLECTION_PAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct store;

enum collection_reason {
	COLLECTION_BY_SIZE = 1, /* the store was above its high mark */
	COLLECTION_BY_WISH = 2, /* somebody asked for room */
	COLLECTION_BY_AGE = 3,  /* somebody asked for what is old */
};

struct collection_event {
	int64_t time_ns;         /* wall clock */
	int64_t youngest_age_ms; /* what was used less long before stayed */
	enum collection_reason reason;
};

#define COLLECTION_PAST_MAX 64
struct collection_past {
	struct collection_event events[COLLECTION_PAST_MAX]; /* oldest first */
	size_t count;
};

/* Without those that are damaged or cannot be read. */
void collection_past_load(struct collection_past *past, struct store *store);
/* Adds it, over the oldest if need be, and stores all. Blocks. */
int collection_past_add(struct collection_past *past, struct store *store,
    const struct collection_event *event, struct error *err);
/* The collection that took what was used last at used_ns; false: none of
 * them. */
bool collection_past_find(const struct collection_past *past, int64_t used_ns,
    struct collection_event *event);

#endif
