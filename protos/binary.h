/* SPDX-License-Identifier: Apache-2.0 */
/* Between protobuf-c's bytes and ours, both borrowed. Pure; any thread. */
#ifndef TOOLROOT_PROTOS_BINARY_H
#define TOOLROOT_PROTOS_BINARY_H

#include <protobuf-c/protobuf-c.h>

#include "base/str.h"

/* data is never NULL. */
static inline struct str
binary_str(ProtobufCBinaryData data)
{
	return (struct str){
	    data.data != NULL ? (const char *)data.data : "", data.len};
}

/* protobuf-c wants a pointer to non-const, but does not write when it packs. */
static inline ProtobufCBinaryData
binary_of(struct str text)
{
	return (ProtobufCBinaryData){text.len, (uint8_t *)(uintptr_t)text.data};
}

#endif
