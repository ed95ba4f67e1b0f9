/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FindMissingBlobs: the request is read in place, in groups of digests that
 * are looked up together, so its cost in memory does not grow with the number
 * of digests. Small requests are answered on the poller: the index is a memory
 * map.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/store.h"
#include "frontend/content_addressable_storage.h"
#include "frontend/unary_call.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* Digests that are looked up at once. */
#define GROUP 4096u

/* FindMissingBlobsRequest */
enum { INSTANCE_NAME = 1, BLOB_DIGESTS = 2, DIGEST_FUNCTION = 3 };
/* FindMissingBlobsResponse */
enum { MISSING_BLOB_DIGESTS = 2 };

/* A run of digests that are looked up at once. */
struct group {
	struct digest *digests; /* capacity of each */
	struct str *messages;   /* as received: answered in the same words */
	bool *missing;
	size_t count;
	size_t capacity;
};

static int
group_look_up(const struct storage *storage, struct group *group,
    struct buffer *reply, struct error *err)
{
	uint8_t header[2 * WIRE_VARINT_MAX];

	if (store_find_missing(storage->store, group->digests, group->count,
		group->missing, err) < 0)
		return -1;
	for (size_t i = 0; i < group->count; i++) {
		struct str message = group->messages[i];

		if (!group->missing[i])
			continue;
		if (buffer_append(reply, header,
			wire_put_bytes_header(
			    header, MISSING_BLOB_DIGESTS, message.len)) < 0 ||
		    buffer_append(reply, message.data, message.len) < 0)
			return error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the answer would exceed the %u bytes that gRPC "
			    "clients accept; ask for fewer digests at once, "
			    "for example 10000",
			    STORAGE_SEND_MAX);
	}
	group->count = 0;
	return 0;
}

static void
group_init(struct group *group, size_t digests)
{
	size_t capacity = digests < GROUP ? digests : GROUP;

	group->capacity = capacity;
	group->count = 0;
	group->digests = xcalloc(capacity, sizeof(*group->digests));
	group->messages = xcalloc(capacity, sizeof(*group->messages));
	group->missing = xcalloc(capacity, sizeof(*group->missing));
}

static void
group_clear(struct group *group)
{
	free(group->digests);
	free(group->messages);
	free(group->missing);
}

/* Counts the digests and reads what stands beside them. */
static int
read_header(const struct storage *storage, struct str message, size_t *digests,
    uint64_t *function, struct error *err)
{
	struct wire_field field;
	struct str instance = {"", 0};
	int more;

	*digests = 0;
	*function = 0;
	while ((more = wire_next(&message, &field)) > 0) {
		if (field.number == INSTANCE_NAME && field.type == WIRE_BYTES)
			instance = field.bytes;
		else if (field.number == BLOB_DIGESTS &&
			 field.type == WIRE_BYTES)
			(*digests)++;
		else if (field.number == DIGEST_FUNCTION &&
			 field.type == WIRE_VARINT)
			*function = field.value;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the FindMissingBlobsRequest is malformed");
	return storage_check_instance(storage, instance, err);
}

static int
look_up_groups(const struct storage *storage, struct str message,
    uint64_t function, struct group *group, struct buffer *reply,
    struct error *err)
{
	struct wire_field field;

	while (wire_next(&message, &field) > 0) {
		if (field.number != BLOB_DIGESTS || field.type != WIRE_BYTES)
			continue;
		if (storage_parse_digest(storage, field.bytes, function,
			&group->digests[group->count], err) < 0)
			return -1;
		group->messages[group->count++] = field.bytes;
		if (group->count == group->capacity &&
		    group_look_up(storage, group, reply, err) < 0)
			return -1;
	}
	return group_look_up(storage, group, reply, err);
}

static int
look_up_all(const struct storage *storage, struct str message,
    struct buffer *reply, struct error *err)
{
	struct group group;
	uint64_t function;
	size_t digests;
	int rc;

	if (read_header(storage, message, &digests, &function, err) < 0)
		return -1;
	group_init(&group, digests);
	rc = look_up_groups(storage, message, function, &group, reply, err);
	group_clear(&group);
	return rc;
}

static int
find_missing_run(struct unary_call *call, struct error *err)
{
	struct rpc_message *message;
	struct buffer reply;

	buffer_init(&reply, STORAGE_SEND_MAX);
	if (look_up_all(call->service, unary_call_message(call), &reply, err) <
	    0) {
		buffer_clear(&reply);
		return -1;
	}
	message = rpc_message_new();
	rpc_message_add_take(message, reply.data, reply.len);
	rpc_call_reply(call->rpc, message);
	return 0;
}

void
find_missing_blobs(struct rpc_call *call, void *storage)
{
	if (rpc_message_size(rpc_call_request(call)) > STORAGE_INLINE_WORK_MAX)
		unary_call_submit(call, storage, find_missing_run);
	else
		unary_call_run(call, storage, find_missing_run);
}
