/* SPDX-License-Identifier: Apache-2.0 */
/* Small conversions between gRPC core's types and ours, and what was sent. */
#include "rpc/core.h"

#include <stdlib.h>

#include "base/log.h"

static atomic_size_t sent_bytes;

void
rpc_core_count_sent(size_t bytes)
{
	atomic_fetch_add_explicit(&sent_bytes, bytes, memory_order_relaxed);
}

size_t
rpc_core_sent(void)
{
	return atomic_load_explicit(&sent_bytes, memory_order_relaxed);
}

void
rpc_core_start(grpc_call *call, const grpc_op *ops, size_t count, void *tag)
{
	grpc_call_error error =
	    grpc_call_start_batch(call, ops, count, tag, NULL);

	if (error != GRPC_CALL_OK) {
		log_error("grpc_refused_batch", "error=\"%s\" operations=%zu",
		    grpc_call_error_to_string(error), count);
		abort();
	}
}

void
rpc_core_batch(
    grpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag)
{
	rpc_tag_give(tag);
	rpc_core_start(call, ops, count, tag);
}

int64_t
rpc_core_monotonic_ms(gpr_timespec time)
{
	gpr_timespec here = gpr_convert_clock_type(time, GPR_CLOCK_MONOTONIC);

	/* gRPC's "never" is the largest second. */
	if (here.tv_sec >= INT64_MAX / 1000 - 1)
		return CLOCK_NEVER;
	return here.tv_sec * 1000 + here.tv_nsec / 1000000;
}

struct str
rpc_core_metadata(const grpc_metadata_array *metadata, struct str key)
{
	for (size_t i = 0; i < metadata->count; i++) {
		const grpc_metadata *entry = &metadata->metadata[i];

		if (str_equal(rpc_core_str(&entry->key), key))
			return rpc_core_str(&entry->value);
	}
	return (struct str){NULL, 0};
}
