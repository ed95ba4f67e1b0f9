/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's index: one LMDB environment with four tables, by the byte in
 * docs/store-format.md:
 *
 *   blobs     digest function and hash -> struct place
 *   actions   SHA-256 of instance and action digest -> action result
 *   segments  number -> bytes in it, bytes of it that blobs still use
 *   meta      "state" -> struct index_state
 *
 * Any number of threads and processes read; only the indexer of the process
 * that holds the store's lock writes, one transaction at a time, on one thread.
 * LMDB runs in its full sync mode: a commit writes its pages, syncs, writes the
 * meta page synchronously, and only then lets readers see it. So whatever a
 * reader sees is durable.
 */
#ifndef TOOLROOT_CAS_STORE_INDEX_H
#define TOOLROOT_CAS_STORE_INDEX_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "cas/digest.h"
#include "cas/store.h"

struct error;

enum place_kind {
	PLACE_SEGMENT = 1, /* a record at offset of a segment */
	PLACE_FILE = 2,    /* a file of its own */
};

/* Where and how a blob is kept. */
struct place {
	uint64_t size;        /* identity bytes, the digest's size */
	uint64_t stored_size; /* bytes at rest */
	uint64_t offset;      /* of the record, in its segment */
	uint32_t segment;
	uint32_t epoch; /* when it was last touched, see store_touch.c */
	uint16_t owner; /* the instance that wrote it first, 0 = not known */
	enum encoding encoding;
	enum place_kind kind;
};

/* Totals, and how far the index has come in the log: to active_length in
 * active_segment. Segments from that one on are the log's and stay. */
struct index_state {
	uint64_t blobs;
	uint64_t actions;
	uint64_t action_bytes; /* keys and values */
	uint64_t segments;
	uint64_t segment_bytes; /* lengths of all segments */
	uint64_t file_bytes;    /* large blobs, in whole file system blocks */
	uint64_t active_length;
	uint32_t active_segment;
	/* Every blob counts as touched in this epoch at least: set when more
	 * touches came than could be kept. */
	uint32_t touch_floor;
};

/* One segment, as the index counts it; headers of records included. */
struct segment_usage {
	uint32_t number;
	uint64_t length; /* bytes of all its records */
	uint64_t used;   /* bytes of those whose blobs are still indexed */
};

/* What one owner (an instance, by its number) has in the index: blobs that it
 * wrote first, and its action results. Bytes as they count against limits. */
struct owner_use {
	uint64_t blobs;
	uint64_t blob_bytes;
	uint64_t results;
	uint64_t result_bytes;
};

/* Adds what a transaction changed. */
void owner_use_change(struct owner_use *use, const struct owner_use *change);

/* An owner's entry of the table meta. */
struct index_owner {
	bool named;      /* false: its name was lost with an index */
	struct str name; /* of the instance */
	struct owner_use use;
	uint64_t quota; /* bytes that it may take; 0 = no such limit */
	uint64_t floor; /* bytes that collections leave it */
};

/* What a transaction adds to each owner's use, by number; differences may be
 * negative, modulo 2^64. */
struct owner_changes {
	struct owner_use *items; /* owned */
	size_t count;
};

/* Where the epoch stands in the values of both tables. */
#define INDEX_BLOB_EPOCH 28
#define INDEX_ACTION_EPOCH 8

/* A digest's key in the blobs table. */
#define INDEX_KEY_MAX (1 + DIGEST_HASH_MAX)
size_t index_key(const struct digest *digest, uint8_t key[INDEX_KEY_MAX]);

struct store_index;

struct store_index *index_open(
    const char *path, bool read_only, struct error *err);
void index_close(struct store_index *index);

/* --- reading, any thread ---------------------------------------------------
 * A transaction sees one moment. Taken from a pool; keep it short, since pages
 * that it may see are not used again meanwhile. */
int index_read_begin(
    struct store_index *index, MDB_txn **txn, struct error *err);
void index_read_end(struct store_index *index, MDB_txn *txn);
/* 1 and *place, 0 when absent or known with another size, -1. */
int index_find(struct store_index *index, MDB_txn *txn,
    const struct digest *digest, struct place *place, struct error *err);
/* The same for a blob of any size with this hash. */
int index_find_any(struct store_index *index, MDB_txn *txn,
    const struct digest *digest, struct place *place, struct error *err);
/* The value in the map, valid until the transaction ends. 1, 0, -1. */
int index_find_action(struct store_index *index, MDB_txn *txn, struct str key,
    struct str *value, struct error *err);
int index_state(struct store_index *index, MDB_txn *txn,
    struct index_state *state, struct error *err);
/* 1, 0 when the index knows no such segment, -1. */
int index_segment(struct store_index *index, MDB_txn *txn, uint32_t segment,
    struct segment_usage *usage, struct error *err);

/* Passes over whole tables, in the order of their keys. The position says
 * where to go on; length 0 = at the start. Many short transactions make one
 * pass, so a pass does not see one moment. */
enum index_table { INDEX_BLOBS, INDEX_ACTIONS, INDEX_SEGMENTS, INDEX_META };
struct index_position {
	uint8_t key[512];
	size_t length;
};
/* Borrowed for the call: both lie in the map. -1 ends the pass. */
typedef int index_visit_fn(
    void *cookie, struct str key, struct str value, struct error *err);
/* Visits up to count entries in txn. 1 when there are more, 0 at the end. */
int index_walk(struct store_index *index, MDB_txn *txn, enum index_table table,
    struct index_position *position, size_t count, index_visit_fn *visit,
    void *cookie, struct error *err);
/* An entry of the blobs table. DATA_LOSS when it is malformed. */
int index_decode_blob(struct str key, struct str value, struct digest *digest,
    struct place *place, struct error *err);
int index_decode_segment(struct str key, struct str value,
    struct segment_usage *usage, struct error *err);
/* The value of "state". DATA_LOSS when it is malformed. */
int index_decode_state(
    const MDB_val *value, struct index_state *state, struct error *err);
/* A value of the table meta, by its own name. 1, 0, -1. */
int index_find_meta(struct store_index *index, MDB_txn *txn, struct str key,
    struct str *value, struct error *err);
/* Borrowed for the call. -1 ends the pass. */
typedef int index_owner_fn(void *cookie, uint16_t number,
    const struct index_owner *owner, struct error *err);
/* All owners that have an entry, as of one moment. */
int index_each_owner(struct store_index *index, index_owner_fn *visit,
    void *cookie, struct error *err);
/* An entry of the table meta. False when it is no owner's; *number 0 when it is
 * malformed. */
bool index_decode_owner(struct str key, struct str value, uint16_t *number,
    struct index_owner *owner);
/* Frees the slots of readers that died. */
void index_check_readers(struct store_index *index);
/* Whether it can be neither read nor written. No lock. */
bool index_is_broken(const struct store_index *index);

/* --- writing, the indexer's thread ----------------------------------------*/
struct index_write {
	struct store_index *index;
	MDB_txn *txn; /* NULL when none runs */
	struct index_state state;
	/* Of this transaction; they stay readable when it was committed, until
	 * the next begins. */
	struct owner_changes changes;
};

/* write is zeroed before its first use, and released after its last. */
int index_write_begin(
    struct store_index *index, struct index_write *write, struct error *err);
void index_write_release(struct index_write *write);
/* Durable when it returns 0; nothing happened when it returns -1 (but for
 * index_mend's doubt). */
int index_write_commit(struct index_write *write, struct error *err);
void index_write_abort(struct index_write *write);
/* How many random keys of blobs one transaction may change: LMDB keeps the
 * memory of as many pages as a transaction ever changed, 4 KiB each. */
size_t index_write_keys(const struct index_write *write);
/* The same by the pages of a tree: SIZE_MAX, or as many as change about
 * INDEX_COMMIT_PAGES of them (32 MiB). Pure. */
#define INDEX_COMMIT_PAGES 8192
size_t index_keys_for_pages(size_t leaf_pages, size_t branch_pages);
/* LMDB gives up, for readers too, when the disk fails while the last page of a
 * commit is written. This opens the index anew: it waits for readers to end,
 * and fails (to be tried again) when the disk does, or when they take long.
 * What the failed commit left is looked at first: if it stands although it was
 * reported as failed, nothing but a start of the program sets that right, and
 * the index stays broken. */
int index_mend(struct store_index *index, struct error *err);

/* 1 added, 0 there already (same size; *present is then its place, and it has
 * become as young as the new one would be), -1. */
int index_add(struct index_write *write, const struct digest *digest,
    const struct place *place, struct place *present, struct error *err);
/* 1 removed (*place is what stood there), 0 absent, -1. */
int index_remove(struct index_write *write, const struct digest *digest,
    struct place *place, struct error *err);
/* Names another place, if it is still at from (a record); the epoch stays. The
 * bytes at to are counted by index_grow_segment. 1 moved, 0 not there, -1. */
int index_move(struct index_write *write, const struct digest *digest,
    const struct place *from, const struct place *to, struct error *err);
/* A segment has so much more in it. */
int index_add_segment(struct index_write *write,
    const struct segment_usage *usage, struct error *err);
/* Forgets a segment. 1, 0 when it is not known, -1. */
int index_remove_segment(
    struct index_write *write, uint32_t segment, struct error *err);
/* Values of the table meta; value.data NULL removes. 1 when it changed
 * something, 0, -1. */
int index_set_meta(struct index_write *write, struct str key, struct str value,
    struct error *err);
/* Names an owner and sets its quota and floor; its use stays. */
int index_put_owner(struct index_write *write, uint16_t number,
    const struct index_owner *owner, struct error *err);
/* Sets the owner of a blob by its key, if it is there and has none. */
int index_own(struct index_write *write, struct str key, uint16_t owner,
    struct error *err);
/* Sets the epoch of a blob by its key, when it is still there. */
int index_touch(struct index_write *write, struct str key, uint32_t epoch,
    struct error *err);
int index_touch_action(struct index_write *write, struct str key,
    uint32_t epoch, struct error *err);
int index_put_action(struct index_write *write, struct str key,
    struct str value, struct error *err);
/* 1 removed, 0 absent, -1. */
int index_remove_action(
    struct index_write *write, struct str key, struct error *err);
/* The segment has grown by so much, all of it in use. */
int index_grow_segment(struct index_write *write, uint32_t segment,
    uint64_t bytes, struct error *err);
/* So many bytes of it are in no use. */
int index_waste_segment(struct index_write *write, uint32_t segment,
    uint64_t bytes, struct error *err);

#endif
