/* SPDX-License-Identifier: Apache-2.0 */
/* The service's table, and QueryWriteStatus, which answers from memory. */
#include "frontend/byte_stream.h"

#include "base/error.h"
#include "cas/store.h"
#include "frontend/method_table.h"
#include "frontend/request_metadata.h"
#include "frontend/resource_name.h"
#include "frontend/unary_call.h"
#include "frontend/upload_table.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/google.bytestream.ByteStream/"

void
byte_stream_add(struct method_table *table, struct storage *storage)
{
	method_table_add(
	    table, (struct rpc_method){SERVICE "Read", RPC_SERVER_STREAM,
		       byte_stream_read, storage});
	method_table_add(
	    table, (struct rpc_method){SERVICE "Write", RPC_CLIENT_STREAM,
		       byte_stream_write, storage});
	method_table_add(
	    table, (struct rpc_method){SERVICE "QueryWriteStatus", RPC_UNARY,
		       byte_stream_query_write_status, storage});
}

struct write_status {
	uint64_t committed_size;
	bool complete;
};

/* Bazel takes NOT_FOUND here for the end of the upload, where every server
 * that has restarted must say it; 0 bytes make it begin anew. */
static bool
wants_zero_for_unknown(const struct rpc_call *call)
{
	struct request_metadata metadata;

	request_metadata_read(call, &metadata);
	return str_starts_with(request_metadata_tool(&metadata), STR("bazel"));
}

static int
query(struct rpc_call *call, const struct storage *storage, struct str text,
    struct write_status *status, struct error *err)
{
	struct resource_name name;
	bool missing;
	bool known;

	if (resource_name_parse_upload(text, &name, err) < 0 ||
	    storage_check_instance(storage, name.instance, err) < 0 ||
	    store_find_missing(storage->store, &name.digest, 1, &missing, err) <
		0)
		return -1;
	*status = (struct write_status){0, !missing};
	if (!missing) {
		status->committed_size = name.digest.size;
		return 0;
	}
	known =
	    upload_table_query(storage->uploads, text, &status->committed_size);
	if (!known && !wants_zero_for_unknown(call))
		return error_set(err, ERROR_NOT_FOUND,
		    "no upload is known by this resource name; begin it at "
		    "offset 0");
	if (!known)
		status->committed_size = 0;
	return 0;
}

static int
query_parse(struct str message, struct str *text, struct error *err)
{
	struct wire_field field;
	int more;

	*text = (struct str){"", 0};
	while ((more = wire_next(&message, &field)) > 0) {
		if (field.number == 1 && field.type == WIRE_BYTES)
			*text = field.bytes;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the QueryWriteStatusRequest is malformed");
	return 0;
}

static int
query_run(struct unary_call *call, struct error *err)
{
	uint8_t field[4 * WIRE_VARINT_MAX];
	struct write_status status;
	struct rpc_message *reply;
	struct str text;
	size_t len = 0;

	if (query_parse(unary_call_message(call), &text, err) < 0 ||
	    query(call->rpc, call->service, text, &status, err) < 0)
		return -1;
	if (status.committed_size > 0)
		len = wire_put_varint_field(field, 1, status.committed_size);
	if (status.complete)
		len += wire_put_varint_field(field + len, 2, 1);
	reply = rpc_message_new();
	rpc_message_add(reply, field, len);
	rpc_call_reply(call->rpc, reply);
	return 0;
}

void
byte_stream_query_write_status(struct rpc_call *call, void *storage)
{
	unary_call_run(call, storage, query_run);
}
