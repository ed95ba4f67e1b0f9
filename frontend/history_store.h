/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history in the store, over a restart: records under "history/" of the
 * index (cas/records.h). Both block; one thread at a time.
 */
#ifndef TOOLROOT_FRONTEND_HISTORY_STORE_H
#define TOOLROOT_FRONTEND_HISTORY_STORE_H

struct error;
struct history;
struct store;

/* What is there, into an empty history. */
int history_store_load(
    struct store *store, struct history *history, struct error *err);
/* What has changed since the last time. What could not be stored is kept for
 * the next time. */
int history_store_save(
    struct store *store, struct history *history, struct error *err);

#endif
