/* SPDX-License-Identifier: Apache-2.0 */
/* The line, and when it is worth the operator's eye. */
#include "frontend/access_log.h"

#include "base/error.h"
#include "base/log.h"
#include "frontend/request_metadata.h"
#include "frontend/trace_parent.h"
#include "rpc/call.h"

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
	struct request_metadata metadata;

	if (!log_is_written(level))
		return;
	request_metadata_read(call, &metadata);
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
	    log_value(metadata.tool_name, tool),
	    log_value(metadata.tool_invocation_id, invocation),
	    log_value(metadata.target_id, target),
	    log_value(metadata.action_id, action),
	    log_value(trace_parent_of(call), trace),
	    log_value(rpc_call_end_text(call), error));
}
