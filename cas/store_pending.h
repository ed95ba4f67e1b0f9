/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs that are in the log (records of segments, synced and acknowledged) but
 * not in the index yet. Look-ups ask here before they begin a transaction of
 * the index: an entry goes only after the transaction that names its blob has
 * been committed, so a blob is always in one of the two.
 *
 * In a writing store the committer adds and the indexer takes away; in a
 * read-only one the reader of the tail does both (store_tail.h). Any thread
 * finds. Entries are in the order of the log.
 */
#ifndef TOOLROOT_CAS_STORE_PENDING_H
#define TOOLROOT_CAS_STORE_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cas/digest.h"
#include "cas/store_index.h"

/* Between two records of the log. */
struct log_position {
	uint32_t segment;
	uint64_t offset;
};

struct commit_blob;

struct pending_blob {
	STAILQ_ENTRY(pending_blob) link;
	struct digest digest; /* the key */
	struct place place;
	uint64_t reserved; /* against max_size, until indexed */
	/* A copy of a record at from. It is not found here: the blob is where
	 * it was until the index says otherwise. */
	bool moves;
	struct place from;
	struct commit_blob *source; /* until published, else NULL */
};
STAILQ_HEAD(pending_list, pending_blob);

/* The entry's bytes in the log, and where the next record begins. */
uint64_t pending_blob_length(const struct pending_blob *blob);
struct log_position pending_blob_end(const struct pending_blob *blob);
void pending_list_free(struct pending_list *list);

struct pending;

struct pending *pending_new(void);
/* NULL is allowed. */
void pending_free(struct pending *pending);

/* Takes the entries, which leaves the list empty. A later entry for a digest
 * hides the earlier one. */
void pending_add(struct pending *pending, struct pending_list *list);
bool pending_find(
    struct pending *pending, const struct digest *digest, struct place *place);
/* Grows when something is added. Who has read it before a look and finds it
 * unchanged has missed nothing. */
uint64_t pending_generation(const struct pending *pending);
/* How much waits; a moment old. */
size_t pending_count(const struct pending *pending);
uint64_t pending_bytes(const struct pending *pending);

/* The oldest, at most count of them, in order. They stay, and stay valid until
 * the same thread forgets them. */
size_t pending_oldest(
    struct pending *pending, struct pending_blob **blobs, size_t count);
/* The count oldest are in the index. */
void pending_forget(struct pending *pending, size_t count);
/* So are all that begin before the position. */
void pending_forget_before(
    struct pending *pending, const struct log_position *position);
/* The blob is not sound at this place: find it no more. */
void pending_hide(struct pending *pending, const struct digest *digest,
    const struct place *place);

#endif
