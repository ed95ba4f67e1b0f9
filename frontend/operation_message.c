/* SPDX-License-Identifier: Apache-2.0 */
/* From operations to messages. */
#include "frontend/operation_message.h"

#include <google/protobuf/wrappers.pb-c.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "frontend/action_cache.h"
#include "frontend/output_stream.h"
#include "frontend/storage.h"
#include "protos/arena_allocator.h"
#include "protos/early_outputs.h"
#include "rpc/message.h"
#include "rpc/status.h"

/* A response of a worker, unpacked, and contents up to the limit, twice. */
#define INLINE_ARENA (64u << 20)
#define TYPE_URL "type.googleapis.com/"

/* Of auxiliary_metadata. */
#define NOTES_MAX 3
#define METADATA_MAX 8192

#define REAPI_TYPE TYPE_URL "build.bazel.remote.execution.v2."

void
operation_view_read(struct scheduler *scheduler,
    const struct operation *operation, struct operation_view *view)
{
	*view = (struct operation_view){
	    .name = operation->name,
	    .action_digest = operation->action_digest,
	    .queued_ns = operation->queued_ns,
	    .request_metadata = operation->request_metadata,
	};
	scheduler_status(scheduler, operation, &view->status);
	if (view->status.state != OPERATION_DONE)
		return;
	view->response = operation->response;
	view->error = &operation->error;
}

static Google__Protobuf__Any *
any_of_bytes(struct arena *arena, const char *type_url, struct str bytes)
{
	Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));

	if (any == NULL)
		return NULL;
	google__protobuf__any__init(any);
	any->type_url = (char *)(uintptr_t)type_url;
	any->value =
	    (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.data};
	return any;
}

static Google__Protobuf__Any *
any_of_message(
    struct arena *arena, const char *type_url, const ProtobufCMessage *message)
{
	struct str bytes;

	if (protos_pack(arena, message, &bytes) == NULL)
		return NULL;
	return any_of_bytes(arena, type_url, bytes);
}

static Reapi__ExecutionStage__Value
stage_of(enum operation_state state)
{
	switch (state) {
	case OPERATION_QUEUED:
		return REAPI__EXECUTION_STAGE__VALUE__QUEUED;
	case OPERATION_LEASED:
	case OPERATION_EXECUTING:
	case OPERATION_STORING:
		return REAPI__EXECUTION_STAGE__VALUE__EXECUTING;
	case OPERATION_DONE:
		break;
	}
	return REAPI__EXECUTION_STAGE__VALUE__COMPLETED;
}

/* Where it stands, for people. NULL when there is nothing to say. */
static Google__Protobuf__Any *
progress_of(struct arena *arena, const struct operation_status *status)
{
	Google__Protobuf__StringValue value =
	    GOOGLE__PROTOBUF__STRING_VALUE__INIT;

	if (status->state != OPERATION_QUEUED)
		return NULL;
	value.value = arena_printf(arena,
	    "queued: place %zu in this build's turn, %zu waiting for such a "
	    "worker%s%s",
	    status->place, status->queued,
	    status->attempt > 0 ? "; tried before on " : "", status->worker);
	if (value.value == NULL)
		return NULL;
	return any_of_message(
	    arena, TYPE_URL "google.protobuf.StringValue", &value.base);
}

/* How many there are. */
static size_t
notes_of(struct arena *arena, const struct operation_view *view,
    Google__Protobuf__Any *notes[static NOTES_MAX])
{
	Google__Protobuf__Any *all[NOTES_MAX] = {
	    progress_of(arena, &view->status)};
	size_t count = 0;

	/* What it is for. */
	if (view->request_metadata.len > 0 &&
	    view->request_metadata.len <= METADATA_MAX)
		all[1] = any_of_bytes(arena, REAPI_TYPE "RequestMetadata",
		    view->request_metadata);
	if (view->early.len > 0)
		all[2] = any_of_bytes(arena, EARLY_OUTPUTS_TYPE, view->early);
	for (size_t i = 0; i < NOTES_MAX; i++) {
		if (all[i] != NULL)
			notes[count++] = all[i];
	}
	return count;
}

/* Where its output can be read while it runs. */
static int
add_stream_names(struct arena *arena, struct str name,
    Reapi__ExecuteOperationMetadata *metadata)
{
	static const char *const suffixes[] = {
	    OUTPUT_STREAM_STDOUT, OUTPUT_STREAM_STDERR};
	ProtobufCBinaryData *const fields[] = {
	    &metadata->stdout_stream_name, &metadata->stderr_stream_name};

	for (int i = 0; i < 2; i++) {
		char *text =
		    arena_printf(arena, "%.*s%s", STR_ARG(name), suffixes[i]);

		if (text == NULL)
			return -1;
		fields[i]->data = (uint8_t *)text;
		fields[i]->len = strlen(text);
	}
	return 0;
}

static Google__Protobuf__Any *
metadata_of(struct arena *arena, const struct operation_view *view)
{
	Reapi__ExecuteOperationMetadata metadata =
	    REAPI__EXECUTE_OPERATION_METADATA__INIT;
	Reapi__ExecutedActionMetadata partial =
	    REAPI__EXECUTED_ACTION_METADATA__INIT;
	Google__Protobuf__Timestamp queued = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Google__Protobuf__Any *notes[NOTES_MAX];
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	char hash[DIGEST_TEXT_MAX];

	metadata.stage = stage_of(view->status.state);
	digest_to_message(&view->action_digest, hash, &digest);
	metadata.action_digest = &digest;
	metadata.digest_function =
	    (Reapi__DigestFunction__Value)view->action_digest.function;
	if (view->queued_ns > 0) {
		if (add_stream_names(arena, view->name, &metadata) < 0)
			return NULL;
		queued.seconds = view->queued_ns / 1000000000;
		queued.nanos = (int32_t)(view->queued_ns % 1000000000);
		partial.queued_timestamp = &queued;
		partial.worker = (char *)(uintptr_t)view->status.worker;
		partial.auxiliary_metadata = notes;
		partial.n_auxiliary_metadata = notes_of(arena, view, notes);
		metadata.partial_execution_metadata = &partial;
	}
	return any_of_message(
	    arena, REAPI_TYPE "ExecuteOperationMetadata", &metadata.base);
}

static Google__Protobuf__Any *
response_of(struct arena *arena, const struct operation_view *view)
{
	const char *type = REAPI_TYPE "ExecuteResponse";
	Reapi__ExecuteResponse response = REAPI__EXECUTE_RESPONSE__INIT;

	if (view->error == NULL || view->error->code == ERROR_OK)
		return any_of_bytes(arena, type, view->response);
	response.status = rpc_status_from_error(arena, view->error);
	if (response.status == NULL)
		return NULL;
	response.message = (char *)(uintptr_t)view->error->text;
	return any_of_message(arena, type, &response.base);
}

Longrunning__Operation *
operation_message(struct arena *arena, const struct operation_view *view)
{
	Longrunning__Operation *message = arena_alloc(arena, sizeof(*message));

	if (message == NULL)
		return NULL;
	longrunning__operation__init(message);
	message->name = (ProtobufCBinaryData){
	    view->name.len, (uint8_t *)(uintptr_t)view->name.data};
	message->metadata = metadata_of(arena, view);
	if (message->metadata == NULL)
		return NULL;
	if (view->status.state != OPERATION_DONE)
		return message;
	message->done = true;
	message->result_case = LONGRUNNING__OPERATION__RESULT_RESPONSE;
	message->response = response_of(arena, view);
	return message->response != NULL ? message : NULL;
}

struct rpc_message *
operation_message_pack(const struct operation_view *view)
{
	Longrunning__Operation *message;
	struct rpc_message *packed;
	struct arena arena;

	arena_init(&arena, OPERATION_MESSAGE_ARENA);
	message = operation_message(&arena, view);
	/* Names, digests and texts are bounded far below the arena. */
	if (message == NULL)
		abort();
	packed = rpc_message_pack(&message->base);
	arena_clear(&arena);
	return packed;
}

struct rpc_message *
operation_message_now(
    struct scheduler *scheduler, const struct operation *operation, bool *done)
{
	struct operation_view view;
	struct rpc_message *message;

	operation_view_read(scheduler, operation, &view);
	view.early = scheduler_operation_early(scheduler, operation);
	*done = view.status.state == OPERATION_DONE;
	message = operation_message_pack(&view);
	free((char *)(uintptr_t)view.early.data);
	return message;
}

/* Replaces view->response. On failure it stays as it is. */
static void
inline_response(struct arena *arena, struct operation_view *view,
    struct store *store, const struct inline_options *inlining)
{
	Reapi__ExecuteResponse *response;
	struct str packed;
	struct error err;

	response = protos_unpack(
	    arena, &reapi__execute_response__descriptor, view->response, &err);
	if (response == NULL || response->result == NULL)
		return;
	if (action_cache_inline(store, inlining, arena, response->result,
		view->action_digest.function, &err) < 0)
		log_warn("inline_failed", "operation=%.*s error=\"%s\"",
		    STR_ARG(view->name), err.text);
	else if (protos_pack(arena, &response->base, &packed) != NULL &&
		 packed.len < STORAGE_BATCH_MAX)
		view->response = packed;
}

struct rpc_message *
operation_message_inlined(struct scheduler *scheduler,
    const struct operation *operation, struct store *store,
    const struct inline_options *inlining)
{
	struct operation_view view;
	struct rpc_message *message;
	struct arena arena;

	arena_init(&arena, INLINE_ARENA);
	operation_view_read(scheduler, operation, &view);
	if (view.response.len > 0 &&
	    view.response.len < ACTION_CACHE_INLINE_MAX)
		inline_response(&arena, &view, store, inlining);
	message = operation_message_pack(&view);
	arena_clear(&arena);
	return message;
}
