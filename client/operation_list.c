/* SPDX-License-Identifier: Apache-2.0 */
/* Asking for operations and taking their messages apart. */
#include "client/operation_list.h"

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <google/longrunning/operations.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/printable.h"
#include "base/str.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"
#include "rpc/channel.h"
#include "rpc/message.h"

#define SERVICE "/google.longrunning.Operations/"
#define TIMEOUT_MS 60000
#define RETRIES 5
/* More than a server has that means well. */
#define PAGES_MAX 2000
#define HASH_PREFIX_MIN 8

/* What is shown, and came from clients and workers. "" at the arena's cap: then
 * it is not said. */
static const char *
text_of(struct arena *arena, struct str text)
{
	char *copy = arena_copy(arena, text);

	if (copy == NULL)
		return "";
	printable_make(copy, text.len, PRINTABLE_LINE);
	return copy;
}

static void *
call(struct rpc_channel *channel, const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
    struct error *err)
{
	const struct rpc_call_options options = {
	    .timeout_ms = TIMEOUT_MS, .retries = RETRIES};
	struct rpc_message *message = rpc_message_pack(request);
	struct rpc_message *response = NULL;
	void *unpacked = NULL;

	if (rpc_channel_call(
		channel, path, message, &options, &response, err) == 0)
		unpacked = rpc_message_unpack(response, descriptor, arena, err);
	rpc_message_free(message);
	rpc_message_free(response);
	return unpacked;
}

/* --- one ------------------------------------------------------------------ */

/* What it cannot read counts as not said. */
static const void *
open_any(struct arena *arena, const Google__Protobuf__Any *any,
    const char *type, const ProtobufCMessageDescriptor *descriptor)
{
	const char *slash = any != NULL ? strrchr(any->type_url, '/') : NULL;
	struct error ignored;

	if (slash == NULL || strcmp(slash + 1, type) != 0)
		return NULL;
	return protos_unpack(
	    arena, descriptor, binary_str(any->value), &ignored);
}

#define REAPI_TYPE "build.bazel.remote.execution.v2."

static void
fill_request(struct operation_info *info, struct arena *arena,
    const Reapi__ExecutedActionMetadata *partial)
{
	for (size_t i = 0; i < partial->n_auxiliary_metadata; i++) {
		const Reapi__RequestMetadata *request =
		    open_any(arena, partial->auxiliary_metadata[i],
			REAPI_TYPE "RequestMetadata",
			&reapi__request_metadata__descriptor);

		if (request == NULL)
			continue;
		info->target = text_of(arena, binary_str(request->target_id));
		info->mnemonic =
		    text_of(arena, binary_str(request->action_mnemonic));
		info->invocation =
		    text_of(arena, binary_str(request->tool_invocation_id));
	}
}

static const char *
stage_name(Reapi__ExecutionStage__Value stage)
{
	switch (stage) {
	case REAPI__EXECUTION_STAGE__VALUE__CACHE_CHECK:
		return "cache-check";
	case REAPI__EXECUTION_STAGE__VALUE__QUEUED:
		return "queued";
	case REAPI__EXECUTION_STAGE__VALUE__EXECUTING:
		return "executing";
	case REAPI__EXECUTION_STAGE__VALUE__COMPLETED:
		return "done";
	default:
		return "unknown";
	}
}

static void
fill_metadata(struct operation_info *info, struct arena *arena,
    const Reapi__ExecuteOperationMetadata *metadata)
{
	const Reapi__ExecutedActionMetadata *partial =
	    metadata->partial_execution_metadata;
	const Reapi__Digest *digest = metadata->action_digest;

	info->stage = stage_name(metadata->stage);
	info->stdout_stream =
	    text_of(arena, binary_str(metadata->stdout_stream_name));
	info->stderr_stream =
	    text_of(arena, binary_str(metadata->stderr_stream_name));
	if (digest != NULL) {
		const char *text = arena_printf(arena, "%.*s/%lld",
		    (int)digest->hash.len, (const char *)digest->hash.data,
		    (long long)digest->size_bytes);

		info->action = text != NULL ? text : "";
	}
	if (partial == NULL)
		return;
	info->worker = text_of(arena, str_from(partial->worker));
	if (partial->queued_timestamp != NULL)
		info->queued_s = partial->queued_timestamp->seconds;
	fill_request(info, arena, partial);
}

static void
fill_response(struct operation_info *info, struct arena *arena,
    const Reapi__ExecuteResponse *response)
{
	if (response->status != NULL && response->status->code != 0)
		info->error =
		    text_of(arena, str_from(response->status->message));
	if (response->result == NULL)
		return;
	info->has_exit_code = true;
	info->exit_code = response->result->exit_code;
}

static void
fill(struct operation_info *info, struct arena *arena,
    const Longrunning__Operation *message)
{
	const Reapi__ExecuteOperationMetadata *metadata = open_any(arena,
	    message->metadata, REAPI_TYPE "ExecuteOperationMetadata",
	    &reapi__execute_operation_metadata__descriptor);
	const Reapi__ExecuteResponse *response = NULL;

	*info = (struct operation_info){.stage = "unknown",
	    .action = "",
	    .worker = "",
	    .target = "",
	    .mnemonic = "",
	    .invocation = "",
	    .stdout_stream = "",
	    .stderr_stream = "",
	    .error = ""};
	info->name = text_of(arena, binary_str(message->name));
	info->done = message->done;
	if (metadata != NULL)
		fill_metadata(info, arena, metadata);
	if (message->result_case == LONGRUNNING__OPERATION__RESULT_RESPONSE)
		response = open_any(arena, message->response,
		    REAPI_TYPE "ExecuteResponse",
		    &reapi__execute_response__descriptor);
	if (response != NULL)
		fill_response(info, arena, response);
}

int
operation_info_get(struct operation_info *info, struct rpc_channel *channel,
    const char *name, struct arena *arena, struct error *err)
{
	Longrunning__GetOperationRequest request =
	    LONGRUNNING__GET_OPERATION_REQUEST__INIT;
	const Longrunning__Operation *message;

	request.name = binary_of(str_from(name));
	message = call(channel, SERVICE "GetOperation", &request.base,
	    &longrunning__operation__descriptor, arena, err);
	if (message == NULL)
		return -1;
	fill(info, arena, message);
	return 0;
}

/* --- all ------------------------------------------------------------------ */

static void
append(struct operation_list *list, struct arena *arena,
    const Longrunning__ListOperationsResponse *response)
{
	list->items = xreallocarray(list->items,
	    list->count + response->n_operations + 1, sizeof(*list->items));
	for (size_t i = 0; i < response->n_operations; i++)
		fill(&list->items[list->count++], arena,
		    response->operations[i]);
}

int
operation_list_get(struct operation_list *list, struct rpc_channel *channel,
    const char *instance, struct arena *arena, struct error *err)
{
	Longrunning__ListOperationsRequest request =
	    LONGRUNNING__LIST_OPERATIONS_REQUEST__INIT;
	const Longrunning__ListOperationsResponse *response;

	*list = (struct operation_list){NULL, 0};
	request.name = binary_of(str_from(instance));
	for (int page = 0; page < PAGES_MAX; page++) {
		response =
		    call(channel, SERVICE "ListOperations", &request.base,
			&longrunning__list_operations_response__descriptor,
			arena, err);
		if (response == NULL) {
			operation_list_clear(list);
			return -1;
		}
		append(list, arena, response);
		if (response->next_page_token.len == 0)
			break;
		request.page_token = response->next_page_token;
	}
	return 0;
}

void
operation_list_clear(struct operation_list *list)
{
	free(list->items);
	*list = (struct operation_list){NULL, 0};
}

static bool
means(const struct operation_info *info, const char *what)
{
	const char *slash = strrchr(info->name, '/');
	size_t len = strlen(what);

	return strcmp(info->name, what) == 0 ||
	       (slash != NULL && strcmp(slash + 1, what) == 0) ||
	       strcmp(info->target, what) == 0 ||
	       strcmp(info->invocation, what) == 0 ||
	       (len >= HASH_PREFIX_MIN &&
		   strncmp(info->action, what, len) == 0);
}

const struct operation_info *
operation_list_find(const struct operation_list *list, const char *what)
{
	const struct operation_info *done = NULL;

	if (*what == '\0')
		return NULL;
	for (size_t i = list->count; i > 0; i--) {
		const struct operation_info *info = &list->items[i - 1];

		if (!means(info, what))
			continue;
		if (!info->done)
			return info;
		if (done == NULL)
			done = info;
	}
	return done;
}
