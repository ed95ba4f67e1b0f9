/* SPDX-License-Identifier: Apache-2.0 */
/* What blob.c offers to blob_stream.c alone. */
#ifndef TOOLROOT_CAS_BLOB_INTERNAL_H
#define TOOLROOT_CAS_BLOB_INTERNAL_H

struct blob;

/* The content read through the handle is not the blob's. */
void blob_drop_bad(struct blob *blob, const char *why);

#endif
