/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of RequestMetadata in place. Pure. */
#include "frontend/request_metadata.h"

#include "protos/wire.h"
#include "rpc/call.h"

enum {
	TOOL_DETAILS = 1,
	ACTION_ID,
	INVOCATION,
	CORRELATED_INVOCATIONS,
	MNEMONIC,
	TARGET,
	FIELDS = 8,
};

/* A text of less than 128 bytes, as nearly all are, with nothing to decide but
 * that: this is done for each call, where no branch is foreseen. */
static bool
take_short(struct str *rest, struct str fields[static FIELDS])
{
	size_t tag, len;

	if (rest->len < 2)
		return false;
	tag = (unsigned char)rest->data[0];
	len = (unsigned char)rest->data[1];
	if ((tag & 7) != WIRE_BYTES || tag < 1 << 3 || tag >= FIELDS << 3 ||
	    len >= 0x80 || len > rest->len - 2)
		return false;
	fields[tag >> 3] = (struct str){rest->data + 2, len};
	*rest = (struct str){rest->data + 2 + len, rest->len - 2 - len};
	return true;
}

/* Those that are not there are empty. 0; -1: malformed. */
static int
take_fields(struct str rest, struct str fields[static FIELDS])
{
	for (size_t i = 0; i < FIELDS; i++)
		fields[i] = STR("");
	while (rest.len > 0) {
		struct wire_field field;

		if (take_short(&rest, fields))
			continue;
		if (wire_next(&rest, &field) < 0)
			return -1;
		if (field.number < FIELDS && field.type == WIRE_BYTES)
			fields[field.number] = field.bytes;
	}
	return 0;
}

void
request_metadata_parse(struct str raw, struct request_metadata *metadata)
{
	struct str fields[FIELDS];

	if (raw.len == 0 || take_fields(raw, fields) < 0) {
		raw = STR("");
		(void)take_fields(raw, fields);
	}
	*metadata = (struct request_metadata){
	    .raw = raw,
	    .tool_details = fields[TOOL_DETAILS],
	    .action_id = fields[ACTION_ID],
	    .tool_invocation_id = fields[INVOCATION],
	    .correlated_invocations_id = fields[CORRELATED_INVOCATIONS],
	    .action_mnemonic = fields[MNEMONIC],
	    .target_id = fields[TARGET],
	};
}

struct str
request_metadata_find_invocation(struct str raw)
{
	struct request_metadata metadata;

	request_metadata_parse(raw, &metadata);
	return metadata.tool_invocation_id;
}

struct str
request_metadata_tool(const struct request_metadata *metadata)
{
	struct str details = metadata->tool_details, name = STR("");
	struct wire_field field;

	while (wire_next(&details, &field) > 0)
		if (field.number == 1 && field.type == WIRE_BYTES)
			name = field.bytes;
	return name;
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
