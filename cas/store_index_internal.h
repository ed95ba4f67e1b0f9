/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the index share: store_index.c (keys, values, look-ups,
 * changes), store_index_owners.c (what each instance has) and
 * store_index_walk.c (passes over whole tables). Not for others.
 */
#ifndef TOOLROOT_CAS_STORE_INDEX_INTERNAL_H
#define TOOLROOT_CAS_STORE_INDEX_INTERNAL_H

#include <pthread.h>

#include "cas/store_index.h"

#define INDEX_POOL_SIZE 128

struct store_index {
	MDB_env *env;
	MDB_dbi blobs;
	MDB_dbi actions;
	MDB_dbi segments;
	MDB_dbi meta;
	pthread_mutex_t lock;           /* guards pool and pooled */
	MDB_txn *pool[INDEX_POOL_SIZE]; /* reset read transactions */
	size_t pooled;
};

#define INDEX_PLACE_SIZE 36

/* The error for a code of LMDB's. Returns -1. */
int index_fail(struct error *err, int rc, const char *what);
/* The value of a blob's entry. DATA_LOSS when it is malformed. */
int index_decode_place(
    const MDB_val *value, struct place *place, struct error *err);
void index_encode_place(
    const struct place *place, uint8_t out[INDEX_PLACE_SIZE]);

/* --- owners (store_index_owners.c) ----------------------------------------*/

/* The transaction adds or removes a blob of the place's owner. */
void index_count_place(
    struct index_write *write, const struct place *place, bool added);
/* The same for an action result, whose owner its value tells. */
void index_count_action(
    struct index_write *write, struct str key, struct str value, bool added);
/* Nothing has changed yet. */
void index_changes_reset(struct owner_changes *changes);
/* Writes the owners' new uses. */
int index_write_owners(struct index_write *write, struct error *err);

#endif
