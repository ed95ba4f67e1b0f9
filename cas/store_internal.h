/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the store share. Not for other modules.
 *
 * Threads: callers' threads verify, hash, compress and write the files of
 * large blobs; the committer's thread alone writes segments, names in blobs/
 * and the index. Reads run on the callers' threads.
 *
 * Invariants:
 *   - The index names only bytes that are durable (data is synced before the
 *     index transaction commits), and only verified ones.
 *   - Bytes of the active segment past index_state.active_length belong to
 *     nobody: a commit that failed or a crash left them; they are overwritten
 *     or cut off.
 *   - state.* + reserved <= max_size when a reservation is granted.
 *
 * Locks (none is held across I/O or a callback, no two at once):
 *   store.usage_lock      state, reserved, commits, committed_blobs
 *   committer.lock        its queue and flags
 *   touches.lock          the set of waiting touches
 *   segment_table.lock    the open segments and their reference counts
 *   store_index.lock      the pool of read transactions
 */
#ifndef TOOLROOT_CAS_STORE_INTERNAL_H
#define TOOLROOT_CAS_STORE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/error.h"
#include "cas/store.h"
#include "cas/store_index.h"

#define STORE_FORMAT 1
#define RECORD_HEADER_SIZE 96
/* The most that small_limit can be: a record is read into memory whole. */
#define STORE_SMALL_LIMIT_MAX ((uint32_t)4 << 20)
/* A large blob's path below the store, a temporary name below incoming/. */
#define BLOB_PATH_MAX (32 + 2 * DIGEST_HASH_MAX)
#define INCOMING_NAME_MAX 48

struct committer;
struct segment_table;
struct touches;

struct store {
	char *path;
	uint64_t max_size;
	uint64_t segment_size;
	uint32_t small_limit;
	bool read_only;
	int directory; /* descriptors of $path and what is in it */
	int blobs;
	int incoming;
	int segments_directory;
	int lock_file;
	struct store_index *index;
	struct segment_table *segments;
	struct touches *touches;     /* NULL when read-only */
	struct committer *committer; /* NULL when read-only */
	atomic_uint_least64_t dropped;
	/* Drops under way: what looks present may be about to go. */
	atomic_uint_least64_t drops;
	atomic_uint_least64_t incoming_names; /* made so far */
	/* The index transaction of the last collection that removed. */
	atomic_uint_least64_t collected;
	pthread_mutex_t usage_lock;
	struct index_state state; /* as of the last commit */
	uint64_t reserved;        /* bytes promised to writes under way */
	uint64_t commits;
	uint64_t committed_blobs;
};

/* FAILED_PRECONDITION when the store was opened read-only. */
int store_check_writable(const struct store *store, struct error *err);

/* Puts the store's path before an error of the disk, and the remedy after it
 * when the disk is full. Returns -1. */
int store_disk_error(const struct store *store, struct error *err);

/* --- space (store_usage.c) ------------------------------------------------*/

/* What a file takes: whole blocks. */
uint64_t store_file_bytes(uint64_t stored_size);
/* What a blob costs at rest: record or file, and its index entry. */
uint64_t store_blob_cost(const struct store *store, uint64_t stored_size);
/* What an action result costs. */
uint64_t store_action_cost(uint64_t value_size);
/* RESOURCE_EXHAUSTED, with the figures, when it does not fit. */
int store_reserve(struct store *store, uint64_t bytes, struct error *err);
void store_release(struct store *store, uint64_t bytes);
/* After a commit. */
void store_set_state(struct store *store, const struct index_state *state,
    uint64_t committed_blobs);

/* --- looking up (store_find.c) --------------------------------------------*/

/* One digest in a transaction of its own; touches. 1, 0, -1. */
int store_find(struct store *store, const struct digest *digest,
    struct place *place, struct error *err);
/* True when the bytes can be there: a file must exist, with its size. */
bool store_place_exists(struct store *store, const struct digest *digest,
    const struct place *place);

/* --- touches (store_touch.c) -----------------------------------------------
 * Reads make blobs young again. The index is not written for that each time:
 * a blob's epoch has a grain of ten minutes, and the keys of those whose epoch
 * is past wait in a set until the committer writes them all. */

/* Minutes since 1970, rounded down to ten. */
uint32_t store_epoch(void);
struct touches *touches_new(void);
void touches_free(struct touches *touches);
/* place is the blob's, as found; nothing happens when it is young. False when
 * it is being collected: it is to be treated as absent. */
bool store_touch(struct store *store, const struct digest *digest,
    const struct place *place);
/* The same for an action result, by its key in the index. */
bool store_touch_action(
    struct store *store, const struct digest *name, uint32_t epoch);
/* After touching what a read transaction found, and before it ends: true when
 * a collection has removed something since it began, so that it may have shown
 * what is gone. It must be asked again in a new one. */
bool store_snapshot_stale(struct store *store, MDB_txn *txn);
/* The collector's side, on the committer's thread. Condemns a key (33 bytes
 * beginning with 0 for an action result) for the running transaction: touches
 * of it fail from now on. False when a touch waits: it has to stay. */
bool touches_condemn(struct touches *touches, struct str key);
/* The transaction has ended, and store.collected was set. */
void touches_acquit(struct touches *touches);
size_t touches_waiting(struct touches *touches);
/* Those taken could not be written: every blob is to count as touched. */
void touches_lost(struct touches *touches);
/* Writes up to count waiting touches. The committer's thread. */
int touches_apply(struct touches *touches, size_t count,
    struct index_write *write, struct error *err);

/* --- committing (store_commit.c) ------------------------------------------*/

/* One blob on its way. */
struct commit_blob {
	struct digest digest;
	enum encoding encoding;
	uint64_t stored_size;
	uint64_t reserved; /* to be released when done */
	/* Small: the record's header and payload (borrowed, or owned). */
	uint8_t header[RECORD_HEADER_SIZE];
	const struct iovec *parts;
	size_t part_count;
	struct iovec owned; /* iov_base is freed when done */
	/* Large: a synced file under incoming/; "" = small. */
	char incoming[INCOMING_NAME_MAX];
	bool placed; /* the file has its final name */
};

/* Makes the record header for a small blob from parts. */
void commit_blob_seal(struct commit_blob *blob);
/* Frees what it owns, gives the reservation back, and removes its file unless
 * it was stored. */
void commit_blob_clear(
    struct store *store, struct commit_blob *blob, bool failed);

struct commit_group;

struct commit_job {
	STAILQ_ENTRY(commit_job) link;
	size_t weight; /* bytes to be written */
	/* Nothing after it joins its group (it removes names when done). */
	bool ends_group;
	/* In the group's transaction. -1 fails the whole group; failures that
	 * are the job's own are kept in the job. */
	int (*apply)(struct commit_job *job, struct commit_group *group,
	    struct error *err);
	/* When all is on disk (err NULL) or nothing is. Frees the job. Any
	 * error that apply kept counts only if err is NULL. */
	void (*finish)(struct commit_job *job, const struct error *err);
};

struct commit_group {
	struct store *store;
	struct index_write write;
	struct segment_writer *segment;
	uint64_t blobs; /* newly stored */
	/* Directories that got a name: [function][first hash byte]. */
	bool directories[8][256];
	bool directories_any;
	bool shard_made;
};

/* Adds blobs in apply. */
int commit_group_add(
    struct commit_group *group, struct commit_blob *blob, struct error *err);

struct committer *committer_new(struct store *store, struct error *err);
/* Writes what waits, ends the thread. NULL is allowed. */
void committer_free(struct committer *committer);
void committer_submit(struct committer *committer, struct commit_job *job);

/* --- files of large blobs (blob_file.c) -----------------------------------*/

/* "sha256/ab/<hash>", and ".zst" for what is compressed. */
void blob_file_path(const struct digest *digest, enum encoding encoding,
    char path[static BLOB_PATH_MAX]);
/* A new file under incoming/; the caller closes the descriptor. */
int blob_file_create(struct store *store, char name[static INCOMING_NAME_MAX],
    struct error *err);
/* Writes and syncs the parts to a new file under incoming/. */
int blob_file_write(
    struct store *store, struct commit_blob *blob, struct error *err);
/* Makes a synced file under incoming/ the blob's. *shard_made: the directory
 * is new. The committer's thread. */
int blob_file_place(struct store *store, const struct commit_blob *blob,
    bool *shard_made, struct error *err);
/* The names that a group made are on disk afterwards. */
int blob_file_sync_directories(
    const struct commit_group *group, struct error *err);
void blob_file_remove(
    struct store *store, const struct digest *digest, enum encoding encoding);
/* Empties incoming/. */
int blob_file_clear_incoming(struct store *store, struct error *err);

/* --- verification and damage
 * ---------------------------------------------------*/

/* INVALID_ARGUMENT that names both digests. */
int store_check_digest(const struct digest *declared,
    const struct digest *computed, struct error *err);

/* Counts and logs it; drops a blob in the background, if it is still at this
 * place. */
void store_drop_bad(struct store *store, const struct digest *digest,
    const struct place *place, const char *why);

#endif
