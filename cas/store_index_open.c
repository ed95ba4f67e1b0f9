/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of the index: opened, closed, opened again when LMDB has
 * given up, and its pool of read transactions. Opening and mending: the
 * indexer's thread, or one before there are others; reading: any.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/store_index_internal.h"

#define INDEX_READERS_MAX 4096
/* As many keys as change INDEX_COMMIT_PAGES are looked for in such steps. */
#define INDEX_KEYS_STEP 64
/* How long readers are waited for. One may itself wait to begin a second
 * transaction, so there is an end. */
#define MEND_WAIT_MS 2000

/* --- opening -------------------------------------------------------------- */

static int
index_open_tables(struct store_index *index, bool read_only, struct error *err)
{
	static const char *const names[] = {
	    "blobs", "actions", "segments", "meta"};
	MDB_dbi *tables[] = {
	    &index->blobs, &index->actions, &index->segments, &index->meta};
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(index->env, NULL, read_only ? MDB_RDONLY : 0, &txn);
	if (rc != 0)
		return index_fail(err, rc, "begin");
	for (size_t i = 0; i < 4; i++) {
		rc = mdb_dbi_open(
		    txn, names[i], read_only ? 0 : MDB_CREATE, tables[i]);
		if (rc != 0) {
			mdb_txn_abort(txn);
			return index_fail(err, rc, names[i]);
		}
	}
	rc = mdb_txn_commit(txn);
	if (rc != 0)
		return index_fail(err, rc, "commit of new tables");
	return 0;
}

/* env, and the tables. What failed is closed again. */
static int
index_open_environment(struct store_index *index, struct error *err)
{
	unsigned int flags = MDB_NOTLS | MDB_NORDAHEAD | MDB_NOMEMINIT;
	int rc;

	rc = mdb_env_create(&index->env);
	if (rc == 0)
		rc = mdb_env_set_mapsize(index->env, INDEX_MAP_SIZE);
	if (rc == 0)
		rc = mdb_env_set_maxreaders(index->env, INDEX_READERS_MAX);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(index->env, 16);
	if (rc == 0)
		rc = mdb_env_open(index->env, index->path,
		    flags | (index->read_only ? MDB_RDONLY : 0), 0600);
	if (rc != 0)
		index_fail(err, rc, index->path);
	else if (index_open_tables(index, index->read_only, err) < 0)
		rc = -1;
	if (rc == 0)
		return 0;
	mdb_env_close(index->env);
	index->env = NULL;
	return -1;
}

struct store_index *
index_open(const char *path, bool read_only, struct error *err)
{
	struct store_index *index = xcalloc(1, sizeof(*index));

	index->path = xstrdup(path);
	index->read_only = read_only;
	pthread_mutex_init(&index->lock, NULL);
	condition_init(&index->changed);
	if (index_open_environment(index, err) < 0) {
		index_close(index);
		return NULL;
	}
	index_check_readers(index);
	return index;
}

static void
index_close_environment(struct store_index *index)
{
	for (size_t i = 0; i < index->pooled; i++)
		mdb_txn_abort(index->pool[i]);
	index->pooled = 0;
	if (index->env != NULL)
		mdb_env_close(index->env);
	index->env = NULL;
}

void
index_close(struct store_index *index)
{
	if (index == NULL)
		return;
	index_close_environment(index);
	pthread_cond_destroy(&index->changed);
	pthread_mutex_destroy(&index->lock);
	free(index->path);
	free(index);
}

void
index_check_readers(struct store_index *index)
{
	int dead;

	/* A failure leaves the slots as they were; the next check tries
	 * again. */
	if (!index_is_broken(index))
		(void)mdb_reader_check(index->env, &dead);
}

/* --- opening again -------------------------------------------------------- */

bool
index_is_broken(const struct store_index *index)
{
	return atomic_load(&index->broken);
}

void
index_commit_failed(struct store_index *index, size_t id)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &txn);

	if (rc == 0)
		mdb_txn_abort(txn);
	if (rc != MDB_PANIC)
		return;
	index->failed = id;
	atomic_store(&index->broken, true);
}

/* No reader is left, and none begins. */
static bool
index_shut(struct store_index *index)
{
	int64_t until_ns =
	    clock_monotonic_ns() + (int64_t)MEND_WAIT_MS * 1000000;
	bool alone;

	pthread_mutex_lock(&index->lock);
	index->closed = true;
	while (index->reading > 0 &&
	       condition_wait_until(&index->changed, &index->lock, until_ns))
		continue;
	alone = index->reading == 0;
	pthread_mutex_unlock(&index->lock);
	return alone;
}

static void
index_let_in(struct store_index *index)
{
	pthread_mutex_lock(&index->lock);
	index->closed = false;
	pthread_cond_broadcast(&index->changed);
	pthread_mutex_unlock(&index->lock);
}

static int
index_open_again(struct store_index *index, struct error *err)
{
	MDB_envinfo info;

	index_close_environment(index);
	if (index_open_environment(index, err) < 0)
		return -1;
	(void)mdb_env_info(index->env, &info);
	if (info.me_last_txnid < index->failed)
		return 0;
	index_close_environment(index);
	index->uncertain = true;
	return -1;
}

int
index_mend(struct store_index *index, struct error *err)
{
	int rc = -1;

	if (!index_is_broken(index))
		return 0;
	if (!index->uncertain && !index_shut(index))
		error_set(err, ERROR_UNAVAILABLE,
		    "store index: somebody reads it for long; it is opened "
		    "again when that has ended");
	else if (!index->uncertain)
		rc = index_open_again(index, err);
	if (index->uncertain)
		error_set(err, ERROR_INTERNAL,
		    "store index: a commit stands that the disk had reported "
		    "as failed; restart the server, nothing is lost");
	if (rc == 0)
		atomic_store(&index->broken, false);
	index_let_in(index);
	return rc;
}

/* --- the memory of write transactions ------------------------------------ */

/* How many of these pages more keys, which fall anywhere, are the first to
 * change. */
static size_t
pages_changed_first(size_t pages, size_t changed, size_t keys)
{
	size_t left = pages - changed;
	size_t more = left > 0 ? (left * keys + pages - 1) / pages : 0;

	return more < left ? more : left;
}

size_t
index_keys_for_pages(size_t leaf_pages, size_t branch_pages)
{
	size_t keys = 0, leaves = 0, branches = 0;

	if (leaf_pages <= INDEX_COMMIT_PAGES &&
	    branch_pages <= INDEX_COMMIT_PAGES - leaf_pages)
		return SIZE_MAX;
	/* Each changes a leaf and a branch above it, which it may share with
	 * others. */
	for (; leaves + branches < INDEX_COMMIT_PAGES;
	     keys += INDEX_KEYS_STEP) {
		leaves +=
		    pages_changed_first(leaf_pages, leaves, INDEX_KEYS_STEP);
		branches += pages_changed_first(
		    branch_pages, branches, INDEX_KEYS_STEP);
	}
	return keys;
}

size_t
index_write_keys(const struct index_write *write)
{
	MDB_stat pages;

	if (mdb_stat(write->txn, write->index->blobs, &pages) != 0)
		return INDEX_COMMIT_PAGES / 2;
	return index_keys_for_pages(pages.ms_leaf_pages, pages.ms_branch_pages);
}

/* --- read transactions ---------------------------------------------------- */

/* Under the lock. */
static void
index_left(struct store_index *index)
{
	if (--index->reading == 0 && index->closed)
		pthread_cond_broadcast(&index->changed);
}

static void
index_leave(struct store_index *index)
{
	pthread_mutex_lock(&index->lock);
	index_left(index);
	pthread_mutex_unlock(&index->lock);
}

/* Waits while the environment is being opened again. */
static MDB_txn *
index_enter(struct store_index *index)
{
	MDB_txn *txn = NULL;

	pthread_mutex_lock(&index->lock);
	while (index->closed)
		pthread_cond_wait(&index->changed, &index->lock);
	index->reading++;
	if (index->pooled > 0)
		txn = index->pool[--index->pooled];
	pthread_mutex_unlock(&index->lock);
	return txn;
}

int
index_read_begin(struct store_index *index, MDB_txn **txn, struct error *err)
{
	int rc = MDB_PANIC;

	*txn = index_enter(index);
	if (*txn != NULL)
		rc = mdb_txn_renew(*txn);
	else if (index->env != NULL)
		rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, txn);
	if (rc == 0)
		return 0;
	if (*txn != NULL)
		mdb_txn_abort(*txn);
	index_leave(index);
	return index_fail(err, rc, "begin");
}

void
index_read_end(struct store_index *index, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&index->lock);
	if (index->pooled < INDEX_POOL_SIZE) {
		index->pool[index->pooled++] = txn;
		txn = NULL;
	}
	if (txn == NULL)
		index_left(index);
	pthread_mutex_unlock(&index->lock);
	if (txn == NULL)
		return;
	/* Before the environment may go. */
	mdb_txn_abort(txn);
	index_leave(index);
}
