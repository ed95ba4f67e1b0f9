/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a blob to be uploaded, from memory, a file or a store, from any
 * offset on. One thread at a time; reads block on the disk.
 */
#ifndef TOOLROOT_CLIENT_BLOB_SOURCE_H
#define TOOLROOT_CLIENT_BLOB_SOURCE_H

#include <stddef.h>
#include <stdint.h>

struct blob_source;
struct cas_upload;
struct error;

/* upload is borrowed. FAILED_PRECONDITION when the file is not there, no
 * regular file or of another size, or the store lacks the blob. */
struct blob_source *blob_source_open(
    const struct cas_upload *upload, uint64_t offset, struct error *err);
/* Reads len bytes, which are within the blob. */
int blob_source_read(
    struct blob_source *source, void *data, size_t len, struct error *err);
void blob_source_close(struct blob_source *source);

#endif
