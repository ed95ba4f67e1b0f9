/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads by resource name: how far a running one is (QueryWriteStatus), and
 * what an interrupted one left, so that the client can go on where it stopped.
 * What is left is kept for a while and in bounded number, the oldest goes
 * first. Any thread; what may touch the disk happens on the pool.
 *
 * begin -> progress... -> end, by the one call that writes under a name.
 */
#ifndef TOOLROOT_FRONTEND_UPLOAD_TABLE_H
#define TOOLROOT_FRONTEND_UPLOAD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct blob_writer;
struct thread_pool;
struct upload;
struct upload_table;

struct upload_table_options {
	struct thread_pool *pool; /* borrowed */
	int64_t keep_ms;          /* how long an interrupted upload lives */
	/* Of interrupted uploads, at the most: */
	size_t count;
	size_t memory; /* bytes */
};

struct upload_table *upload_table_new(
    const struct upload_table_options *options);
/* No upload is running, and the pool has ended. NULL is allowed. */
void upload_table_free(struct upload_table *table);

/* Claims the name. *writer is what an earlier call left (now the caller's), or
 * NULL. Returns NULL when another call writes under this name right now; that
 * may be the one that the client has broken off, seen here a moment later. */
struct upload *upload_table_begin(
    struct upload_table *table, struct str name, struct blob_writer **writer);
/* Bytes received so far, for others to see. */
void upload_progress(struct upload *upload, uint64_t received);
/* Gives the name back. writer: what can be gone on with later (taken, and
 * suspended), or NULL. */
void upload_table_end(struct upload_table *table, struct upload *upload,
    struct blob_writer *writer);
/* True and the bytes received, for a running or interrupted upload. */
bool upload_table_query(
    struct upload_table *table, struct str name, uint64_t *received);
/* Drops what is older than keep_ms. */
void upload_table_expire(struct upload_table *table);
/* Is there an interrupted upload by any name? */
bool upload_table_has_interrupted(struct upload_table *table);
/* Uploads running now. */
size_t upload_table_running(struct upload_table *table);

#endif
