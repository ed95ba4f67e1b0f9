/* SPDX-License-Identifier: Apache-2.0 */
/* zstd around both directions. */
#include "cas/archive_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <zstd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest.h"
#include "cas/little_endian.h"

#define MAGIC "toolroot-archive 1\n"
#define MAGIC_LENGTH (sizeof(MAGIC) - 1)
#define HEADER_LENGTH 9
#define END_LENGTH (8 + 32)
#define PIECE ((size_t)256 << 10)
#define LEVEL 3
/* Of a reader: what --long=27 writes. */
#define WINDOW_LOG_MAX 27

/* --- writing -------------------------------------------------------------- */

struct archive_writer {
	int fd;
	ZSTD_CCtx *encoder;
	struct digest_hasher *hasher;
	uint64_t entries;
	uint64_t bytes;
	uint8_t out[PIECE];
};

static int
zstd_failed(size_t rc, struct error *err)
{
	return error_set(
	    err, ERROR_INTERNAL, "zstd: %s", ZSTD_getErrorName(rc));
}

static int
archive_put(struct archive_writer *writer, const void *data, size_t len,
    ZSTD_EndDirective directive, struct error *err)
{
	ZSTD_inBuffer in = {data, len, 0};
	size_t left;

	do {
		ZSTD_outBuffer out = {writer->out, PIECE, 0};

		left =
		    ZSTD_compressStream2(writer->encoder, &out, &in, directive);
		if (ZSTD_isError(left))
			return zstd_failed(left, err);
		if (file_write(writer->fd, writer->out, out.pos, err) < 0)
			return -1;
		writer->bytes += out.pos;
	} while (in.pos < in.size || (directive == ZSTD_e_end && left != 0));
	return 0;
}

int
archive_write(struct archive_writer *writer, const void *data, size_t len,
    struct error *err)
{
	digest_hasher_update(writer->hasher, data, len);
	return archive_put(writer, data, len, ZSTD_e_continue, err);
}

struct archive_writer *
archive_writer_new(int fd, struct error *err)
{
	struct archive_writer *writer = xcalloc(1, sizeof(*writer));

	writer->fd = fd;
	writer->hasher = digest_hasher_new(DIGEST_SHA256);
	writer->encoder = ZSTD_createCCtx();
	if (writer->encoder == NULL) {
		error_set(err, ERROR_RESOURCE_EXHAUSTED, "memory for zstd");
		goto fail;
	}
	(void)ZSTD_CCtx_setParameter(
	    writer->encoder, ZSTD_c_compressionLevel, LEVEL);
	(void)ZSTD_CCtx_setParameter(writer->encoder, ZSTD_c_checksumFlag, 1);
	if (archive_write(writer, MAGIC, MAGIC_LENGTH, err) < 0)
		goto fail;
	return writer;
fail:
	archive_writer_free(writer);
	return NULL;
}

void
archive_writer_free(struct archive_writer *writer)
{
	if (writer == NULL)
		return;
	ZSTD_freeCCtx(writer->encoder);
	digest_hasher_free(writer->hasher);
	free(writer);
}

static void
header_encode(
    enum archive_kind kind, uint64_t length, uint8_t header[HEADER_LENGTH])
{
	header[0] = (uint8_t)kind;
	little_endian_put64(header + 1, length);
}

int
archive_begin(struct archive_writer *writer, enum archive_kind kind,
    uint64_t length, struct error *err)
{
	uint8_t header[HEADER_LENGTH];

	header_encode(kind, length, header);
	writer->entries++;
	return archive_write(writer, header, sizeof(header), err);
}

int
archive_finish(
    struct archive_writer *writer, uint64_t *bytes, struct error *err)
{
	uint8_t end[HEADER_LENGTH + END_LENGTH];
	struct digest sum;

	digest_hasher_finish(writer->hasher, &sum);
	header_encode(ARCHIVE_END, END_LENGTH, end);
	little_endian_put64(end + HEADER_LENGTH, writer->entries);
	memcpy(end + HEADER_LENGTH + 8, sum.hash, 32);
	if (archive_put(writer, end, sizeof(end), ZSTD_e_end, err) < 0)
		return -1;
	*bytes = writer->bytes;
	return 0;
}

/* --- reading -------------------------------------------------------------- */

struct archive_reader {
	int fd;
	ZSTD_DCtx *decoder;
	struct digest_hasher *hasher;
	uint64_t entries;
	uint64_t position;
	uint64_t left; /* of the entry */
	ZSTD_inBuffer in;
	bool open; /* a frame is not complete */
	uint8_t buffer[PIECE];
};

static int
archive_cut_off(struct error *err)
{
	return error_set(err, ERROR_DATA_LOSS,
	    "the archive ends early: a part of it is missing");
}

/* More of the file. 1, 0 at its end, -1. */
static int
archive_refill(struct archive_reader *reader, struct error *err)
{
	ssize_t got = read(reader->fd, reader->buffer, PIECE);

	if (got == -1)
		return error_set_errno(err, errno, "read the archive");
	reader->in = (ZSTD_inBuffer){reader->buffer, (size_t)got, 0};
	reader->position += (uint64_t)got;
	return got > 0;
}

/* Up to len bytes; *len 0 at the end of the stream. */
static int
archive_decode(
    struct archive_reader *reader, void *data, size_t *len, struct error *err)
{
	ZSTD_outBuffer out = {data, *len, 0};

	while (out.pos == 0) {
		size_t rc;
		int more = 1;

		/* What the decoder still holds comes without input. */
		if (reader->in.pos == reader->in.size)
			more = archive_refill(reader, err);
		if (more < 0)
			return -1;
		if (more == 0 && !reader->open)
			break;
		rc = ZSTD_decompressStream(reader->decoder, &out, &reader->in);
		if (ZSTD_isError(rc))
			return error_set(err, ERROR_DATA_LOSS,
			    "the archive is damaged: %s",
			    ZSTD_getErrorName(rc));
		reader->open = rc != 0;
		if (more == 0 && out.pos == 0)
			return archive_cut_off(err);
	}
	*len = out.pos;
	return 0;
}

/* Exactly len bytes, hashed if they count for the sum. */
static int
archive_take(struct archive_reader *reader, void *data, size_t len, bool hashed,
    struct error *err)
{
	uint8_t *at = data;

	while (len > 0) {
		size_t got = len;

		if (archive_decode(reader, at, &got, err) < 0)
			return -1;
		if (got == 0)
			return archive_cut_off(err);
		if (hashed)
			digest_hasher_update(reader->hasher, at, got);
		at += got;
		len -= got;
	}
	return 0;
}

struct archive_reader *
archive_reader_new(int fd, struct error *err)
{
	struct archive_reader *reader = xcalloc(1, sizeof(*reader));
	char magic[MAGIC_LENGTH];

	reader->fd = fd;
	reader->hasher = digest_hasher_new(DIGEST_SHA256);
	reader->decoder = ZSTD_createDCtx();
	if (reader->decoder == NULL) {
		error_set(err, ERROR_RESOURCE_EXHAUSTED, "memory for zstd");
		goto fail;
	}
	(void)ZSTD_DCtx_setParameter(
	    reader->decoder, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	if (archive_take(reader, magic, sizeof(magic), true, err) < 0 ||
	    memcmp(magic, MAGIC, MAGIC_LENGTH) != 0) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "this is no archive of toolroot store export, or of a "
		    "version that this program does not know");
		goto fail;
	}
	return reader;
fail:
	archive_reader_free(reader);
	return NULL;
}

void
archive_reader_free(struct archive_reader *reader)
{
	if (reader == NULL)
		return;
	ZSTD_freeDCtx(reader->decoder);
	digest_hasher_free(reader->hasher);
	free(reader);
}

/* Number and sum of what came before; nothing may follow. */
static int
archive_check_end(
    struct archive_reader *reader, uint64_t length, struct error *err)
{
	uint8_t end[END_LENGTH], more;
	struct digest sum;
	size_t got = 1;

	if (length != END_LENGTH)
		return error_set(err, ERROR_DATA_LOSS,
		    "the end of the archive is malformed");
	digest_hasher_finish(reader->hasher, &sum);
	if (archive_take(reader, end, sizeof(end), false, err) < 0)
		return -1;
	if (little_endian_get64(end) != reader->entries ||
	    memcmp(end + 8, sum.hash, 32) != 0)
		return error_set(err, ERROR_DATA_LOSS,
		    "the archive is damaged: its sum is not that of its "
		    "content");
	if (archive_decode(reader, &more, &got, err) < 0)
		return -1;
	if (got > 0)
		return error_set(err, ERROR_DATA_LOSS,
		    "something follows the end of the archive");
	return 0;
}

int
archive_next(struct archive_reader *reader, enum archive_kind *kind,
    uint64_t *length, struct error *err)
{
	uint8_t header[HEADER_LENGTH];

	if (reader->left > 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "an entry of the archive has %" PRIu64 " bytes too many",
		    reader->left);
	if (archive_take(reader, header, sizeof(header), false, err) < 0)
		return -1;
	*kind = (enum archive_kind)header[0];
	*length = little_endian_get64(header + 1);
	if (*kind == ARCHIVE_END)
		return archive_check_end(reader, *length, err);
	digest_hasher_update(reader->hasher, header, sizeof(header));
	reader->entries++;
	reader->left = *length;
	return 1;
}

int
archive_read(
    struct archive_reader *reader, void *data, size_t len, struct error *err)
{
	if (len > reader->left)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "an entry of the archive is too short");
	reader->left -= len;
	return archive_take(reader, data, len, true, err);
}

uint64_t
archive_position(const struct archive_reader *reader)
{
	return reader->position;
}
