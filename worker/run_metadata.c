/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of times and usage. No state. */
#include "worker/run_metadata.h"

#include <stdbool.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "protos/wire.h"
#include "worker/sandbox.h"

#define BILLION 1000000000
#define USAGE_TYPE \
	"type.googleapis.com/buildbarn.resourceusage.POSIXResourceUsage"
/* Field numbers of that message. */
#define USAGE_USER_TIME 1
#define USAGE_SYSTEM_TIME 2
#define USAGE_MAX_RSS 3
/* Field numbers of google.protobuf.Duration. */
#define DURATION_SECONDS 1
#define DURATION_NANOS 2

/* Sets *failed at the arena's cap. NULL for 0. */
static Google__Protobuf__Timestamp *
timestamp(struct arena *arena, int64_t ns, bool *failed)
{
	Google__Protobuf__Timestamp *message;

	if (ns == 0)
		return NULL;
	message = arena_alloc(arena, sizeof(*message));
	if (message == NULL) {
		*failed = true;
		return NULL;
	}
	google__protobuf__timestamp__init(message);
	message->seconds = ns / BILLION;
	message->nanos = (int32_t)(ns % BILLION);
	return message;
}

static Google__Protobuf__Duration *
duration(struct arena *arena, int64_t ns, bool *failed)
{
	Google__Protobuf__Duration *message =
	    arena_alloc(arena, sizeof(*message));

	if (message == NULL) {
		*failed = true;
		return NULL;
	}
	google__protobuf__duration__init(message);
	message->seconds = ns / BILLION;
	message->nanos = (int32_t)(ns % BILLION);
	return message;
}

/* Writes field number with a Duration; returns its length. */
static size_t
put_duration(uint8_t *out, uint32_t number, int64_t us)
{
	uint8_t body[4 * WIRE_VARINT_MAX];
	size_t len;
	size_t header;

	len = wire_put_varint_field(
	    body, DURATION_SECONDS, (uint64_t)(us / 1000000));
	len += wire_put_varint_field(
	    body + len, DURATION_NANOS, (uint64_t)(us % 1000000 * 1000));
	header = wire_put_bytes_header(out, number, len);
	memcpy(out + header, body, len);
	return header + len;
}

static Google__Protobuf__Any *
usage(struct arena *arena, const struct sandbox_outcome *outcome, bool *failed)
{
	uint8_t bytes[16 * WIRE_VARINT_MAX];
	Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));
	size_t len = 0;
	char *copy;

	len += put_duration(bytes + len, USAGE_USER_TIME, outcome->user_us);
	len += put_duration(bytes + len, USAGE_SYSTEM_TIME, outcome->system_us);
	len += wire_put_varint_field(
	    bytes + len, USAGE_MAX_RSS, (uint64_t)outcome->max_rss_bytes);
	copy = arena_copy(arena, (struct str){(const char *)bytes, len});
	if (any == NULL || copy == NULL) {
		*failed = true;
		return NULL;
	}
	google__protobuf__any__init(any);
	any->type_url = arena_copy(arena, STR(USAGE_TYPE));
	any->value = (ProtobufCBinaryData){.len = len, .data = (uint8_t *)copy};
	*failed = *failed || any->type_url == NULL;
	return any;
}

static void
add_outcome(Reapi__ExecutedActionMetadata *metadata, struct arena *arena,
    const struct sandbox_outcome *outcome, bool *failed)
{
	metadata->execution_start_timestamp =
	    timestamp(arena, outcome->started_wall_ns, failed);
	metadata->execution_completed_timestamp =
	    timestamp(arena, outcome->completed_wall_ns, failed);
	metadata->virtual_execution_duration =
	    duration(arena, outcome->duration_ns, failed);
	metadata->auxiliary_metadata =
	    arena_zalloc(arena, 1, sizeof(*metadata->auxiliary_metadata));
	if (metadata->auxiliary_metadata == NULL) {
		*failed = true;
		return;
	}
	metadata->auxiliary_metadata[0] = usage(arena, outcome, failed);
	metadata->n_auxiliary_metadata = 1;
}

Reapi__ExecutedActionMetadata *
run_metadata_make(struct arena *arena, const char *worker,
    const struct run_times *times, const struct sandbox_outcome *outcome,
    struct error *err)
{
	Reapi__ExecutedActionMetadata *metadata =
	    arena_alloc(arena, sizeof(*metadata));
	char *name = arena_copy(arena, str_from(worker));
	bool failed = metadata == NULL || name == NULL;

	if (!failed) {
		reapi__executed_action_metadata__init(metadata);
		metadata->worker = name;
		metadata->queued_timestamp =
		    timestamp(arena, times->queued, &failed);
		metadata->worker_start_timestamp =
		    timestamp(arena, times->worker_start, &failed);
		metadata->worker_completed_timestamp =
		    timestamp(arena, times->worker_completed, &failed);
		metadata->input_fetch_start_timestamp =
		    timestamp(arena, times->input_fetch_start, &failed);
		metadata->input_fetch_completed_timestamp =
		    timestamp(arena, times->input_fetch_completed, &failed);
		metadata->output_upload_start_timestamp =
		    timestamp(arena, times->output_upload_start, &failed);
		metadata->output_upload_completed_timestamp =
		    timestamp(arena, times->output_upload_completed, &failed);
		if (outcome != NULL)
			add_outcome(metadata, arena, outcome, &failed);
	}
	if (failed) {
		error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the result's metadata does not fit into memory");
		return NULL;
	}
	return metadata;
}
