/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the index share: store_index.c (keys, values, look-ups,
 * changes), store_index_open.c (the environment, read transactions),
 * store_index_owners.c (what each instance has) and store_index_walk.c (passes
 * over whole tables). Not for others.
 */
#ifndef TOOLROOT_CAS_STORE_INDEX_INTERNAL_H
#define TOOLROOT_CAS_STORE_INDEX_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "cas/store_index.h"

#ifdef TOOLROOT_SANITIZE
/* The sanitizers' own maps leave less room. */
#define INDEX_MAP_SIZE ((size_t)16 << 30)
#else
#define INDEX_MAP_SIZE ((size_t)1 << 40)
#endif
#define INDEX_POOL_SIZE 128

struct store_index {
	char *path;
	bool read_only;
	/* LMDB has given up (MDB_PANIC), or env could not be opened again. The
	 * writer's; others read it. */
	atomic_bool broken;
	/* A commit failed that may stand all the same: only a start finds out.
	 * The writer's. */
	bool uncertain;
	size_t failed; /* the transaction whose commit broke it; the writer's */
	/* With the lock where readers are let in; else they have begun. */
	MDB_env *env; /* NULL: broken */
	MDB_dbi blobs;
	MDB_dbi actions;
	MDB_dbi segments;
	MDB_dbi meta;
	pthread_mutex_t lock;           /* guards what follows */
	pthread_cond_t changed;         /* reading or closed */
	MDB_txn *pool[INDEX_POOL_SIZE]; /* reset read transactions */
	size_t pooled;
	size_t reading; /* read transactions that have begun */
	bool closed;    /* none may begin: env is being opened again */
};

#define INDEX_PLACE_SIZE 36

/* The error for a code of LMDB's. Returns -1. */
int index_fail(struct error *err, int rc, const char *what);
/* The commit of this transaction failed: looks whether LMDB has given up. */
void index_commit_failed(struct store_index *index, size_t id);
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
