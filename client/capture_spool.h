/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that come out of an archive and wait to be uploaded: one temporary
 * file without a name (nothing is left behind, however the process ends), each
 * content once. Files are written one after the other and hashed on the way.
 * One thread at a time; blocks on the disk.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_SPOOL_H
#define TOOLROOT_CLIENT_CAPTURE_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct capture_spool;
struct error;

/* The file is made below $TMPDIR, or /var/tmp without it. */
struct capture_spool *capture_spool_new(
    enum digest_function function, struct error *err);
/* NULL is allowed. */
void capture_spool_free(struct capture_spool *spool);

int capture_spool_append(struct capture_spool *spool, const void *data,
    size_t len, struct error *err);
/* The file ends here; where it is and what it is. */
void capture_spool_finish(
    struct capture_spool *spool, struct digest *digest, uint64_t *offset);
/* Forgets what was appended since the last finish. */
void capture_spool_drop(struct capture_spool *spool);

/* The bytes at an offset, good until the next append or the end of the spool.
 * data NULL on error. */
struct str capture_spool_bytes(struct capture_spool *spool, uint64_t offset,
    uint64_t size, struct error *err);

#endif
