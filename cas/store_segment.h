/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments: files of records, appended one after the other. A record is a
 * header of RECORD_HEADER_SIZE bytes (docs/store-format.md) and the payload.
 *
 * The table keeps segments open for reading, with references so that a segment
 * can be unlinked while somebody reads it: any thread. The writer appends to
 * the active one: the committer's thread.
 */
#ifndef TOOLROOT_CAS_STORE_SEGMENT_H
#define TOOLROOT_CAS_STORE_SEGMENT_H

#include <stdint.h>
#include <sys/uio.h>

#include "cas/store_internal.h"

/* --- records --------------------------------------------------------------*/

/* What a record begins with. */
#define RECORD_MAGIC "TRB1"
#define RECORD_MAGIC_LENGTH 4

void record_encode(const struct commit_blob *blob, uint32_t payload_crc,
    uint8_t header[static RECORD_HEADER_SIZE]);
/* What a sound header says, sets the digest, sizes and encoding; -1 when it is
 * none. */
int record_decode(const uint8_t header[static RECORD_HEADER_SIZE],
    struct digest *digest, struct place *place);
/* DATA_LOSS unless the header is sound, names the digest and fits the place,
 * and the payload has its checksum. */
int record_check(const uint8_t header[static RECORD_HEADER_SIZE],
    const struct digest *digest, const struct place *place, const void *payload,
    struct error *err);

/* --- reading --------------------------------------------------------------*/

struct segment;

/* directory is borrowed. At most limit unused segments stay open; those that
 * were removed, perhaps by another process, are closed when the next is
 * opened. */
struct segment_table *segment_table_new(int directory, size_t limit);
void segment_table_free(struct segment_table *table);
/* 1 and a reference, 0 when there is no such file, -1. */
int segment_ref(struct segment_table *table, uint32_t number,
    struct segment **segment, struct error *err);
void segment_unref(struct segment_table *table, struct segment *segment);
/* The file is gone: its descriptor goes with the last reference. */
void segment_table_forget(struct segment_table *table, uint32_t number);
int segment_descriptor(const struct segment *segment);

/* --- appending ------------------------------------------------------------*/

struct segment_writer;

/* Goes on in segment number at length, cutting off what follows; a segment
 * that is absent or too short is left alone and the next one begun. */
struct segment_writer *segment_writer_open(
    struct store *store, uint32_t number, uint64_t length, struct error *err);
void segment_writer_close(struct segment_writer *writer);
/* Sets the segment and offset of place to where a record of so many bytes will
 * go. When the segment is full, it is finished and synced and a new one begun.
 * The next segment_writer_add is that record's, or there is none. */
int segment_writer_reserve(struct segment_writer *writer, uint64_t bytes,
    struct place *place, struct error *err);
/* Queues the record; its bytes are borrowed until the sync. */
void segment_writer_add(
    struct segment_writer *writer, const struct commit_blob *blob);
/* Writes what is queued and syncs. */
int segment_writer_sync(struct segment_writer *writer, struct error *err);
/* Where the next record goes. */
void segment_writer_position(
    const struct segment_writer *writer, uint32_t *number, uint64_t *length);
/* What was added since is forgotten: back to a committed position. After a
 * failure of the disk (anything but no space) the next record starts a new
 * segment, since what a failed sync left in this one is not known. */
void segment_writer_rollback(struct segment_writer *writer, uint32_t number,
    uint64_t length, bool disk_failed);

#endif
