/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over a blob, decoded and encoded as wanted:
 *
 *   stored bytes -> [decoder] -> identity, cut to the range -> [encoder] -> out
 *
 * Zstd at rest that is wanted whole as zstd goes out as it is. The caller's
 * thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/memory.h"
#include "cas/blob_internal.h"
#include "cas/store_internal.h"
#include "cas/zstd_verify.h"

#define PIECE ((size_t)128 << 10)
/* Faster than a disk or a network, and most of what compression gives. */
#define LEVEL 1

struct blob_stream {
	struct blob *blob;
	uint64_t begin; /* the range in identity bytes */
	uint64_t end;
	uint64_t stored;    /* stored bytes read so far */
	uint64_t plain;     /* identity bytes decoded so far */
	ZSTD_DCtx *decoder; /* NULL: identity at rest, or as it is */
	ZSTD_CCtx *encoder; /* NULL: identity wanted, or as it is */
	bool as_stored;
	bool finished; /* the encoder has ended its frame */
	/* Stored bytes for the decoder. */
	ZSTD_inBuffer input;
	uint8_t *input_data;
	/* Identity bytes for the encoder. */
	ZSTD_inBuffer source;
	uint8_t *source_data;
};

static void
blob_stream_need(const void *allocated)
{
	if (allocated != NULL)
		return;
	fprintf(stderr, "toolroot: out of memory\n");
	abort();
}

static int
blob_stream_set_range(struct blob_stream *stream,
    const struct blob_stream_options *options, struct error *err)
{
	uint64_t size = blob_digest(stream->blob)->size;

	if (options->offset > size)
		return error_set(err, ERROR_OUT_OF_RANGE,
		    "read offset %" PRIu64 " is past the end of a blob of "
		    "%" PRIu64 " bytes",
		    options->offset, size);
	stream->begin = options->offset;
	stream->end = size;
	if (options->limit != 0 && options->limit < size - options->offset)
		stream->end = options->offset + options->limit;
	return 0;
}

static void
blob_stream_set_codecs(struct blob_stream *stream, enum encoding wanted)
{
	bool compressed = blob_encoding(stream->blob) == ENCODING_ZSTD;
	uint64_t size = blob_digest(stream->blob)->size;

	if (compressed && wanted == ENCODING_ZSTD && stream->begin == 0 &&
	    stream->end == size) {
		stream->as_stored = true;
		return;
	}
	if (compressed) {
		stream->decoder = ZSTD_createDCtx();
		blob_stream_need(stream->decoder);
		ZSTD_DCtx_setParameter(stream->decoder, ZSTD_d_windowLogMax,
		    zstd_window_log(size));
		stream->input_data = xmalloc(PIECE);
		stream->input.src = stream->input_data;
	} else {
		stream->plain = stream->begin;
	}
	if (wanted == ENCODING_ZSTD) {
		stream->encoder = ZSTD_createCCtx();
		blob_stream_need(stream->encoder);
		ZSTD_CCtx_setParameter(
		    stream->encoder, ZSTD_c_compressionLevel, LEVEL);
		ZSTD_CCtx_setPledgedSrcSize(
		    stream->encoder, stream->end - stream->begin);
		stream->source_data = xmalloc(PIECE);
		stream->source.src = stream->source_data;
	}
}

struct blob_stream *
blob_stream_open(struct blob *blob, const struct blob_stream_options *options,
    struct error *err)
{
	struct blob_stream *stream = xcalloc(1, sizeof(*stream));

	stream->blob = blob;
	if (blob_stream_set_range(stream, options, err) < 0) {
		blob_stream_free(stream);
		return NULL;
	}
	blob_stream_set_codecs(stream, options->encoding);
	return stream;
}

void
blob_stream_free(struct blob_stream *stream)
{
	if (stream == NULL)
		return;
	ZSTD_freeDCtx(stream->decoder);
	ZSTD_freeCCtx(stream->encoder);
	free(stream->input_data);
	free(stream->source_data);
	blob_free(stream->blob);
	free(stream);
}

/* The next stored bytes, as they are. */
static int
blob_stream_stored(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err)
{
	uint64_t left = blob_stored_size(stream->blob) - stream->stored;

	*len = size < left ? size : (size_t)left;
	if (blob_read(stream->blob, stream->stored, data, *len, false, err) < 0)
		return -1;
	stream->stored += *len;
	return 0;
}

static int
blob_stream_bad(struct blob_stream *stream, const char *why, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	blob_drop_bad(stream->blob, why);
	return error_set(err, ERROR_DATA_LOSS,
	    "blob %s is damaged (%s) and was dropped; upload it again",
	    digest_format(blob_digest(stream->blob), text), why);
}

/* One step of the decoder into data; *len may be 0 before the end. */
static int
blob_stream_decode(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err)
{
	ZSTD_outBuffer out = {data, size, 0};
	size_t left;

	if (stream->input.pos == stream->input.size) {
		stream->input.pos = stream->input.size = 0;
		if (blob_stream_stored(stream, stream->input_data, PIECE,
			&stream->input.size, err) < 0)
			return -1;
	}
	left = ZSTD_decompressStream(stream->decoder, &out, &stream->input);
	if (zstd_out_of_memory(left))
		return zstd_set_out_of_memory(blob_digest(stream->blob), err);
	if (ZSTD_isError(left))
		return blob_stream_bad(
		    stream, "its compressed form is broken", err);
	*len = out.pos;
	return 0;
}

/* Identity bytes from a compressed blob, within the range. */
static int
blob_stream_decoded(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err)
{
	uint64_t total = blob_digest(stream->blob)->size;

	*len = 0;
	while (stream->plain < stream->end && *len == 0) {
		uint64_t before = stream->plain, skip = 0;
		size_t got = 0;

		if (blob_stream_decode(stream, data, size, &got, err) < 0)
			return -1;
		if (got > total - before)
			return blob_stream_bad(
			    stream, "its content is too long", err);
		if (got == 0 && stream->input.pos == stream->input.size &&
		    stream->stored == blob_stored_size(stream->blob))
			return blob_stream_bad(
			    stream, "its content is too short", err);
		stream->plain += got;
		if (before < stream->begin)
			skip = stream->begin - before;
		if (skip >= got)
			continue;
		if (stream->plain > stream->end)
			got = (size_t)(stream->end - before);
		*len = got - (size_t)skip;
		memmove(data, (uint8_t *)data + skip, *len);
	}
	return 0;
}

static int
blob_stream_plain(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err)
{
	uint64_t left;

	if (stream->decoder != NULL)
		return blob_stream_decoded(stream, data, size, len, err);
	left = stream->end - stream->plain;
	*len = size < left ? size : (size_t)left;
	if (blob_read(stream->blob, stream->plain, data, *len, false, err) < 0)
		return -1;
	stream->plain += *len;
	return 0;
}

static int
blob_stream_encoded(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err)
{
	ZSTD_outBuffer out = {data, size, 0};

	while (out.pos == 0 && !stream->finished) {
		ZSTD_EndDirective end;
		size_t left;

		if (stream->source.pos == stream->source.size) {
			stream->source.pos = 0;
			if (blob_stream_plain(stream, stream->source_data,
				PIECE, &stream->source.size, err) < 0)
				return -1;
		}
		end = stream->source.size == 0 ? ZSTD_e_end : ZSTD_e_continue;
		left = ZSTD_compressStream2(
		    stream->encoder, &out, &stream->source, end);
		if (zstd_out_of_memory(left))
			return zstd_set_out_of_memory(
			    blob_digest(stream->blob), err);
		if (ZSTD_isError(left))
			return error_set(err, ERROR_INTERNAL,
			    "zstd compression: %s", ZSTD_getErrorName(left));
		stream->finished = end == ZSTD_e_end && left == 0;
	}
	*len = out.pos;
	return 0;
}

int
blob_stream_next(struct blob_stream *stream, void *data, size_t size,
    size_t *len, struct error *err)
{
	if (stream->as_stored)
		return blob_stream_stored(stream, data, size, len, err);
	if (stream->encoder != NULL)
		return blob_stream_encoded(stream, data, size, len, err);
	return blob_stream_plain(stream, data, size, len, err);
}
