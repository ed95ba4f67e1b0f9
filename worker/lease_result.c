/* SPDX-License-Identifier: Apache-2.0 */
/* LeaseResult messages. No state. */
#include "worker/lease_result.h"

#include "base/arena.h"
#include "base/error.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "rpc/status.h"
#include "worker/lease_table.h"
#include "worker/session.h"

/* More would not fit into what clients accept. */
#define VIOLATIONS_MAX 1000

int
lease_result_check(const Workerapi__Lease *message, struct error *err)
{
	enum digest_function function =
	    (enum digest_function)message->digest_function;
	const Reapi__Action *action = message->action;
	const Google__Protobuf__Duration *timeout = message->timeout;
	struct digest digest;

	if (message->lease_id.len == 0)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the lease has no id");
	if (digest_hash_length(function) == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the worker cannot compute digest function %d",
		    (int)message->digest_function);
	if (action == NULL)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the lease has no action");
	if (timeout == NULL || timeout->seconds < 0 || timeout->nanos < 0 ||
	    (timeout->seconds == 0 && timeout->nanos == 0))
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the lease has no timeout");
	if (digest_from_message(
		function, action->command_digest, &digest, err) < 0 ||
	    digest_from_message(
		function, action->input_root_digest, &digest, err) < 0)
		return -1;
	return 0;
}

/* "blobs/<hash>/<size>", with the function's name where the length of the
 * hash does not tell it. */
static char *
subject(struct arena *arena, const struct digest *digest)
{
	char text[DIGEST_TEXT_MAX];

	return arena_printf(arena, "blobs/%s", digest_format(digest, text));
}

static int
add_missing(struct held_lease *lease, GrpcStatus__Status *status,
    const struct digest_list *missing, struct error *err)
{
	size_t count =
	    missing->count < VIOLATIONS_MAX ? missing->count : VIOLATIONS_MAX;
	struct rpc_violation *violations =
	    arena_zalloc(&lease->arena, count, sizeof(*violations));

	for (size_t i = 0; violations != NULL && i < count; i++) {
		char *text = subject(&lease->arena, &missing->items[i]);

		violations[i].type = STR("MISSING");
		violations[i].subject = str_from(text);
		violations[i].description = STR("");
	}
	if (violations == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "no memory for the list of missing blobs");
	return rpc_status_add_violations(
	    &lease->arena, status, violations, count, err);
}

void
lease_result_send(struct session *session, struct held_lease *lease,
    const struct lease_result *result)
{
	const struct error none = {.code = ERROR_OK};
	Workerapi__LeaseResult message = WORKERAPI__LEASE_RESULT__INIT;
	GrpcStatus__Status plain = GRPC_STATUS__STATUS__INIT;
	struct error ignored;

	message.lease_id = lease->message->lease_id;
	message.result = result->result;
	if (result->message != NULL)
		message.message = (char *)(uintptr_t)result->message;
	message.status = rpc_status_from_error(
	    &lease->arena, result->error != NULL ? result->error : &none);
	if (message.status == NULL) {
		/* The arena is full, the code still gets through. */
		plain.code = result->error != NULL
				 ? (int32_t)result->error->code
				 : ERROR_OK;
		message.status = &plain;
	} else if (result->missing != NULL && result->missing->count > 0) {
		/* Without the list the status is still right. */
		(void)add_missing(
		    lease, message.status, result->missing, &ignored);
	}
	session_send_result(session, &message);
}

void
lease_result_refuse(
    struct session *session, struct held_lease *lease, const struct error *err)
{
	struct lease_result result = {.error = err};

	lease_result_send(session, lease, &result);
}

void
lease_result_fit(Workerapi__WorkerMessage *message, size_t max_bytes,
    GrpcStatus__Status *spare)
{
	static const char text[] = "the action's result is longer than the "
				   "server takes: it has too many outputs";
	Workerapi__LeaseResult *result = message->lease_result;

	if (max_bytes == 0 || result->result == NULL ||
	    workerapi__worker_message__get_packed_size(message) <= max_bytes)
		return;
	result->result->stdout_raw = (ProtobufCBinaryData){.len = 0};
	result->result->stderr_raw = (ProtobufCBinaryData){.len = 0};
	if (workerapi__worker_message__get_packed_size(message) <= max_bytes)
		return;
	grpc_status__status__init(spare);
	spare->code = ERROR_INVALID_ARGUMENT;
	spare->message = (char *)(uintptr_t)text;
	result->result = NULL;
	result->status = spare;
}
