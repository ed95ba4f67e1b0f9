/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: blobs by digest and action results by (instance, action digest),
 * on one directory of a local file system.
 *
 *   $path/format            format version, refused when unknown
 *   $path/lock              held by the one process that writes
 *   $path/index             LMDB: digest -> place, action results, totals
 *   $path/segments/NNNNNNNN small blobs, appended, each record checksummed
 *   $path/blobs/<function>/<2 hex>/<hash>   large blobs, one file each
 *   $path/incoming/         unfinished uploads, emptied when the store opens
 *
 * Promises: a blob is visible only when digest and size were verified over its
 * identity bytes and it is durable; a write is acknowledged (its callback
 * runs) only after it is on disk and would be found after a crash; after a
 * crash at any moment the store opens in less than a second and holds every
 * acknowledged write. An I/O error is
 * reported as such, never as "missing". What cannot be read back intact is
 * dropped, counted and never served. The empty blob of every function is
 * always present and occupies nothing.
 *
 * One process opens the store for writing (FAILED_PRECONDITION names the one
 * that has it); any number may open it read-only beside it: local workers read
 * their inputs this way. All functions may be called from any thread. Those
 * marked "blocks" wait for the disk and belong on a pool thread.
 */
#ifndef TOOLROOT_CAS_STORE_H
#define TOOLROOT_CAS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/str.h"
#include "cas/digest.h"

struct arena;
struct buffer;
struct error;
struct metric;
struct provenance;
struct thread_pool;

/* How bytes are represented on the wire and at rest (REAPI Compressor). */
enum encoding {
	ENCODING_IDENTITY = 0,
	ENCODING_ZSTD = 1,
};

struct store_options {
	const char *path;      /* made when absent, unless read_only */
	uint64_t max_size;     /* bytes on disk; writes beyond are refused;
				* 0 = four fifths of what is free and what
				* the store has already */
	uint64_t segment_size; /* 0 = 256 MiB, less in a store below 16 GiB */
	uint32_t small_limit;  /* stored bytes up to this go to segments;
				* 0 = 128 KiB */
	bool read_only;
	/* Borrowed, outlives all calls: idle threads of it share the work of
	 * large calls. May be NULL. */
	struct thread_pool *pool;
	/* Observe the group commits of small blobs: how many blobs, and how
	 * many nanoseconds from the first byte to durable. NULL: nobody looks.
	 */
	struct metric *commit_blobs;
	struct metric *commit_duration;
};

struct store;

/* Ready at once at any size: after a crash at most the last 100 MiB or so of
 * the log are read, else nothing. Blocks. */
struct store *store_open(
    const struct store_options *options, struct error *err);
/* Waits for queued writes. Blobs and writers must be gone. NULL is allowed. */
void store_close(struct store *store);

struct store_usage {
	uint64_t bytes;     /* on disk as accounted, reservations included */
	uint64_t uploading; /* of bytes: promised to uploads not whole yet */
	uint64_t max_bytes; /* the limit */
	/* Until it is reached, or the disk is full as of the last store_probe
	 * or refused write. */
	uint64_t available;
	uint64_t blobs;
	uint64_t action_results;
	uint64_t segments;
	uint64_t dropped; /* blobs found bad since the store was opened */
	uint64_t commits; /* group commits since then */
	uint64_t committed_blobs; /* and what they held */
	/* store_get_action since then. */
	struct {
		uint64_t hits;
		uint64_t misses;
		uint64_t incomplete; /* a blob of the result was gone */
	} lookups;
	uint64_t recovered_blobs; /* read from the log when it was opened */
	int64_t recovery_ns;      /* how long that took */
};
/* Does not wait for the disk, unless it was opened read-only. */
void store_usage(struct store *store, struct store_usage *usage);

/* Asks the disk whether it takes writes, by one. A read-only store is not
 * asked. Blocks. */
int store_probe(struct store *store, struct error *err);
/* Whether the disk has failed since store_probe succeeded last, and how; that
 * it is full is no failure. Any thread. */
bool store_failing(struct store *store, struct error *err);

/* --- looking up ------------------------------------------------------------
 * missing[i] tells whether digests[i] is absent. Present ones are touched:
 * their minimum age starts anew. */
int store_find_missing(struct store *store, const struct digest *digests,
    size_t count, bool *missing, struct error *err);

/* --- reading ---------------------------------------------------------------
 * A blob handle pins what it reads: the bytes stay readable until it is freed,
 * whatever is dropped meanwhile. One thread at a time per handle. */
struct blob;

/* 1 and *blob (the caller frees it), 0 when absent, -1. Touches. */
int store_open_blob(struct store *store, const struct digest *digest,
    struct blob **blob, struct error *err);
void blob_free(struct blob *blob);
const struct digest *blob_digest(const struct blob *blob);
enum encoding blob_encoding(const struct blob *blob);
/* Bytes at rest, in blob_encoding. */
uint64_t blob_stored_size(const struct blob *blob);
/* A descriptor of the file for a large identity blob, which is the blob from
 * byte 0 on; -1 for all others. Owned by the handle, read-only. */
int blob_descriptor(const struct blob *blob);

/* Reads stored bytes [offset, offset + len), which lie within the blob. A
 * record of a segment is checked against its CRC32C when read whole for the
 * first time through this handle; DATA_LOSS when bad (the blob is then dropped
 * from the store). Blocks, unless cached_only: then 0 means "not in memory,
 * ask again on a pool thread". 1 = read. */
int blob_read(struct blob *blob, uint64_t offset, void *data, size_t len,
    bool cached_only, struct error *err);

/* A pass over the blob in the encoding that a client wants, from an offset in
 * the identity bytes (REAPI: read_offset refers to the uncompressed form).
 * Takes the blob, also on failure. limit 0 = to the end, counted in identity
 * bytes. Compressed output is a sequence of whole frames. Blocks. */
struct blob_stream;
struct blob_stream_options {
	enum encoding encoding;
	uint64_t offset;
	uint64_t limit;
};
struct blob_stream *blob_stream_open(struct blob *blob,
    const struct blob_stream_options *options, struct error *err);
/* Fills data with up to size bytes; *len 0 = the end. */
int blob_stream_next(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err);
void blob_stream_free(struct blob_stream *stream);

/* The whole identity content, appended to buffer, whose limit bounds it
 * (RESOURCE_EXHAUSTED past it). 1, 0 when absent, -1. Blocks. */
int store_read(struct store *store, const struct digest *digest,
    struct buffer *content, struct error *err);

/* Many small blobs, appended to content in as few reads as they lie apart, one
 * look-up for all of them. What is not found that way (absent, damaged,
 * compressed, a file of its own, beyond the limit of content) is for
 * store_read, which says what is wrong. At most STORE_TOGETHER_MAX. Blocks. */
struct store_part {
	bool found;
	size_t offset; /* in content; what is between is of no meaning */
};
#define STORE_TOGETHER_MAX 512u
void store_read_together(struct store *store, const struct digest *digests,
    size_t count, struct store_part *parts, struct buffer *content);

/* --- writing ---------------------------------------------------------------
 * A batch of blobs that are in memory. Verification (hash, size; for zstd over
 * what it decompresses to, capped by the declared size) runs on the calling
 * thread; then the batch joins the next group commit: one fdatasync for all
 * that is waiting (and an index transaction if there are puts above
 * small_limit, which become files). done runs once, on a thread of the store
 * (or the calling one when nothing was left to commit), with every put's error
 * set: NULL = stored or there already. done must not block. Blocks on the disk
 * only for puts above small_limit. */
struct store_put {
	struct digest digest;      /* what the bytes must be */
	enum encoding encoding;    /* of the bytes given */
	const struct iovec *parts; /* borrowed until done */
	size_t part_count;
	/* Set before done: NULL, or allocated (free), to be freed by the owner
	 * of the batch. INVALID_ARGUMENT: not what the digest says;
	 * RESOURCE_EXHAUSTED: store or disk full, with the figures. */
	struct error *error;
};

struct store_batch {
	struct store_put *puts; /* borrowed until done */
	size_t count;
	uint16_t owner; /* whom it counts for (cas/owners.h), 0 = nobody */
	/* The caller has just looked, and none is there: it is not looked
	 * again. What comes in between is stored twice for a while. */
	bool absent;
	void (*done)(struct store_batch *batch);
	size_t waiting; /* the store's */
};

void store_put_batch(struct store *store, struct store_batch *batch);

/* Waits for one blob in memory to be durable. Blocks. */
int store_put_bytes(struct store *store, const struct digest *digest,
    struct str content, struct error *err);

/* A blob that arrives in pieces. The writer reserves the declared size against
 * max_size, and the quota of its owner (cas/owners.h; 0: none), when it is
 * made, hashes while it receives, keeps up to small_limit bytes in memory and
 * the rest in a file under incoming/. One thread at a time. new and append may
 * block on the disk when content exceeds small_limit. */
struct blob_writer;

struct blob_writer *blob_writer_new(struct store *store,
    const struct digest *digest, enum encoding encoding, uint16_t owner,
    struct error *err);
/* The next bytes, in the writer's encoding. INVALID_ARGUMENT as soon as they
 * exceed the declared size or are no valid zstd. */
int blob_writer_append(struct blob_writer *writer, const void *data, size_t len,
    struct error *err);
/* The same in parts, which are written at once. The vector is used up (its
 * elements are changed), the bytes are not. */
int blob_writer_append_parts(struct blob_writer *writer, struct iovec *parts,
    size_t count, struct error *err);
/* Bytes of the blob's content that are here, whatever the encoding: up to there
 * an interrupted upload can be gone on with. */
uint64_t blob_writer_position(const struct blob_writer *writer);
/* The upload was interrupted: gives up the memory that is not needed until it
 * goes on. */
void blob_writer_suspend(struct blob_writer *writer);
/* Bytes of memory that a suspended writer holds. */
size_t blob_writer_memory(const struct blob_writer *writer);
/* The upload goes on: what is appended from now on is a new stream in the
 * writer's encoding, whose content begins at this offset, at most the position.
 * What is here already is passed over. A compressed blob is kept uncompressed
 * from then on. May block; takes as long as decompressing what is here. */
int blob_writer_resume(
    struct blob_writer *writer, uint64_t offset, struct error *err);
/* Verifies and queues for the group commit. Takes the writer in any case; done
 * runs once, from any thread, with err NULL on success. Blocks (syncs the
 * file) when content exceeds small_limit. */
void blob_writer_commit(struct blob_writer *writer,
    void (*done)(void *cookie, const struct error *err), void *cookie);
/* Gives up. NULL is allowed. */
void blob_writer_free(struct blob_writer *writer);

/* Removes a blob that turned out bad or vanished (a file deleted behind our
 * back), so that it is found missing from now on. Blocks. */
int store_drop_blob(
    struct store *store, const struct digest *digest, struct error *err);

/* --- action results --------------------------------------------------------
 * The value is a serialised ActionResult; the store keeps beside it the list
 * of every blob it names: output files, stdout, stderr, Tree blobs and what is
 * in them, root directories and what is below them. */
struct action_key {
	struct str instance;
	struct digest action;
};

/* 1 and the bytes in arena, when every blob named is present (all are touched,
 * in one index transaction); 0 when absent or incomplete (it is dropped then);
 * -1. Large blobs are also looked for on disk. */
int store_get_action(struct store *store, const struct action_key *key,
    struct arena *arena, struct str *result, struct error *err);
/* Durable when it returns. FAILED_PRECONDITION names the first blob that is
 * absent; INVALID_ARGUMENT when the message or a Tree in it is malformed.
 * Replaces an earlier result. provenance (cas/provenance.h) is kept with it;
 * NULL = not known. Blocks. */
int store_put_action(struct store *store, const struct action_key *key,
    struct str result, const struct provenance *provenance, struct error *err);
/* 1 removed, 0 not there, -1. Blocks. */
int store_drop_action(
    struct store *store, const struct action_key *key, struct error *err);

#endif
