/* SPDX-License-Identifier: Apache-2.0 */
/* The line. */
#include "frontend/operation_log.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "executor/operation.h"
#include "frontend/request_metadata.h"
#include "protos/wire.h"

#define TIMES_MAX 256

/* " exit=0 out=123 queue_us=..."; "" when no worker told. */
static const char *
format_run(const struct operation_run *run, char text[static TIMES_MAX])
{
	size_t len;

	text[0] = '\0';
	if (!run->told)
		return text;
	len = (size_t)snprintf(text, TIMES_MAX, " exit=%d out=%llu",
	    run->exit_code, (unsigned long long)run->output_bytes);
	for (int i = 0; i < OPERATION_STAGES && len < TIMES_MAX; i++) {
		if (run->ns[i] < 0)
			continue;
		len +=
		    (size_t)snprintf(text + len, TIMES_MAX - len, " %s_us=%lld",
			operation_stage_name((enum operation_stage)i),
			(long long)(run->ns[i] / 1000));
	}
	return text;
}

enum {
	RESPONSE_STATUS = 3, /* of ExecuteResponse */
	STATUS_CODE = 1,
	STATUS_MESSAGE = 2,
};

/* What the client is told of how it ended: an operation that was answered may
 * have failed all the same. */
static enum error_code
read_outcome(const struct operation *operation, struct str *text)
{
	enum error_code code = operation->error.code;
	struct str response = operation->response, status = STR("");
	struct wire_field field;

	*text = code != ERROR_OK ? str_from(operation->error.text) : STR("");
	if (code != ERROR_OK)
		return code;
	while (wire_next(&response, &field) > 0) {
		if (field.number == RESPONSE_STATUS && field.type == WIRE_BYTES)
			status = field.bytes;
	}
	while (wire_next(&status, &field) > 0) {
		if (field.number == STATUS_CODE && field.type == WIRE_VARINT)
			code = (enum error_code)field.value;
		else if (field.number == STATUS_MESSAGE &&
			 field.type == WIRE_BYTES)
			*text = field.bytes;
	}
	return code;
}

void
operation_log_done(const struct operation *operation)
{
	char values[7][LOG_VALUE_MAX], action[DIGEST_TEXT_MAX];
	char times[TIMES_MAX];
	struct request_metadata metadata;
	enum error_code code;
	struct str text;

	if (!log_is_written(LOG_INFO))
		return;
	request_metadata_parse(operation->request_metadata, &metadata);
	code = read_outcome(operation, &text);
	log_info("operation_done",
	    "name=%.*s action=%s worker=\"%s\" code=%s us=%lld%s "
	    "target=\"%s\" mnemonic=\"%s\" invocation=\"%s\" "
	    "identity=\"%s\" traceparent=\"%s\" error=\"%s\"",
	    STR_ARG(operation->name),
	    digest_format(&operation->action_digest, action),
	    log_value(str_from(operation->worker), values[6]),
	    error_code_name(code),
	    (long long)((clock_wall_ns() - operation->queued_ns) / 1000),
	    format_run(&operation->run, times),
	    log_value(metadata.target_id, values[0]),
	    log_value(metadata.action_mnemonic, values[1]),
	    log_value(metadata.tool_invocation_id, values[2]),
	    log_value(operation->identity, values[3]),
	    log_value(operation->traceparent, values[4]),
	    log_value(text, values[5]));
}
