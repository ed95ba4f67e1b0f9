/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index over a FileDescriptorSet: which file has a name, declares a symbol
 * or an extension. It answers the questions of gRPC reflection, bytes in,
 * bytes out; v1 and v1alpha are the same on the wire, so one codec serves
 * both. Constant after it is made: any thread.
 *
 * Sources: grpc/reflection/v1/reflection.proto, google/protobuf/
 * descriptor.proto.
 */
#ifndef TOOLROOT_FRONTEND_REFLECTION_INDEX_H
#define TOOLROOT_FRONTEND_REFLECTION_INDEX_H

#include <stddef.h>

#include "base/str.h"

struct buffer;
struct error;
struct reflection_index;

/* set is borrowed as long as the index lives. INTERNAL when it is no
 * descriptor set. */
struct reflection_index *reflection_index_new(
    struct str set, struct error *err);
/* NULL is allowed. */
void reflection_index_free(struct reflection_index *index);

/* Names a service that list_services shows (copied); the same twice is one. */
void reflection_index_add_service(
    struct reflection_index *index, struct str name);

/* Appends the encoded ServerReflectionResponse for an encoded request. A
 * question that cannot be answered is an answer too (ErrorResponse with
 * NOT_FOUND or INVALID_ARGUMENT). -1 with INVALID_ARGUMENT when the request is
 * no such message, with RESOURCE_EXHAUSTED past the buffer's limit. */
int reflection_index_answer(const struct reflection_index *index,
    struct str request, struct buffer *response, struct error *err);

#endif
