/* SPDX-License-Identifier: Apache-2.0 */
/* A message is a gRPC byte buffer and, once asked for, the list of its parts.
 * One owner, one thread at a time. */
#include "rpc/message.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice_buffer.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "protos/arena_allocator.h"
#include "rpc/core.h"

struct rpc_message {
	grpc_byte_buffer *buffer; /* raw, owned */
	struct iovec *parts;      /* of all slices, or NULL */
	struct iovec one;         /* where parts points when there is one */
};

static grpc_slice_buffer *
message_slices(const struct rpc_message *message)
{
	return &message->buffer->data.raw.slice_buffer;
}

struct rpc_message *
rpc_message_from_buffer(grpc_byte_buffer *buffer)
{
	struct rpc_message *message;

	if (buffer == NULL)
		return NULL;
	message = xmalloc(sizeof(*message));
	*message = (struct rpc_message){.buffer = buffer};
	return message;
}

grpc_byte_buffer *
rpc_message_buffer(struct rpc_message *message)
{
	return message->buffer;
}

struct rpc_message *
rpc_message_new(void)
{
	return rpc_message_from_buffer(grpc_raw_byte_buffer_create(NULL, 0));
}

static void
message_forget_parts(struct rpc_message *message)
{
	if (message->parts != &message->one)
		free(message->parts);
	message->parts = NULL;
}

/* Takes the slice. */
static void
message_add_slice(struct rpc_message *message, grpc_slice slice)
{
	message_forget_parts(message);
	grpc_slice_buffer_add(message_slices(message), slice);
}

struct rpc_message *
rpc_message_pack(const ProtobufCMessage *packed)
{
	struct rpc_message *message = rpc_message_new();
	grpc_slice slice =
	    grpc_slice_malloc(protobuf_c_message_get_packed_size(packed));

	protobuf_c_message_pack(packed, GRPC_SLICE_START_PTR(slice));
	message_add_slice(message, slice);
	return message;
}

void
rpc_message_free(struct rpc_message *message)
{
	if (message == NULL)
		return;
	grpc_byte_buffer_destroy(message->buffer);
	message_forget_parts(message);
	free(message);
}

void
rpc_message_add(struct rpc_message *message, const void *data, size_t len)
{
	if (len > 0)
		message_add_slice(
		    message, grpc_slice_from_copied_buffer(data, len));
}

void
rpc_message_add_take(struct rpc_message *message, void *data, size_t len)
{
	if (len > 0)
		message_add_slice(message, grpc_slice_new(data, len, free));
	else
		free(data);
}

void
rpc_message_add_borrowed(struct rpc_message *message, const void *data,
    size_t len, void (*release)(void *cookie), void *cookie)
{
	/* gRPC wants a pointer to non-const, but never writes to a slice. */
	if (len > 0)
		message_add_slice(message,
		    grpc_slice_new_with_user_data(
			(void *)(uintptr_t)data, len, release, cookie));
	else
		release(cookie);
}

size_t
rpc_message_size(const struct rpc_message *message)
{
	return message_slices(message)->length;
}

const struct iovec *
rpc_message_parts(struct rpc_message *message, size_t *count)
{
	grpc_slice_buffer *slices = message_slices(message);

	*count = slices->count;
	if (message->parts != NULL || slices->count == 0)
		return message->parts;
	message->parts = slices->count == 1 ? &message->one
					    : xreallocarray(NULL, slices->count,
						  sizeof(struct iovec));
	for (size_t i = 0; i < slices->count; i++)
		message->parts[i] = (struct iovec){
		    .iov_base = GRPC_SLICE_START_PTR(slices->slices[i]),
		    .iov_len = GRPC_SLICE_LENGTH(slices->slices[i]),
		};
	return message->parts;
}

/* What came in one read may belong to several messages; the last one frees it.
 * gRPC counts them where ThreadSanitizer does not see it, hence a function of
 * its own, which tests/tsan.supp names. */
static __attribute__((noinline)) void
message_part_release(grpc_slice part)
{
	grpc_slice_unref(part);
}

struct str
rpc_message_flat(struct rpc_message *message)
{
	grpc_slice_buffer *slices = message_slices(message);
	grpc_slice flat;
	size_t at = 0;

	if (slices->count == 0)
		return STR("");
	if (slices->count > 1) {
		flat = grpc_slice_malloc(slices->length);
		while (slices->count > 0) {
			grpc_slice part = grpc_slice_buffer_take_first(slices);
			size_t len = GRPC_SLICE_LENGTH(part);

			memcpy(GRPC_SLICE_START_PTR(flat) + at,
			    GRPC_SLICE_START_PTR(part), len);
			at += len;
			message_part_release(part);
		}
		message_add_slice(message, flat);
	}
	return rpc_core_str(&slices->slices[0]);
}

void *
rpc_message_unpack(struct rpc_message *message,
    const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
    struct error *err)
{
	if (rpc_message_size(message) > RPC_MESSAGE_UNPACK_MAX) {
		error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "a %s of %zu bytes; at most %u are accepted",
		    descriptor->name, rpc_message_size(message),
		    RPC_MESSAGE_UNPACK_MAX);
		return NULL;
	}
	return protos_unpack(arena, descriptor, rpc_message_flat(message), err);
}
