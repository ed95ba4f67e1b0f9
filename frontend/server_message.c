/* SPDX-License-Identifier: Apache-2.0 */
/* Packing of messages for workers. */
#include "frontend/server_message.h"

#include <toolroot/worker/v1/worker.pb-c.h>

#include "base/memory.h"
#include "cas/digest_message.h"
#include "protos/wire.h"
#include "rpc/message.h"

#define HEARTBEATS_PER_TIMEOUT 4

static Google__Protobuf__Duration
duration_of(int64_t ms)
{
	Google__Protobuf__Duration duration = GOOGLE__PROTOBUF__DURATION__INIT;

	duration.seconds = ms / 1000;
	duration.nanos = (int32_t)(ms % 1000 * 1000000);
	return duration;
}

static ProtobufCBinaryData
binary_of(struct str text)
{
	return (ProtobufCBinaryData){text.len, (uint8_t *)(uintptr_t)text.data};
}

struct rpc_message *
server_message_welcome(const struct worker_session *session, int64_t timeout_ms,
    uint64_t max_message_bytes)
{
	Google__Protobuf__Duration interval =
	    duration_of(timeout_ms / HEARTBEATS_PER_TIMEOUT);
	Google__Protobuf__Duration timeout = duration_of(timeout_ms);
	Workerapi__ServerMessage message = WORKERAPI__SERVER_MESSAGE__INIT;
	Workerapi__Welcome welcome = WORKERAPI__WELCOME__INIT;

	welcome.server_version = (char *)(uintptr_t)TOOLROOT_VERSION;
	welcome.heartbeat_interval = &interval;
	welcome.lease_timeout = &timeout;
	welcome.max_message_bytes = max_message_bytes;
	welcome.session_id = binary_of(str_from(session->id));
	message.message_case = WORKERAPI__SERVER_MESSAGE__MESSAGE_WELCOME;
	message.welcome = &welcome;
	return rpc_message_pack(&message.base);
}

/* The lease without what the operation holds in encoded form. */
static void
lease_of_event(const struct scheduler_event *event, Workerapi__Lease *lease)
{
	const struct operation *operation = event->operation;

	lease->lease_id = binary_of(str_from(event->lease_id));
	lease->operation_name = binary_of(operation->name);
	lease->instance_name = binary_of(operation->instance);
	lease->digest_function =
	    (Reapi__DigestFunction__Value)operation->action_digest.function;
	lease->attempt = event->attempt;
}

static void
add_bytes_field(struct rpc_message *message, uint32_t number, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t used = wire_put_bytes_header(header, number, bytes.len);

	rpc_message_add(message, header, used);
	rpc_message_add(message, bytes.data, bytes.len);
}

static size_t
bytes_field_size(uint32_t number, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];

	return wire_put_bytes_header(header, number, bytes.len) + bytes.len;
}

enum {
	SERVER_MESSAGE_LEASE = 2,
	LEASE_ACTION = 6,
	LEASE_REQUEST_METADATA = 7,
};

/* Action and RequestMetadata go as the client encoded them: nothing that we do
 * not know gets lost, and nothing is unpacked to be packed again. */
static struct rpc_message *
pack_lease(Workerapi__Lease *lease, const struct operation *operation)
{
	struct rpc_message *message = rpc_message_new();
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t size = workerapi__lease__get_packed_size(lease);
	uint8_t *packed = xmalloc(size + 1);
	size_t used;

	workerapi__lease__pack(lease, packed);
	used = wire_put_bytes_header(header, SERVER_MESSAGE_LEASE,
	    size + bytes_field_size(LEASE_ACTION, operation->action) +
		bytes_field_size(
		    LEASE_REQUEST_METADATA, operation->request_metadata));
	rpc_message_add(message, header, used);
	rpc_message_add_take(message, packed, size);
	add_bytes_field(message, LEASE_ACTION, operation->action);
	add_bytes_field(
	    message, LEASE_REQUEST_METADATA, operation->request_metadata);
	return message;
}

struct rpc_message *
server_message_lease(const struct scheduler_event *event)
{
	const struct operation *operation = event->operation;
	Google__Protobuf__Duration timeout = duration_of(operation->timeout_ms);
	Google__Protobuf__Timestamp queued = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Workerapi__Lease lease = WORKERAPI__LEASE__INIT;
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	char hash[DIGEST_TEXT_MAX];

	digest_to_message(&operation->action_digest, hash, &digest);
	queued.seconds = operation->queued_ns / 1000000000;
	queued.nanos = (int32_t)(operation->queued_ns % 1000000000);
	lease_of_event(event, &lease);
	lease.action_digest = &digest;
	lease.timeout = &timeout;
	lease.queued = &queued;
	return pack_lease(&lease, operation);
}

struct rpc_message *
server_message_cancel_lease(const struct scheduler_event *event)
{
	Workerapi__ServerMessage message = WORKERAPI__SERVER_MESSAGE__INIT;
	Workerapi__CancelLease cancel = WORKERAPI__CANCEL_LEASE__INIT;

	cancel.lease_id = binary_of(str_from(event->lease_id));
	cancel.reason = (char *)(uintptr_t)event->reason;
	message.message_case = WORKERAPI__SERVER_MESSAGE__MESSAGE_CANCEL_LEASE;
	message.cancel_lease = &cancel;
	return rpc_message_pack(&message.base);
}

struct rpc_message *
server_message_shutdown(const char *reason)
{
	Workerapi__ServerMessage message = WORKERAPI__SERVER_MESSAGE__INIT;
	Workerapi__Shutdown shutdown = WORKERAPI__SHUTDOWN__INIT;

	shutdown.reason = (char *)(uintptr_t)reason;
	message.message_case = WORKERAPI__SERVER_MESSAGE__MESSAGE_SHUTDOWN;
	message.shutdown = &shutdown;
	return rpc_message_pack(&message.base);
}

struct rpc_message *
server_message_read_output(const struct server_message_read *read)
{
	Workerapi__ServerMessage message = WORKERAPI__SERVER_MESSAGE__INIT;
	Workerapi__ReadOutput output = WORKERAPI__READ_OUTPUT__INIT;

	output.read_id = read->id;
	output.lease_id = binary_of(str_from(read->lease_id));
	output.standard_error = read->standard_error;
	output.offset = read->offset;
	output.limit = read->limit;
	message.message_case = WORKERAPI__SERVER_MESSAGE__MESSAGE_READ_OUTPUT;
	message.read_output = &output;
	return rpc_message_pack(&message.base);
}
