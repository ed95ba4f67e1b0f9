/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods of ContentAddressableStorage, one file each; handlers for
 * rpc_method, `storage` being a struct storage. Each checks its request,
 * moves to the pool when it may block, and replies.
 */
#ifndef TOOLROOT_FRONTEND_CONTENT_ADDRESSABLE_STORAGE_H
#define TOOLROOT_FRONTEND_CONTENT_ADDRESSABLE_STORAGE_H

#include "frontend/storage.h"

/* Appends a google.rpc.Status as a bytes field; code OK gives an empty one. */
struct buffer;
int storage_put_status(
    struct buffer *out, uint32_t field, const struct error *err);

void find_missing_blobs(struct rpc_call *call, void *storage);
void batch_update_blobs(struct rpc_call *call, void *storage);
void batch_read_blobs(struct rpc_call *call, void *storage);
void get_tree(struct rpc_call *call, void *storage);

#endif
