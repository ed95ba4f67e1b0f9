/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What unary calls (channel.c) and streams (stream.c) of a client share: the
 * channel, metadata to send, the status that ends a call. Each instance belongs
 * to the thread that makes the call; a channel to any.
 */
#ifndef TOOLROOT_RPC_CHANNEL_CORE_H
#define TOOLROOT_RPC_CHANNEL_CORE_H

#include "rpc/channel.h"
#include "rpc/core.h"

struct error;

struct rpc_channel {
	grpc_channel *core;
};

/* Metadata as gRPC wants it: copies, for a stream may send them later. */
struct rpc_client_metadata {
	grpc_metadata *entries;
	size_t count;
};

/* INVALID_ARGUMENT for a key or value that gRPC would not send. */
int rpc_client_metadata_init(struct rpc_client_metadata *metadata,
    const struct rpc_call_options *options, struct error *err);
void rpc_client_metadata_clear(struct rpc_client_metadata *metadata);

/* What RECV_STATUS_ON_CLIENT writes. */
struct rpc_client_status {
	grpc_status_code code;
	grpc_slice text;
	grpc_metadata_array trailing;
};

void rpc_client_status_init(struct rpc_client_status *status);
void rpc_client_status_clear(struct rpc_client_status *status);
grpc_op rpc_client_status_op(struct rpc_client_status *status);
/* 0 for OK, else -1 and err with the code, the text and the retry delay. */
int rpc_client_status_error(
    const struct rpc_client_status *status, struct error *err);

#endif
