/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of times and usage. No state. */
#include "worker/run_metadata.h"

#include <stdbool.h>
#include <string.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "cas/toolchain_root.h"
#include "protos/arena_allocator.h"
#include "protos/wire.h"
#include "worker/run_limits.h"
#include "worker/sandbox.h"

#define BILLION 1000000000
/* Usage and environment. */
#define AUXILIARY_MAX 2
#define USAGE_TYPE \
	"type.googleapis.com/buildbarn.resourceusage.POSIXResourceUsage"
#define ENVIRONMENT_TYPE "type.googleapis.com/toolroot.worker.v1.RunEnvironment"
/* Field numbers of POSIXResourceUsage. */
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
	/* Of all processes together, where that is known. */
	len += wire_put_varint_field(bytes + len, USAGE_MAX_RSS,
	    outcome->usage.memory_peak > 0 ? outcome->usage.memory_peak
					   : (uint64_t)outcome->max_rss_bytes);
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

/* Borrows from place; false at the arena's cap. */
static bool
fill_roots(struct arena *arena, const struct toolchain_roots *roots,
    Workerapi__RunEnvironment *message)
{
	Workerapi__MountedTree *trees =
	    arena_zalloc(arena, roots->count + 1, sizeof(*trees));
	char text[DIGEST_TEXT_MAX];

	message->trees =
	    arena_zalloc(arena, roots->count + 1, sizeof(*message->trees));
	if (trees == NULL || message->trees == NULL)
		return false;
	for (size_t i = 0; i < roots->count; i++) {
		const struct toolchain_root *root = &roots->items[i];

		workerapi__mounted_tree__init(&trees[i]);
		trees[i].path =
		    arena_printf(arena, "/%.*s", STR_ARG(root->path));
		trees[i].digest = arena_copy(
		    arena, str_from(digest_format(&root->digest, text)));
		if (trees[i].path == NULL || trees[i].digest == NULL)
			return false;
		message->trees[message->n_trees++] = &trees[i];
	}
	return true;
}

static void
fill_resources(const struct run_place *place,
    const struct sandbox_outcome *outcome, Workerapi__Resources *message)
{
	const struct action_limits *limits = &place->limits->limits;
	const struct cgroup_usage *usage = &outcome->usage;

	message->limited_by = (char *)(uintptr_t)place->limited_by;
	message->memory_limit_bytes = limits->memory;
	message->memory_peak_bytes = usage->memory_peak;
	message->oom_kills = usage->oom_kills;
	message->memory_refused = usage->memory_refused;
	message->pids_limit = limits->pids;
	message->pids_refused = usage->pids_refused;
	message->cpu_limit_milli = limits->cpu_milli;
	message->read_bytes = usage->read_bytes;
	message->written_bytes = usage->written_bytes;
	message->network = place->limits->network;
}

static Google__Protobuf__Any *
environment(struct arena *arena, const struct run_place *place,
    const struct sandbox_outcome *outcome, bool *failed)
{
	Workerapi__RunEnvironment message = WORKERAPI__RUN_ENVIRONMENT__INIT;
	Workerapi__Resources resources = WORKERAPI__RESOURCES__INIT;
	Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));
	struct str packed;

	message.sandbox_tier = (char *)(uintptr_t)place->sandbox_tier;
	message.staging = (char *)(uintptr_t)place->staging;
	message.host_root = place->host_root;
	if (outcome != NULL) {
		fill_resources(place, outcome, &resources);
		message.resources = &resources;
	}
	message.trees_laid_out = (uint32_t)place->roots_laid_out;
	if (any == NULL || !fill_roots(arena, place->roots, &message) ||
	    protos_pack(arena, &message.base, &packed) == NULL) {
		*failed = true;
		return NULL;
	}
	google__protobuf__any__init(any);
	any->type_url = arena_copy(arena, STR(ENVIRONMENT_TYPE));
	any->value = (ProtobufCBinaryData){
	    .len = packed.len, .data = (uint8_t *)(uintptr_t)packed.data};
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
	metadata->auxiliary_metadata[metadata->n_auxiliary_metadata++] =
	    usage(arena, outcome, failed);
}

Reapi__ExecutedActionMetadata *
run_metadata_make(struct arena *arena, const struct run_place *place,
    const struct run_times *times, const struct sandbox_outcome *outcome,
    struct error *err)
{
	Reapi__ExecutedActionMetadata *metadata =
	    arena_alloc(arena, sizeof(*metadata));
	char *name = arena_copy(arena, str_from(place->worker));
	Google__Protobuf__Any **auxiliary =
	    arena_zalloc(arena, AUXILIARY_MAX, sizeof(*auxiliary));
	bool failed = metadata == NULL || name == NULL || auxiliary == NULL;

	if (!failed) {
		reapi__executed_action_metadata__init(metadata);
		metadata->worker = name;
		metadata->auxiliary_metadata = auxiliary;
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
		if (place->sandbox_tier != NULL)
			auxiliary[metadata->n_auxiliary_metadata++] =
			    environment(arena, place, outcome, &failed);
	}
	if (failed) {
		error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the result's metadata does not fit into memory");
		return NULL;
	}
	return metadata;
}
