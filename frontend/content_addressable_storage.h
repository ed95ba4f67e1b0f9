/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods of ContentAddressableStorage, one file each; handlers for
 * rpc_method, `storage` being a struct storage. Each checks its request,
 * moves to the pool when it may block, and replies.
 */
#ifndef TOOLROOT_FRONTEND_CONTENT_ADDRESSABLE_STORAGE_H
#define TOOLROOT_FRONTEND_CONTENT_ADDRESSABLE_STORAGE_H

#include "base/thread_pool.h"
#include "frontend/storage.h"

/* A storage request on its way. Lives in the call's arena. */
struct storage_request {
	struct task task; /* first: what the pool runs */
	struct rpc_call *call;
	const struct storage *storage;
	struct str message; /* serialised, in one run */
	uint64_t budget;    /* taken from storage->memory */
};

/* Takes what the message needs from the memory budget and makes it one run.
 * NULL when the call was finished with an error. */
struct storage_request *storage_request_new(
    struct rpc_call *call, struct storage *storage);
/* Each ends the call and gives the budget back. reply takes the message. */
struct rpc_message;
void storage_request_reply(
    struct storage_request *request, struct rpc_message *reply);
void storage_request_fail(
    struct storage_request *request, const struct error *err);

/* Appends a google.rpc.Status as a bytes field; code OK gives an empty one. */
struct buffer;
int storage_put_status(
    struct buffer *out, uint32_t field, const struct error *err);

void find_missing_blobs(struct rpc_call *call, void *storage);
void batch_update_blobs(struct rpc_call *call, void *storage);
void batch_read_blobs(struct rpc_call *call, void *storage);
void get_tree(struct rpc_call *call, void *storage);

#endif
