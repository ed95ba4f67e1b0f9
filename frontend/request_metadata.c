/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of RequestMetadata in place. Pure. */
#include "frontend/request_metadata.h"

#include "protos/wire.h"
#include "rpc/call.h"

static const struct request_metadata absent = {
    .raw = {"", 0},
    .tool_name = {"", 0},
    .tool_version = {"", 0},
    .action_id = {"", 0},
    .tool_invocation_id = {"", 0},
    .correlated_invocations_id = {"", 0},
    .action_mnemonic = {"", 0},
    .target_id = {"", 0},
};

static int
parse_tool(struct str message, struct request_metadata *metadata)
{
	struct wire_field field;
	int more;

	while ((more = wire_next(&message, &field)) > 0) {
		if (field.type != WIRE_BYTES)
			continue;
		if (field.number == 1)
			metadata->tool_name = field.bytes;
		else if (field.number == 2)
			metadata->tool_version = field.bytes;
	}
	return more;
}

static int
parse_fields(struct str message, struct request_metadata *metadata)
{
	struct str *const fields[] = {[2] = &metadata->action_id,
	    [3] = &metadata->tool_invocation_id,
	    [4] = &metadata->correlated_invocations_id,
	    [5] = &metadata->action_mnemonic,
	    [6] = &metadata->target_id};
	struct wire_field field;
	int more;

	while ((more = wire_next(&message, &field)) > 0) {
		if (field.type != WIRE_BYTES)
			continue;
		if (field.number == 1 && parse_tool(field.bytes, metadata) < 0)
			return -1;
		if (field.number >= 2 && field.number <= 6)
			*fields[field.number] = field.bytes;
	}
	return more;
}

void
request_metadata_parse(struct str raw, struct request_metadata *metadata)
{
	*metadata = absent;
	if (raw.len > 0 && parse_fields(raw, metadata) < 0)
		*metadata = absent;
	else if (raw.len > 0)
		metadata->raw = raw;
}

struct str
request_metadata_raw(const struct rpc_call *call)
{
	return rpc_call_metadata(call, STR(REQUEST_METADATA_KEY));
}

void
request_metadata_read(
    const struct rpc_call *call, struct request_metadata *metadata)
{
	request_metadata_parse(request_metadata_raw(call), metadata);
}
