/* SPDX-License-Identifier: Apache-2.0 */
/* The line. */
#include "frontend/operation_log.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "executor/operation.h"
#include "frontend/request_metadata.h"

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

void
operation_log_done(const struct operation *operation)
{
	const struct error *err = &operation->error;
	char values[7][LOG_VALUE_MAX], action[DIGEST_TEXT_MAX];
	char times[TIMES_MAX];
	struct request_metadata metadata;

	if (!log_is_written(LOG_INFO))
		return;
	request_metadata_parse(operation->request_metadata, &metadata);
	log_info("operation_done",
	    "name=%.*s action=%s worker=\"%s\" code=%s us=%lld%s "
	    "target=\"%s\" mnemonic=\"%s\" invocation=\"%s\" "
	    "identity=\"%s\" traceparent=\"%s\" error=\"%s\"",
	    STR_ARG(operation->name),
	    digest_format(&operation->action_digest, action),
	    log_value(str_from(operation->worker), values[6]),
	    error_code_name(err->code),
	    (long long)((clock_wall_ns() - operation->queued_ns) / 1000),
	    format_run(&operation->run, times),
	    log_value(metadata.target_id, values[0]),
	    log_value(metadata.action_mnemonic, values[1]),
	    log_value(metadata.tool_invocation_id, values[2]),
	    log_value(operation->identity, values[3]),
	    log_value(operation->traceparent, values[4]),
	    err->code != ERROR_OK ? log_value(str_from(err->text), values[5])
				  : "");
}
