/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of rpc/ share about gRPC core and nobody else should see:
 * tags of the completion queue, the bytes of a message as gRPC's type, clocks.
 * Needs grpc_init (rpc/runtime.h, or any server or channel that is open).
 */
#ifndef TOOLROOT_RPC_CORE_H
#define TOOLROOT_RPC_CORE_H

#include <grpc/grpc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"

struct rpc_message;

/* A tag is a pointer to one of these inside the object that waits. */
struct rpc_tag {
	void (*complete)(struct rpc_tag *tag, bool ok);
	/* gRPC's queue orders what one thread did before it gave the tag before
	 * what another does after it got it. ThreadSanitizer cannot see into
	 * gRPC; this tells it, and costs a plain store and load. */
	atomic_bool given;
};

static inline void
rpc_tag_give(struct rpc_tag *tag)
{
	atomic_store_explicit(&tag->given, true, memory_order_release);
}

static inline void
rpc_tag_got(struct rpc_tag *tag)
{
	(void)atomic_load_explicit(&tag->given, memory_order_acquire);
}

/* Takes the buffer; NULL stays NULL. */
struct rpc_message *rpc_message_from_buffer(grpc_byte_buffer *buffer);
/* Borrowed. */
grpc_byte_buffer *rpc_message_buffer(struct rpc_message *message);

/* The event is posted with this tag when the operations are done. Aborts when
 * gRPC refuses them: that is a mistake in rpc/, no peer can cause it. */
void rpc_core_start(
    grpc_call *call, const grpc_op *ops, size_t count, void *tag);
/* The same, for the pollers of a server. */
void rpc_core_batch(
    grpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag);

/* Bytes that this process gave gRPC to send as a client; a server counts as
 * many. Any thread. */
void rpc_core_count_sent(size_t bytes);
size_t rpc_core_sent(void);

/* From our monotonic milliseconds, CLOCK_NEVER included. */
static inline gpr_timespec
rpc_core_time(int64_t monotonic_ms)
{
	/* gpr's monotonic clock is CLOCK_MONOTONIC on Linux, as ours. */
	if (monotonic_ms == CLOCK_NEVER)
		return gpr_inf_future(GPR_CLOCK_MONOTONIC);
	return (gpr_timespec){
	    .tv_sec = monotonic_ms / 1000,
	    .tv_nsec = (int32_t)(monotonic_ms % 1000 * 1000000),
	    .clock_type = GPR_CLOCK_MONOTONIC,
	};
}

/* To them. */
int64_t rpc_core_monotonic_ms(gpr_timespec time);

/* The slice's bytes; it must stay where it is, as long as they are used. */
static inline struct str
rpc_core_str(const grpc_slice *slice)
{
	return (struct str){(const char *)GRPC_SLICE_START_PTR(*slice),
	    GRPC_SLICE_LENGTH(*slice)};
}

/* Value of a key, data NULL when absent. */
struct str rpc_core_metadata(
    const grpc_metadata_array *metadata, struct str key);

static inline grpc_arg
rpc_core_integer(const char *key, int value)
{
	return (grpc_arg){
	    .type = GRPC_ARG_INTEGER,
	    .key = (char *)(uintptr_t)key,
	    .value.integer = value,
	};
}

#endif
