/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the store share. Not for other modules.
 *
 * Segments are the log. A small blob is acknowledged when its record is
 * synced; it is then pending, and the index learns of it later. All else (the
 * files of large blobs, action results, drops) is acknowledged when a
 * transaction of the index has been committed.
 *
 * Threads: callers' threads verify, hash, compress and write the files of
 * large blobs; the committer's thread alone writes segments, the indexer's
 * names in blobs/ and the index. Reads run on the callers' threads.
 *
 * Invariants:
 *   - Log and index name only bytes that are durable and verified.
 *   - All sound records before (state.active_segment, state.active_length) are
 *     in the index, or were removed from it. Those past it are the tail:
 *     pending, and read again when the store opens. What follows the last
 *     sound record belongs to nobody; it is overwritten or cut off.
 *   - An acknowledged blob is pending until the transaction that names it has
 *     been committed. Who looks first among the pending, then begins a read
 *     transaction, cannot miss it.
 *   - state.* + reserved <= max_size when a reservation is granted.
 *
 * Locks (none is held across I/O or a callback, but see store_tail.c; no two
 * at once):
 *   store.usage_lock      state, what is on its way to it, and counters
 *   committer.lock        its queue and flags
 *   indexer.lock          its queue and flags
 *   pending.lock          the blobs between log and index
 *   tail.lock             how far a read-only process has read the log
 *   touches.lock          the set of waiting touches, and what is condemned
 *   segment_table.lock    the open segments and their reference counts
 *   store_index.lock      the pool of read transactions
 */
#ifndef TOOLROOT_CAS_STORE_INTERNAL_H
#define TOOLROOT_CAS_STORE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/map.h"
#include "cas/store.h"
#include "cas/store_index.h"
#include "cas/store_pending.h"

#define STORE_FORMAT 1
#define RECORD_HEADER_SIZE 96
/* The most that small_limit can be: a record is read into memory whole. */
#define STORE_SMALL_LIMIT_MAX ((uint32_t)4 << 20)
/* A large blob's path below the store, a temporary name below incoming/. */
#define BLOB_PATH_MAX (32 + 2 * DIGEST_HASH_MAX)
#define INCOMING_NAME_MAX 48

/* What would have to be broken to take more in. */
struct shortage {
	int64_t min_age_ms;    /* -1: a collection may still free something */
	int64_t oldest_age_ms; /* of what stays; -1: it does not age */
	uint64_t floor_bytes;  /* old enough, but kept by floors */
};

/* An instance that wrote (cas/owners.h). */
struct owner {
	uint16_t number;
	char *name; /* owned; NULL: lost */
	size_t name_length;
	struct owner_use use; /* as of the last commit of the index */
	uint64_t reserved;    /* promised to its writes under way, or pending */
	uint64_t uploading;   /* of reserved: as store.uploading */
	uint64_t quota;       /* 0 = none */
	uint64_t floor;
	struct shortage shortage;
	uint64_t refused; /* the largest write since it was taken */
};
/* Guarded by store.usage_lock. */
struct owners {
	struct owner **items; /* by number; NULL: nothing is known of it */
	size_t count;
	struct map by_name;
	size_t renamed; /* the number that changed its name last */
};

struct committer;
struct indexer;
struct segment_table;
struct tail;
struct touches;

struct store {
	char *path;
	uint64_t max_size;
	uint64_t segment_size;
	uint32_t small_limit;
	bool read_only;
	struct thread_pool *pool; /* may be NULL */
	int directory;            /* descriptors of $path and what is in it */
	int blobs;
	int incoming;
	int segments_directory;
	int lock_file;
	struct store_index *index;
	struct segment_table *segments;
	struct touches *touches;     /* NULL when read-only */
	struct pending *pending;     /* in the log, not in the index */
	struct tail *tail;           /* NULL unless read-only */
	struct indexer *indexer;     /* NULL when read-only */
	struct committer *committer; /* NULL when read-only */
	atomic_uint_least64_t dropped;
	/* Drops under way: what looks present may be about to go. */
	atomic_uint_least64_t drops;
	atomic_uint_least64_t incoming_names; /* made so far */
	/* The index transaction of the last collection that removed. */
	atomic_uint_least64_t collected;
	/* Pins and names of toolchains that went since it was opened: what they
	 * kept may go. */
	atomic_uint_least64_t let_go;
	pthread_mutex_t usage_lock;
	struct index_state state; /* as of the last commit of the index */
	uint64_t pending_blobs;   /* not in state yet */
	uint32_t log_segment;     /* where the log is */
	struct owners owners;
	struct shortage shortage; /* of the last collection of all */
	uint64_t refused;         /* the largest write since it was taken */
	uint64_t reserved;        /* bytes promised to writes under way */
	uint64_t uploading;       /* of reserved: to uploads not whole yet */
	uint64_t commits;
	uint64_t committed_blobs;
	/* Bytes free on the disk when it was asked last: a disk that hangs
	 * must not hold up who only wants figures. */
	atomic_uint_least64_t disk_free;
	bool failing; /* the disk; until a probe succeeds */
	struct error failure;

	/* Of store_get_action. */
	atomic_uint_least64_t lookup_hits;
	atomic_uint_least64_t lookup_misses;
	atomic_uint_least64_t lookup_incomplete;
	uint64_t recovered_blobs; /* constant once it is open, as the next */
	int64_t recovery_ns;
	struct metric *commit_blobs;
	struct metric *commit_duration;
};

/* An existing store with its directories and its lock, but neither index nor
 * threads: for the repair. store_close ends it. */
struct store *store_open_bare(const char *path, struct error *err);

/* FAILED_PRECONDITION when the store was opened read-only. */
int store_check_writable(const struct store *store, struct error *err);

/* Puts the store's path before an error of the disk, and the remedy after it
 * when the disk is full. Returns -1. */
int store_disk_error(struct store *store, struct error *err);
/* Keeps it for store_failing (store_health.c). */
void store_note_failure(struct store *store, const struct error *err);

struct commit_blob;

/* --- space (store_usage.c) ------------------------------------------------*/

/* Asks the disk how much is free. Blocks. */
void store_measure_disk(struct store *store);

/* What a file takes: whole blocks. */
uint64_t store_file_bytes(uint64_t stored_size);
/* What a blob costs at rest: record or file, and its index entry. */
uint64_t store_record_cost(uint64_t stored_size);
uint64_t store_blob_cost(const struct store *store, uint64_t stored_size);
/* The same, by where it is. */
uint64_t store_place_cost(const struct place *place);
/* What an action result costs. */
uint64_t store_action_cost(uint64_t value_size);
/* For a write of an owner (0: of none). RESOURCE_EXHAUSTED, with the figures,
 * when it does not fit the store or the owner's quota. */
int store_reserve(
    struct store *store, uint16_t owner, uint64_t bytes, struct error *err);
/* The same for an upload, of which only the size is known: until it has ended
 * (store_end_upload, when the blob says so), it counts for what all open
 * uploads may take of the room that collections make. */
int store_reserve_upload(
    struct store *store, uint16_t owner, uint64_t bytes, struct error *err);
void store_end_upload(struct store *store, struct commit_blob *blob);
/* What a collection takes for the use of the store, or of an instance, below
 * its limit: of what open uploads are promised no more than a third of the
 * limit counts, so that declared sizes empty nothing. */
uint64_t store_collected_use(uint64_t used, uint64_t uploading, uint64_t limit);
/* For what is moved so that a segment can go: a full store may take one segment
 * more for that moment, or nothing could be freed. */
int store_reserve_move(struct store *store, uint64_t bytes, struct error *err);
/* The last collection (of what an owner has, 0: of all) fell short, since
 * nothing else is older than min_age or free of pins: what a refused write is
 * told. */
void store_set_shortage(
    struct store *store, uint16_t owner, const struct shortage *shortage);
void store_release(struct store *store, uint16_t owner, uint64_t bytes);
/* Whether a write was refused for lack of room (in the owner's quota) since
 * this was asked last, that a collection may make room for; *room: how much, by
 * the largest and by what open uploads have. */
bool store_take_refused(struct store *store, uint16_t owner, uint64_t *room);
/* After a commit of the index: these pending blobs are in it now, and what they
 * had reserved is accounted there. */
void store_set_state(struct store *store, const struct index_write *write,
    struct pending_blob *const *indexed, size_t count);
/* Files became durable (by a commit of the index). */
void store_count_files(struct store *store, uint64_t files);
/* Records became durable; where the log is. */
void store_count_records(
    struct store *store, uint64_t records, uint32_t log_segment);
/* Records of the tail were found at opening, with their reservations. */
void store_count_recovered(struct store *store,
    const struct pending_list *found, uint32_t log_segment);

/* --- the table of owners (owners.c), under usage_lock ---------------------*/

void owners_init(struct owners *owners);
void owners_clear(struct owners *owners);
/* Made when nothing is known of the number. */
struct owner *owners_at(struct owners *owners, uint16_t number);
/* Bytes in use, reservations included. */
uint64_t owner_used(const struct owner *owner);
/* Reads the table from the index; takes the lock itself. */
int owners_load(struct store *store, struct error *err);

/* --- looking up (store_find.c) --------------------------------------------*/

/* Many, in one transaction: those not missing have a place, but for the empty
 * blob. Touches. */
int store_find_places(struct store *store, const struct digest *digests,
    size_t count, bool *missing, struct place *places, struct error *err);
/* One digest, pending or in the index; touches. 1, 0, -1. */
int store_find(struct store *store, const struct digest *digest,
    struct place *place, struct error *err);
/* Among the pending alone; touches. */
bool store_find_pending(
    struct store *store, const struct digest *digest, struct place *place);
/* 1 when nothing needs to be written for it, 0, -1. While something is being
 * dropped, nothing counts as stored: it may be this blob, found bad a moment
 * ago, and what is written then replaces it. */
int store_is_stored(
    struct store *store, const struct digest *digest, struct error *err);
/* True when the bytes can be there: a file must exist, with its size. */
bool store_place_exists(struct store *store, const struct digest *digest,
    const struct place *place);

/* --- touches (store_touch.c) -----------------------------------------------
 * Reads make blobs young again. The index is not written for that each time:
 * a blob's epoch has a grain of ten minutes, and the keys of those whose epoch
 * is past wait in a set until the indexer writes them all. */

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
/* The collector's side, on the indexer's thread. Condemns a key (33 bytes
 * beginning with 0 for an action result) for the running transaction: touches
 * of it fail from now on. False when a touch waits: it has to stay. */
bool touches_condemn(struct touches *touches, struct str key);
/* The transaction has ended, and store.collected was set. */
void touches_acquit(struct touches *touches);
size_t touches_waiting(struct touches *touches);
/* So many wait that they must not wait longer. No lock. */
bool touches_pressing(const struct touches *touches);
/* Those taken could not be written: every blob is to count as touched. */
void touches_lost(struct touches *touches);
/* Writes up to count waiting touches. The indexer's thread. */
int touches_apply(struct touches *touches, size_t count,
    struct index_write *write, struct error *err);

/* --- committing (store_commit.c, store_indexer.c) -------------------------*/

/* One blob on its way. */
struct commit_blob {
	struct digest digest;
	enum encoding encoding;
	uint16_t owner; /* the instance that writes it; 0 = none */
	uint64_t stored_size;
	uint64_t reserved; /* to be released when done */
	bool uploading;    /* it is of store.uploading */
	/* pending_generation before it was looked for; 0: it was not. */
	uint64_t looked_at;
	/* Small: the record's header and payload (borrowed, or owned). */
	uint8_t header[RECORD_HEADER_SIZE];
	const struct iovec *parts;
	size_t part_count;
	struct iovec owned; /* iov_base is freed when done */
	/* A copy of a record: the blob moves here if it is still at from; its
	 * epoch stays. Else the copy is not used. */
	bool moves;
	struct place from;
	/* Large: a synced file under incoming/; "" = small. */
	char incoming[INCOMING_NAME_MAX];
	bool placed; /* the file has its final name */
};

/* Makes the record header for a small blob from parts. */
void commit_blob_seal(struct commit_blob *blob);
/* What it adds to the weight of its job. */
size_t commit_blob_weight(const struct commit_blob *blob);
/* Frees what it owns, gives the reservation back, and removes its file unless
 * it was stored. */
void commit_blob_clear(
    struct store *store, struct commit_blob *blob, bool failed);

struct log_group;
struct commit_group;

/* A change of the store. It passes through up to two stages, each a group
 * commit of what waits there:
 *
 *   append  the committer's thread writes records to the log. When they are
 *           synced, their blobs are pending: found, readable, durable.
 *   apply   the indexer's thread changes the index in one transaction for the
 *           group, and gives names to large files.
 *
 * A job has one of them or both, and is finished after its last. All that was
 * finished before a job was submitted is seen by it in log or index. */
struct commit_job {
	STAILQ_ENTRY(commit_job) link;
	size_t weight; /* bytes to be written */
	/* For those that take blobs out of the index or remove their bytes
	 * when done: nothing after it joins its group, and all blobs that were
	 * acknowledged until then are in the index when it applies. So what it
	 * decided to take out may just have been written anew: apply compares
	 * place or epoch, and leaves that alone. */
	bool ends_group;
	/* NULL: no such stage. -1 fails the whole group; failures that are the
	 * job's own are kept in the job. */
	int (*append)(
	    struct commit_job *job, struct log_group *group, struct error *err);
	int (*apply)(struct commit_job *job, struct commit_group *group,
	    struct error *err);
	/* When all is durable (err NULL), or when a stage failed: then nothing
	 * of that stage happened. Frees the job. Any error that the job kept
	 * counts only if err is NULL. */
	void (*finish)(struct commit_job *job, const struct error *err);
};

/* The records of one sync. */
struct log_group {
	struct store *store;
	struct segment_writer *segment;
	struct pending_list blobs;
	struct map digests; /* of blobs */
	size_t count;
	uint32_t epoch;
};

/* So many blobs will be added. */
void log_group_expect(struct log_group *group, size_t count);

/* Adds a small blob in append, unless it is pending already. */
int log_group_add(
    struct log_group *group, struct commit_blob *blob, struct error *err);

/* A file whose blob became a record. */
struct replaced_file {
	struct digest digest;
	enum encoding encoding;
};

/* One transaction of the index. */
struct commit_group {
	struct store *store;
	uint32_t epoch;
	struct index_write write;
	struct pending_blob **pending; /* those that it takes in */
	size_t pending_count;
	struct replaced_file *replaced; /* to be removed when done */
	size_t replaced_count;
	uint64_t files; /* newly stored */
	/* Directories that got a name: [function][first hash byte]. */
	bool directories[8][256];
	bool directories_any;
	bool shard_made;
};

/* Adds a large blob in apply. */
int commit_group_add(
    struct commit_group *group, struct commit_blob *blob, struct error *err);
/* Takes in the oldest count of what is pending. */
int commit_group_take_pending(
    struct commit_group *group, size_t count, struct error *err);

struct committer *committer_new(
    struct store *store, const struct log_position *end, struct error *err);
/* Writes what waits, ends the thread. NULL is allowed. */
void committer_free(struct committer *committer);
/* Takes the job to its first stage. Any thread. */
void committer_submit(struct committer *committer, struct commit_job *job);

struct indexer *indexer_new(struct store *store, struct error *err);
/* Moves what is pending into the index, ends the thread; after the committer.
 * What cannot be moved stays in the log. NULL is allowed. */
void indexer_free(struct indexer *indexer);
/* For the committer: jobs that come to their second stage, or have only that.
 */
void indexer_submit(struct indexer *indexer, struct commit_job *job);
/* There are many touches. Any thread. */
void indexer_wake(struct indexer *indexer);
/* For the committer: so many more are pending. */
void indexer_notice(struct indexer *indexer, size_t added);
/* For the committer, before it writes: waits while the tail is as long as it
 * may be. -1 with the reason when it cannot become shorter. */
int indexer_wait_room(struct indexer *indexer, struct error *err);

/* --- files of large blobs (blob_file.c, blob_file_walk.c)
 * --------------------*/

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
 * is new. The indexer's thread. */
int blob_file_place(struct store *store, const struct commit_blob *blob,
    bool *shard_made, struct error *err);
/* The names that a group made are on disk afterwards. */
int blob_file_sync_directories(
    const struct commit_group *group, struct error *err);
void blob_file_remove(
    struct store *store, const struct digest *digest, enum encoding encoding);
/* What is in the directories of large blobs: path below blobs/
 * ("sha256/ab/..."), and the name at its end. Not all of it need be blobs. -1
 * ends the walk. */
typedef int blob_file_visit_fn(void *cookie, enum digest_function function,
    const char *path, const char *name, struct error *err);
/* All whose hashes' first byte is from begin to end - 1; 0 to 256: all. */
int blob_file_each(struct store *store, unsigned begin, unsigned end,
    blob_file_visit_fn *visit, void *cookie, struct error *err);
/* Empties incoming/. */
int blob_file_clear_incoming(struct store *store, struct error *err);

/* A handle on what the index had at this place, for the scrub: touches and
 * drops nothing. 1, 0 when it is there no more, -1. */
int store_open_blob_at(struct store *store, const struct digest *digest,
    const struct place *place, struct blob **blob, struct error *err);

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
