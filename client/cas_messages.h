/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the storage services as a client writes and reads them, in
 * the wire format at once, since blobs are in them. Pure functions over bytes;
 * any thread.
 */
#ifndef TOOLROOT_CLIENT_CAS_MESSAGES_H
#define TOOLROOT_CLIENT_CAS_MESSAGES_H

#include <stdbool.h>

#include "base/buffer.h"
#include "cas/digest.h"

struct error;
struct rpc_message;

/* --- requests ------------------------------------------------------------- */

/* FindMissingBlobs and BatchReadBlobs differ in nothing but their field
 * numbers. */
struct rpc_message *cas_message_find_missing(struct str instance,
    enum digest_function function, const struct digest *digests, size_t count);
struct rpc_message *cas_message_batch_read(struct str instance,
    enum digest_function function, const struct digest *digests, size_t count);

/* BatchUpdateBlobs: begun, then blobs are added. */
struct rpc_message *cas_message_batch_update(
    struct str instance, enum digest_function function);
/* Takes data, which is memory of malloc and the blob's bytes. */
void cas_message_batch_update_add(struct rpc_message *message,
    const struct digest *digest, void *data, size_t len);

struct rpc_message *cas_message_read(struct str resource, uint64_t offset);

struct cas_write_piece {
	struct str resource; /* in the first message; else len 0 */
	uint64_t offset;
	bool finish;
	void *data; /* memory of malloc, taken */
	size_t len;
};
struct rpc_message *cas_message_write(const struct cas_write_piece *piece);

/* --- responses ------------------------------------------------------------ */

/* One blob of a BatchReadBlobsResponse or BatchUpdateBlobsResponse. */
struct cas_batch_item {
	struct digest digest;
	struct str data;     /* points into the response; none in an update */
	uint32_t compressor; /* REAPI Compressor.Value */
	uint32_t code;       /* google.rpc.Code */
	struct str text;     /* of the status */
	uint32_t retry_delay_ms; /* from its RetryInfo; 0 = none */
};

enum cas_batch_kind { CAS_BATCH_READ, CAS_BATCH_UPDATE };

/* Takes the next item off *rest. 1, 0 at the end, -1 with INTERNAL when the
 * response is malformed. */
int cas_batch_next(struct str *rest, enum cas_batch_kind kind,
    enum digest_function function, struct cas_batch_item *item,
    struct error *err);

/* --- resource names ------------------------------------------------------- */

/* Appends [instance/][uploads/uuid/]blobs/hash/size, or compressed-blobs/zstd
 * for zstd; uuid NULL for a download. The functions that we know are told by
 * the hash's length, so they are not named. */
void cas_resource_name(struct buffer *name, struct str instance,
    const char *uuid, const struct digest *digest, bool zstd);
/* Longer than any instance we take plus the rest. */
#define CAS_RESOURCE_NAME_MAX 4096
#define CAS_INSTANCE_MAX 1024

#endif
