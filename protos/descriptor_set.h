/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All our .proto files and those they import as one encoded
 * google.protobuf.FileDescriptorSet, each file after the ones it imports.
 * Made at build time by protos/protos.mk; read by gRPC reflection. Constant,
 * hence free for any thread.
 */
#ifndef TOOLROOT_PROTOS_DESCRIPTOR_SET_H
#define TOOLROOT_PROTOS_DESCRIPTOR_SET_H

#include <stddef.h>

extern const unsigned char descriptor_set[];
extern const size_t descriptor_set_size; /* bytes */

#endif
