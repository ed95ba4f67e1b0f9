/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods of ByteStream, one file each; handlers for rpc_method, `storage`
 * being a struct storage. What the specification leaves open is decided in
 * docs/protocol.md.
 */
#ifndef TOOLROOT_FRONTEND_BYTE_STREAM_H
#define TOOLROOT_FRONTEND_BYTE_STREAM_H

#include "frontend/storage.h"

void byte_stream_read(struct rpc_call *call, void *storage);
void byte_stream_write(struct rpc_call *call, void *storage);
void byte_stream_query_write_status(struct rpc_call *call, void *storage);

#endif
