/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking protobuf messages into an arena: no free_unpacked is needed, the
 * message lives as long as the arena, and the arena's cap bounds what a peer's
 * message can take. One thread at a time, as the arena.
 */
#ifndef TOOLROOT_PROTOS_ARENA_ALLOCATOR_H
#define TOOLROOT_PROTOS_ARENA_ALLOCATOR_H

#include <protobuf-c/protobuf-c.h>

#include "base/str.h"

struct arena;
struct error;

/* NULL with INVALID_ARGUMENT when the bytes are no such message, and with
 * RESOURCE_EXHAUSTED when the arena's cap was reached. err names the type. */
void *protos_unpack(struct arena *arena,
    const ProtobufCMessageDescriptor *descriptor, struct str bytes,
    struct error *err);
/* Packs into the arena; NULL at the cap. bytes->data is the return value. */
void *protos_pack(
    struct arena *arena, const ProtobufCMessage *message, struct str *bytes);

#endif
