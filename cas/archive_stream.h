/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framing of archives (docs/store-format.md, "Archives"): entries with a
 * kind and a length, in one zstd stream, ended by their number and the SHA-256
 * of all of it. Every number of a reader's comes from elsewhere and is bounded
 * here or by who asks. One thread.
 */
#ifndef TOOLROOT_CAS_ARCHIVE_STREAM_H
#define TOOLROOT_CAS_ARCHIVE_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct error;

enum archive_kind {
	ARCHIVE_BLOB = 'B',   /* digest, content */
	ARCHIVE_RESULT = 'R', /* an action result */
	ARCHIVE_NAME = 'N',   /* a toolchain's name */
	ARCHIVE_PIN = 'P',
	ARCHIVE_END = 'E',
};

struct archive_writer;
/* fd is borrowed. */
struct archive_writer *archive_writer_new(int fd, struct error *err);
/* NULL is allowed. */
void archive_writer_free(struct archive_writer *writer);
/* An entry of so many bytes, which follow by archive_write. */
int archive_begin(struct archive_writer *writer, enum archive_kind kind,
    uint64_t length, struct error *err);
int archive_write(struct archive_writer *writer, const void *data, size_t len,
    struct error *err);
/* The end; *bytes: of the archive. */
int archive_finish(
    struct archive_writer *writer, uint64_t *bytes, struct error *err);

struct archive_reader;
/* INVALID_ARGUMENT when it is no archive, or of another version. */
struct archive_reader *archive_reader_new(int fd, struct error *err);
/* NULL is allowed. */
void archive_reader_free(struct archive_reader *reader);
/* The next entry; what is left of the one before must have been read. 1, 0 at
 * an end that is sound, -1: DATA_LOSS when it is cut off or damaged. */
int archive_next(struct archive_reader *reader, enum archive_kind *kind,
    uint64_t *length, struct error *err);
/* Exactly len bytes of the entry. */
int archive_read(
    struct archive_reader *reader, void *data, size_t len, struct error *err);
/* Bytes of the file that were read so far. */
uint64_t archive_position(const struct archive_reader *reader);

#endif
