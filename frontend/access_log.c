/* SPDX-License-Identifier: Apache-2.0 */
/* The line, and when it is worth the operator's eye. */
#include "frontend/access_log.h"

#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "cas/digest.h"
#include "cas/digest_message.h"
#include "frontend/request_metadata.h"
#include "frontend/trace_parent.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/server.h"

static bool
is_failure(int status)
{
	return status != ERROR_OK && status != ERROR_NOT_FOUND &&
	       status != ERROR_CANCELLED;
}

/* Streams that wait for something to happen. */
static bool
lives_long(struct str path)
{
	static const char *const prefixes[] = {
	    "/build.bazel.remote.execution.v2.Execution/",
	    "/toolroot.worker.v1.Workers/",
	    "/grpc.health.v1.Health/Watch",
	    "/grpc.reflection.",
	    "/google.longrunning.Operations/WaitOperation",
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		if (str_starts_with(path, str_from(prefixes[i])))
			return true;
	}
	return false;
}

/* --- the action ------------------------------------------------------------
 * Clients need not name it in their metadata; these requests do. */

/* "HASH/SIZE", as the request has it; "" when it names none. */
static struct str
digest_text(struct str digest, char text[static DIGEST_TEXT_MAX])
{
	struct str hash;
	int64_t size;
	int len;

	(void)digest_message_read(digest, &hash, &size);
	if (hash.len == 0 || hash.len > 2 * DIGEST_HASH_MAX)
		return STR("");
	len = snprintf(text, DIGEST_TEXT_MAX, "%.*s/%llu", STR_ARG(hash),
	    (unsigned long long)size);
	return (struct str){text, (size_t)len};
}

static struct str
requested_action(struct rpc_call *call, char text[static DIGEST_TEXT_MAX])
{
	static const struct {
		const char *path;
		uint32_t field; /* of the digest */
	} methods[] = {
	    {"/build.bazel.remote.execution.v2.ActionCache/GetActionResult", 2},
	    {"/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
		2},
	    {"/build.bazel.remote.execution.v2.Execution/Execute", 6},
	};
	struct rpc_message *request = rpc_call_request(call);
	struct str digest = STR(""), message;
	struct wire_field field;
	size_t i = 0, count = sizeof(methods) / sizeof(methods[0]);

	while (i < count &&
	       !str_equal(rpc_call_path(call), str_from(methods[i].path)))
		i++;
	/* A large one may be in pieces, and is not copied for a line. */
	if (i == count || request == NULL ||
	    rpc_message_size(request) > RPC_SMALL_REQUEST)
		return STR("");
	message = rpc_message_flat(request);
	while (wire_next(&message, &field) > 0) {
		if (field.number == methods[i].field &&
		    field.type == WIRE_BYTES)
			digest = field.bytes;
	}
	return digest_text(digest, text);
}

/* --- the line ------------------------------------------------------------- */

void
access_log_write(
    struct rpc_call *call, int status, int64_t duration_ns, int64_t slow_ns)
{
	struct str path = rpc_call_path(call);
	bool slow = duration_ns >= slow_ns && !lives_long(path);
	enum log_level level =
	    is_failure(status) || slow ? LOG_INFO : LOG_DEBUG;
	char tool[LOG_VALUE_MAX], invocation[LOG_VALUE_MAX];
	char target[LOG_VALUE_MAX], action[LOG_VALUE_MAX];
	char identity[LOG_VALUE_MAX], trace[LOG_VALUE_MAX];
	char error[LOG_VALUE_MAX], method[LOG_VALUE_MAX];
	char digest[DIGEST_TEXT_MAX];
	struct request_metadata metadata;
	struct str requested;

	if (!log_is_written(level))
		return;
	request_metadata_read(call, &metadata);
	requested = requested_action(call, digest);
	log_write(level, "rpc",
	    "method=%s status=%s us=%lld in=%llu out=%llu peer=%.*s "
	    "identity=\"%s\" "
	    "tool=\"%s\" invocation=\"%s\" target=\"%s\" action=\"%s\" "
	    "traceparent=\"%s\" error=\"%s\"",
	    log_word(path, method), error_code_name((enum error_code)status),
	    (long long)(duration_ns / 1000),
	    (unsigned long long)rpc_call_received_bytes(call),
	    (unsigned long long)rpc_call_sent_bytes(call),
	    STR_ARG(rpc_call_peer(call)),
	    log_value(rpc_call_identity(call), identity),
	    log_value(request_metadata_tool(&metadata), tool),
	    log_value(metadata.tool_invocation_id, invocation),
	    log_value(metadata.target_id, target),
	    log_value(
		requested.len > 0 ? requested : metadata.action_id, action),
	    log_value(trace_parent_of(call), trace),
	    log_value(rpc_call_end_text(call), error));
}
