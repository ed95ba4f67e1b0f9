/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming decompression into a hasher. The owner's thread. */
#include "cas/zstd_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/store_internal.h"

/* RFC 8878 3.1.1.1.2: decoders should support at least 8 MiB. */
#define WINDOW_LOG_LOW 23
#define WINDOW_LOG_HIGH 27
#define PIECE ((size_t)64 << 10)
/* Windows are given back when other reads and uploads end. */
#define RETRY_MS 1000

struct zstd_verify {
	ZSTD_DCtx *decoder;
	struct digest_hasher *hasher; /* of the declared function, or NULL */
	struct digest declared;
	uint64_t size;      /* of the content: all of the blob, or a part */
	zstd_sink_fn *sink; /* NULL: it is hashed */
	void *cookie;
	uint64_t produced;
	uint8_t *output; /* borrowed, or NULL */
	bool in_frame;   /* a frame has begun and not ended */
	bool ended;      /* at least one frame ended */
	uint8_t piece[PIECE];
};

int
zstd_window_log(uint64_t size)
{
	int log = WINDOW_LOG_LOW;

	while (log < WINDOW_LOG_HIGH && ((uint64_t)1 << log) < size)
		log++;
	return log;
}

bool
zstd_out_of_memory(size_t result)
{
	return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation;
}

int
zstd_set_out_of_memory(const struct digest *digest, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, RETRY_MS,
	    "blob %s: there is no memory for its zstd window; try again",
	    digest_format(digest, text));
}

struct zstd_verify *
zstd_verify_new(void)
{
	struct zstd_verify *verify = xcalloc(1, sizeof(*verify));

	verify->decoder = ZSTD_createDCtx();
	if (verify->decoder == NULL) {
		fprintf(stderr, "toolroot: out of memory\n");
		abort();
	}
	return verify;
}

void
zstd_verify_free(struct zstd_verify *verify)
{
	if (verify == NULL)
		return;
	ZSTD_freeDCtx(verify->decoder);
	digest_hasher_free(verify->hasher);
	free(verify);
}

static void
zstd_verify_reset(
    struct zstd_verify *verify, const struct digest *declared, uint64_t size)
{
	verify->declared = *declared;
	verify->size = size;
	verify->sink = NULL;
	verify->output = NULL;
	verify->produced = 0;
	verify->in_frame = verify->ended = false;
	ZSTD_DCtx_reset(verify->decoder, ZSTD_reset_session_and_parameters);
	ZSTD_DCtx_setParameter(verify->decoder, ZSTD_d_windowLogMax,
	    zstd_window_log(declared->size));
}

void
zstd_verify_start_part(struct zstd_verify *verify,
    const struct digest *declared, uint64_t size, zstd_sink_fn *sink,
    void *cookie)
{
	zstd_verify_reset(verify, declared, size);
	verify->sink = sink;
	verify->cookie = cookie;
}

void
zstd_verify_start(
    struct zstd_verify *verify, const struct digest *declared, void *output)
{
	if (verify->hasher != NULL &&
	    verify->declared.function == declared->function) {
		digest_hasher_reset(verify->hasher);
	} else {
		digest_hasher_free(verify->hasher);
		verify->hasher = digest_hasher_new(declared->function);
	}
	zstd_verify_reset(verify, declared, declared->size);
	verify->output = output;
}

static int
zstd_verify_take(
    struct zstd_verify *verify, const ZSTD_outBuffer *out, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	if (out->pos > verify->size - verify->produced)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: the zstd data decompresses to more than the "
		    "declared size",
		    digest_format(&verify->declared, text));
	if (verify->sink != NULL) {
		if (verify->sink(verify->cookie, out->dst, out->pos, err) < 0)
			return -1;
	} else {
		digest_hasher_update(verify->hasher, out->dst, out->pos);
	}
	if (verify->output != NULL)
		memcpy(verify->output + verify->produced, out->dst, out->pos);
	verify->produced += out->pos;
	return 0;
}

int
zstd_verify_append(
    struct zstd_verify *verify, const void *data, size_t len, struct error *err)
{
	ZSTD_inBuffer in = {data, len, 0};
	ZSTD_outBuffer out = {verify->piece, PIECE, 0};
	char text[DIGEST_TEXT_MAX];

	/* A full piece means that the decoder may hold back more. */
	while (in.pos < in.size || out.pos == out.size) {
		size_t left;

		out.pos = 0;
		left = ZSTD_decompressStream(verify->decoder, &out, &in);
		if (zstd_out_of_memory(left))
			return zstd_set_out_of_memory(&verify->declared, err);
		if (ZSTD_isError(left))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "blob %s: the data is no valid zstd: %s",
			    digest_format(&verify->declared, text),
			    ZSTD_getErrorName(left));
		verify->in_frame = left != 0;
		verify->ended = verify->ended || left == 0;
		if (zstd_verify_take(verify, &out, err) < 0)
			return -1;
		if (left == 0 && in.pos == in.size)
			break;
	}
	return 0;
}

uint64_t
zstd_verify_produced(const struct zstd_verify *verify)
{
	return verify->produced;
}

int
zstd_verify_finish_part(struct zstd_verify *verify, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	if (verify->in_frame || !verify->ended)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "blob %s: the zstd data ends within a frame",
		    digest_format(&verify->declared, text));
	return 0;
}

int
zstd_verify_finish(struct zstd_verify *verify, struct error *err)
{
	struct digest computed;

	if (zstd_verify_finish_part(verify, err) < 0)
		return -1;
	digest_hasher_finish(verify->hasher, &computed);
	return store_check_digest(&verify->declared, &computed, err);
}
