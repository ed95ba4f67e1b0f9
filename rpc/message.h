/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One gRPC message as bytes, over gRPC's reference-counted slices: received
 * messages are read in place, sent ones are put together from small copies
 * and from memory that is handed over, so that a blob is not copied on its
 * way. One owner, one thread at a time.
 *
 * Functions named *_take own what they are given, also on failure.
 */
#ifndef TOOLROOT_RPC_MESSAGE_H
#define TOOLROOT_RPC_MESSAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/str.h"

struct arena;
struct error;
struct rpc_message;

/* An empty message, to which parts are added. */
struct rpc_message *rpc_message_new(void);
/* The serialised form of a protobuf-c message. */
struct rpc_message *rpc_message_pack(const ProtobufCMessage *message);
void rpc_message_free(struct rpc_message *message);

/* Appends a copy. */
void rpc_message_add(struct rpc_message *message, const void *data, size_t len);
/* Appends memory of malloc; it is freed when gRPC has sent it. */
void rpc_message_add_take(struct rpc_message *message, void *data, size_t len);
/* Appends borrowed memory; release runs once when gRPC is done with it, on any
 * thread and possibly inside a call of ours into gRPC: it must not take a lock
 * that is held across such a call. */
void rpc_message_add_borrowed(struct rpc_message *message, const void *data,
    size_t len, void (*release)(void *cookie), void *cookie);

size_t rpc_message_size(const struct rpc_message *message);
/* The parts in order, pointing into the message; the array belongs to it. Both
 * are good until something is added. NULL when there are none. */
const struct iovec *rpc_message_parts(
    struct rpc_message *message, size_t *count);
/* All bytes in one run, which belongs to the message: it has one part from now
 * on, and parts that were asked for before are gone. Its bytes are in memory
 * twice only while they are copied. */
struct str rpc_message_flat(struct rpc_message *message);
/* Flat and unpacked into the arena, which takes several times the bytes: above
 * RPC_MESSAGE_UNPACK_MAX it is RESOURCE_EXHAUSTED. NULL: see protos_unpack. */
#define RPC_MESSAGE_UNPACK_MAX (8u << 20)
void *rpc_message_unpack(struct rpc_message *message,
    const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
    struct error *err);

#endif
