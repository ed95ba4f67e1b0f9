/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of a blob that arrives compressed with zstd: decompresses as it
 * comes, hashes what comes out, and refuses as soon as more than the declared
 * size appears. Takes whole frames one after the other, skippable ones too;
 * anything else after a frame is refused. One thread at a time.
 *
 * Memory: the decoder's window, at most 8 MiB or the declared size rounded up
 * to a power of two, and never above 128 MiB; only pages that content filled
 * are real. Nothing is allocated from a number in the stream beyond that.
 */
#ifndef TOOLROOT_CAS_ZSTD_VERIFY_H
#define TOOLROOT_CAS_ZSTD_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/digest.h"

struct error;

/* The largest window for content of a size, as a power of two. */
int zstd_window_log(uint64_t size);

/* Whether what a function of zstd returned is its lack of memory, which says
 * nothing about the data. */
bool zstd_out_of_memory(size_t result);
/* The error for it: RESOURCE_EXHAUSTED, with advice to try again. Returns -1.
 */
int zstd_set_out_of_memory(const struct digest *digest, struct error *err);

struct zstd_verify;

struct zstd_verify *zstd_verify_new(void);
void zstd_verify_free(struct zstd_verify *verify);
/* A new blob. output may be NULL, or has room for declared->size bytes, which
 * then get the identity form. */
void zstd_verify_start(
    struct zstd_verify *verify, const struct digest *declared, void *output);
/* A new stream of `size` bytes of content, which is some of the declared blob:
 * sink gets it piece by piece, and hashes it. */
typedef int zstd_sink_fn(
    void *cookie, const void *data, size_t len, struct error *err);
void zstd_verify_start_part(struct zstd_verify *verify,
    const struct digest *declared, uint64_t size, zstd_sink_fn *sink,
    void *cookie);
/* INVALID_ARGUMENT when it is no zstd or gives more than the declared size,
 * RESOURCE_EXHAUSTED without memory for the window; else what sink says. */
int zstd_verify_append(struct zstd_verify *verify, const void *data, size_t len,
    struct error *err);
/* Bytes of content so far. */
uint64_t zstd_verify_produced(const struct zstd_verify *verify);
/* INVALID_ARGUMENT when the last frame is cut off. */
int zstd_verify_finish_part(struct zstd_verify *verify, struct error *err);
/* And when the content is not what the digest says. */
int zstd_verify_finish(struct zstd_verify *verify, struct error *err);

#endif
