/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings an action's inputs into the local store: the directories level by
 * level, then the files, each only if it is not there yet. Slots that need the
 * same blob at the same time fetch it once. A worker beside the server's own
 * store has nothing to fetch from (no client): it only learns what is missing.
 *
 * All functions block on disk and network and may be called from any thread.
 */
#ifndef TOOLROOT_WORKER_INPUT_FETCH_H
#define TOOLROOT_WORKER_INPUT_FETCH_H

#include "cas/digest.h"

struct cas_client;
struct cas_transfer;
struct digest_list;
struct error;
struct input_fetch;
struct store;

/* Both are borrowed; client may be NULL. */
struct input_fetch *input_fetch_new(
    struct store *store, struct cas_client *client);
/* No call may be running. NULL is allowed. */
void input_fetch_free(struct input_fetch *fetch);

/* After 0 every blob below the input root is in the store, checked as
 * closure_of_directory does. FAILED_PRECONDITION: the blobs in missing (as
 * many as fit) are nowhere; they are all that could be found to be missing, so
 * that a client can send them in one go. INVALID_ARGUMENT names the path in a
 * malformed tree. missing is empty after any other error. */
int input_fetch_tree(struct input_fetch *fetch, const struct digest *root,
    const struct cas_transfer *transfer, struct digest_list *missing,
    struct error *err);

/* The same for single blobs: an action, its command. */
int input_fetch_blobs(struct input_fetch *fetch,
    const struct digest_list *blobs, const struct cas_transfer *transfer,
    struct digest_list *missing, struct error *err);

#endif
