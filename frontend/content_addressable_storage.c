/* SPDX-License-Identifier: Apache-2.0 */
/* The service's table and what its methods share. */
#include "frontend/content_addressable_storage.h"

#include "base/buffer.h"
#include "base/error.h"
#include "frontend/method_table.h"
#include "protos/wire.h"

#define SERVICE "/build.bazel.remote.execution.v2.ContentAddressableStorage/"

void
content_addressable_storage_add(
    struct method_table *table, struct storage *storage)
{
	method_table_add(table, (struct rpc_method){SERVICE "FindMissingBlobs",
				    RPC_UNARY, find_missing_blobs, storage});
	method_table_add(table, (struct rpc_method){SERVICE "BatchUpdateBlobs",
				    RPC_UNARY, batch_update_blobs, storage});
	method_table_add(table, (struct rpc_method){SERVICE "BatchReadBlobs",
				    RPC_UNARY, batch_read_blobs, storage});
	method_table_add(table, (struct rpc_method){SERVICE "GetTree",
				    RPC_SERVER_STREAM, get_tree, storage});
}

int
storage_put_status(struct buffer *out, uint32_t field, const struct error *err)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	uint8_t status[4 * WIRE_VARINT_MAX];
	size_t used;
	size_t len;

	if (err->code == ERROR_OK) {
		used = wire_put_bytes_header(header, field, 0);
		return buffer_append(out, header, used);
	}
	/* google.rpc.Status: code = 1, message = 2. */
	len = wire_put_varint_field(status, 1, (uint64_t)err->code);
	len += wire_put_bytes_header(status + len, 2, strlen(err->text));
	used = wire_put_bytes_header(header, field, len + strlen(err->text));
	if (buffer_append(out, header, used) < 0 ||
	    buffer_append(out, status, len) < 0)
		return -1;
	return buffer_append(out, err->text, strlen(err->text));
}
