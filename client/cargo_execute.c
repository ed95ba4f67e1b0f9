/* SPDX-License-Identifier: Apache-2.0 */
/* A unary call, and a stream that is read up to its last operation. */
#include "client/cargo_execute.h"

#include <google/longrunning/operations.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <stdlib.h>
#include <string.h>
#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "cas/digest_message.h"
#include "client/request_metadata.h"
#include "protos/arena_allocator.h"
#include "protos/early_outputs.h"
#include "rpc/channel.h"
#include "rpc/message.h"

#define SERVICES "/build.bazel.remote.execution.v2."
#define FIND_TIMEOUT_MS 20000
#define FIND_RETRIES 1

static ProtobufCBinaryData
binary(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* --- looking -------------------------------------------------------------- */

int
cargo_execute_find(const struct cargo_execute *execute,
    Reapi__ActionResult **result, struct error *err)
{
	struct str metadata = request_metadata_pack(execute->metadata);
	const struct rpc_metadata header = {REQUEST_METADATA_KEY, metadata};
	const struct rpc_call_options options = {.timeout_ms = FIND_TIMEOUT_MS,
	    .retries = FIND_RETRIES,
	    .metadata = &header,
	    .metadata_count = 1};
	Reapi__GetActionResultRequest request =
	    REAPI__GET_ACTION_RESULT_REQUEST__INIT;
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	ProtobufCBinaryData wanted;
	struct rpc_message *message, *response = NULL;
	char text[DIGEST_TEXT_MAX];
	int rc;

	digest_to_message(&execute->action, text, &digest);
	request.instance_name = binary(execute->instance);
	request.action_digest = &digest;
	request.inline_stderr = 1;
	if (execute->wanted_inline != NULL) {
		wanted = binary(execute->wanted_inline);
		request.inline_output_files = &wanted;
		request.n_inline_output_files = 1;
	}
	request.digest_function =
	    (Reapi__DigestFunction__Value)execute->action.function;
	message = rpc_message_pack(&request.base);
	rc = rpc_channel_call(execute->channel,
	    SERVICES "ActionCache/GetActionResult", message, &options,
	    &response, err);
	if (rc == 0) {
		*result = rpc_message_unpack(response,
		    &reapi__action_result__descriptor, execute->arena, err);
		rc = *result != NULL ? 1 : -1;
	} else if (err->code == ERROR_NOT_FOUND) {
		rc = 0;
	}
	rpc_message_free(message);
	rpc_message_free(response);
	free((char *)(uintptr_t)metadata.data);
	return rc;
}

/* --- running -------------------------------------------------------------- */

/* NULL when it is no such message, or none at all. */
static void *
unpack_any(const struct cargo_execute *execute,
    const Google__Protobuf__Any *any,
    const ProtobufCMessageDescriptor *descriptor)
{
	struct error ignored;

	if (any == NULL)
		return NULL;
	return protos_unpack(execute->arena, descriptor,
	    (struct str){(const char *)any->value.data, any->value.len},
	    &ignored);
}

static int
status_error(const GrpcStatus__Status *status, struct error *err)
{
	return error_set(err, (enum error_code)status->code, "%.300s",
	    status->message != NULL ? status->message : "");
}

/* What an update says beside the stage. A server that says it wrongly says
 * nothing. */
static void
read_news(const struct cargo_execute *execute,
    const Longrunning__Operation *operation)
{
	const Reapi__ExecuteOperationMetadata *metadata =
	    unpack_any(execute, operation->metadata,
		&reapi__execute_operation_metadata__descriptor);
	const Reapi__ExecutedActionMetadata *partial =
	    metadata != NULL ? metadata->partial_execution_metadata : NULL;

	for (size_t i = 0; partial != NULL && i < partial->n_auxiliary_metadata;
	     i++) {
		const Google__Protobuf__Any *any =
		    partial->auxiliary_metadata[i];
		const Workerapi__EarlyOutputs *early = NULL;

		if (strcmp(any->type_url, EARLY_OUTPUTS_TYPE) == 0)
			early = unpack_any(execute, any,
			    &workerapi__early_outputs__descriptor);
		if (early != NULL)
			execute->early(
			    execute->cookie, early->files, early->n_files);
	}
}

/* 1 with the result, 0 while it is under way, -1. */
static int
read_operation(const struct cargo_execute *execute, struct rpc_message *message,
    Reapi__ActionResult **result, struct error *err)
{
	const Longrunning__Operation *operation = rpc_message_unpack(
	    message, &longrunning__operation__descriptor, execute->arena, err);
	const Reapi__ExecuteResponse *response;
	const Google__Protobuf__Any *any;

	if (operation == NULL)
		return -1;
	if (!operation->done) {
		if (execute->early != NULL)
			read_news(execute, operation);
		return 0;
	}
	if (operation->result_case == LONGRUNNING__OPERATION__RESULT_ERROR)
		return status_error(operation->error, err);
	any = operation->response;
	if (operation->result_case != LONGRUNNING__OPERATION__RESULT_RESPONSE)
		return error_set(
		    err, ERROR_INTERNAL, "the operation ended without result");
	response = protos_unpack(execute->arena,
	    &reapi__execute_response__descriptor,
	    (struct str){(const char *)any->value.data, any->value.len}, err);
	if (response == NULL)
		return -1;
	if (response->status != NULL && response->status->code != 0)
		return status_error(response->status, err);
	if (response->result == NULL)
		return error_set(
		    err, ERROR_INTERNAL, "the response has no result");
	*result = response->result;
	return 1;
}

static int
read_stream(const struct cargo_execute *execute, struct rpc_stream *stream,
    Reapi__ActionResult **result, struct error *err)
{
	int rc = 0;

	while (rc == 0) {
		struct rpc_message *message = NULL;

		rc = rpc_stream_receive(stream, &message, err);
		if (rc == 0)
			return error_set(err, ERROR_UNAVAILABLE,
			    "the server ended the execution early");
		if (rc > 0)
			rc = read_operation(execute, message, result, err);
		rpc_message_free(message);
	}
	return rc > 0 ? 0 : -1;
}

static struct rpc_message *
make_request(const struct cargo_execute *execute)
{
	Reapi__ExecuteRequest request = REAPI__EXECUTE_REQUEST__INIT;
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	ProtobufCBinaryData wanted;
	char text[DIGEST_TEXT_MAX];

	digest_to_message(&execute->action, text, &digest);
	request.instance_name = binary(execute->instance);
	request.action_digest = &digest;
	request.skip_cache_lookup = execute->anew;
	request.inline_stderr = 1;
	if (execute->wanted_inline != NULL) {
		wanted = binary(execute->wanted_inline);
		request.inline_output_files = &wanted;
		request.n_inline_output_files = 1;
	}
	request.digest_function =
	    (Reapi__DigestFunction__Value)execute->action.function;
	return rpc_message_pack(&request.base);
}

int
cargo_execute_run(const struct cargo_execute *execute,
    Reapi__ActionResult **result, struct error *err)
{
	struct str metadata = request_metadata_pack(execute->metadata);
	const struct rpc_metadata header = {REQUEST_METADATA_KEY, metadata};
	const struct rpc_call_options options = {
	    .timeout_ms = execute->timeout_ms,
	    .silence_ms = execute->silence_ms,
	    .metadata = &header,
	    .metadata_count = 1};
	struct rpc_stream *stream = rpc_stream_open(
	    execute->channel, SERVICES "Execution/Execute", &options, err);
	int rc = -1;

	if (stream != NULL) {
		/* Why sending failed is told by receiving. */
		struct error ignored;

		if (rpc_stream_send(stream, make_request(execute), &ignored) ==
		    0)
			(void)rpc_stream_half_close(stream, &ignored);
		rc = read_stream(execute, stream, result, err);
	}
	rpc_stream_free(stream);
	free((char *)(uintptr_t)metadata.data);
	return rc;
}
