/* SPDX-License-Identifier: Apache-2.0 */
/* ProtobufCAllocator over an arena. */
#include "protos/arena_allocator.h"

#include "base/arena.h"
#include "base/error.h"

struct arena_state {
	struct arena *arena;
	bool full; /* an allocation was refused */
};

static void *
allocate(void *data, size_t size)
{
	struct arena_state *state = data;
	void *piece = arena_alloc(state->arena, size);

	if (piece == NULL)
		state->full = true;
	return piece;
}

static void
release(void *data, void *piece)
{
	/* The arena frees all at once. */
	(void)data;
	(void)piece;
}

void *
protos_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
    struct str bytes, struct error *err)
{
	struct arena_state state = {arena, false};
	ProtobufCAllocator allocator = {allocate, release, &state};
	void *message = protobuf_c_message_unpack(
	    descriptor, &allocator, bytes.len, (const uint8_t *)bytes.data);

	if (message != NULL)
		return message;
	if (state.full)
		error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "a %s of %zu bytes takes more than the %zu bytes of memory "
		    "that one request may use",
		    descriptor->name, bytes.len, arena->cap);
	else
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "%zu bytes are not a well-formed %s", bytes.len,
		    descriptor->name);
	return NULL;
}

void *
protos_pack(
    struct arena *arena, const ProtobufCMessage *message, struct str *bytes)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *data = arena_alloc(arena, size);

	if (data == NULL)
		return NULL;
	protobuf_c_message_pack(message, data);
	*bytes = (struct str){(const char *)data, size};
	return data;
}
