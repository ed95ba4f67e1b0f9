/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the index share: store_index.c (keys, values, look-ups,
 * changes) and store_index_walk.c (passes over whole tables). Not for others.
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

/* The error for a code of LMDB's. Returns -1. */
int index_fail(struct error *err, int rc, const char *what);
/* The value of a blob's entry. DATA_LOSS when it is malformed. */
int index_decode_place(
    const MDB_val *value, struct place *place, struct error *err);

#endif
