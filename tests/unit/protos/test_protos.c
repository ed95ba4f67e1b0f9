/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts of the wire that would break without a sound: names, numbers, types
 * and encodings that clients, servers and workers of other makes and ages rely
 * on. Expected bytes are worked out by hand from the API, not by our code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "build/bazel/remote/execution/v2/remote_execution.pb-c.h"
#include "google/bytestream/bytestream.pb-c.h"
#include "google/longrunning/operations.pb-c.h"
#include "google/rpc/error_details.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "protos/descriptor_set.h"
#include "protos/wire.h"
#include "toolroot/worker/v1/worker.pb-c.h"

#define REAPI "build.bazel.remote.execution.v2"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
assert_encodes(const ProtobufCMessage *message, const char *bytes, size_t len)
{
	uint8_t out[64];

	assert_true(protobuf_c_message_get_packed_size(message) <= sizeof(out));
	assert_int_equal(protobuf_c_message_pack(message, out), len);
	assert_memory_equal(out, bytes, len);
}
#define ASSERT_ENCODES(message, literal) \
	assert_encodes(&(message)->base, literal, sizeof(literal) - 1)

static ProtobufCBinaryData
bytes_of(const char *text)
{
	return (ProtobufCBinaryData){
	    .len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static void
digest_is_hash_then_size(void **state)
{
	Reapi__Digest digest = REAPI__DIGEST__INIT;

	(void)state;
	digest.hash = bytes_of("a");
	digest.size_bytes = 1;
	ASSERT_ENCODES(&digest, "\x0a\x01"
				"a"
				"\x10\x01");
}

static void
digest_of_nothing_leaves_out_its_size(void **state)
{
	Reapi__Digest digest = REAPI__DIGEST__INIT;

	(void)state;
	ASSERT_ENCODES(&digest, "");
	digest.hash = bytes_of("e3b0");
	ASSERT_ENCODES(&digest, "\x0a\x04"
				"e3b0");
}

static void
negative_size_survives(void **state)
{
	static const uint8_t in[] = {
	    0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
	Reapi__Digest *digest = reapi__digest__unpack(NULL, sizeof(in), in);

	(void)state;
	assert_non_null(digest);
	assert_int_equal(digest->size_bytes, -1);
	reapi__digest__free_unpacked(digest, NULL);
}

static void
nul_in_a_name_is_seen(void **state)
{
	static const uint8_t in[] = {0x0a, 3, 'a', 0, 'b'};
	Reapi__FileNode *node = reapi__file_node__unpack(NULL, sizeof(in), in);

	(void)state;
	assert_non_null(node);
	assert_int_equal(node->name.len, 3);
	assert_memory_equal(node->name.data, "a\0b", 3);
	reapi__file_node__free_unpacked(node, NULL);
}

static void
repeated_enum_is_packed_and_read_either_way(void **state)
{
	static const uint8_t one_by_one[] = {0x18, 1, 0x18, 2};
	Reapi__Compressor__Value values[] = {
	    REAPI__COMPRESSOR__VALUE__ZSTD, REAPI__COMPRESSOR__VALUE__DEFLATE};
	Reapi__BatchReadBlobsRequest request =
	    REAPI__BATCH_READ_BLOBS_REQUEST__INIT;
	Reapi__BatchReadBlobsRequest *read;

	(void)state;
	request.n_acceptable_compressors = 2;
	request.acceptable_compressors = values;
	ASSERT_ENCODES(&request, "\x1a\x02\x01\x02");
	read = reapi__batch_read_blobs_request__unpack(
	    NULL, sizeof(one_by_one), one_by_one);
	assert_non_null(read);
	assert_int_equal(read->n_acceptable_compressors, 2);
	assert_int_equal(
	    read->acceptable_compressors[1], REAPI__COMPRESSOR__VALUE__DEFLATE);
	reapi__batch_read_blobs_request__free_unpacked(read, NULL);
}

static void
server_logs_are_a_map_of_log_files(void **state)
{
	static char name[] = "k";
	Reapi__LogFile log = REAPI__LOG_FILE__INIT;
	Reapi__ExecuteResponse__ServerLogsEntry theirs =
	    REAPI__EXECUTE_RESPONSE__SERVER_LOGS_ENTRY__INIT;
	Reapi__ExecuteResponse__ServerLogsEntry *their_list[] = {&theirs};
	Reapi__ExecuteResponse response = REAPI__EXECUTE_RESPONSE__INIT;
	Workerapi__LeaseResult__ServerLogsEntry ours =
	    WORKERAPI__LEASE_RESULT__SERVER_LOGS_ENTRY__INIT;
	Workerapi__LeaseResult__ServerLogsEntry *our_list[] = {&ours};
	Workerapi__LeaseResult result = WORKERAPI__LEASE_RESULT__INIT;

	(void)state;
	log.human_readable = 1;
	theirs.key = ours.key = name;
	theirs.value = ours.value = &log;
	response.n_server_logs = result.n_server_logs = 1;
	response.server_logs = their_list;
	result.server_logs = our_list;
	ASSERT_ENCODES(&response, "\x22\x07\x0a\x01k\x12\x02\x10\x01");
	ASSERT_ENCODES(&result, "\x2a\x07\x0a\x01k\x12\x02\x10\x01");
}

static void
nested_messages_have_helpers(void **state)
{
	Reapi__BatchUpdateBlobsRequest__Request request;

	(void)state;
	reapi__batch_update_blobs_request__request__init(&request);
	request.compressor = REAPI__COMPRESSOR__VALUE__ZSTD;
	request.data = bytes_of("d");
	ASSERT_ENCODES(&request, "\x12\x01"
				 "d"
				 "\x18\x01");
}

static void
unset_oneof_is_told_from_an_empty_one(void **state)
{
	static const uint8_t empty_text[] = {0x3a, 0};
	ReflectionAlpha__ServerReflectionRequest *request;

	(void)state;
	request = reflection_alpha__server_reflection_request__unpack(
	    NULL, 0, empty_text);
	assert_non_null(request);
	assert_int_equal(request->message_request_case, 0);
	reflection_alpha__server_reflection_request__free_unpacked(
	    request, NULL);
	request = reflection_alpha__server_reflection_request__unpack(
	    NULL, sizeof(empty_text), empty_text);
	assert_non_null(request);
	assert_int_equal(request->message_request_case,
	    REFLECTION_ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES);
	reflection_alpha__server_reflection_request__free_unpacked(
	    request, NULL);
}

/* One field as the API has it; bytes: a string that may hold a NUL. */
struct field_fact {
	const ProtobufCMessageDescriptor *message;
	const char *name;
	uint32_t number;
	ProtobufCType type;
};

static const struct field_fact field_facts[] = {
    {&reapi__action__descriptor, "salt", 9, PROTOBUF_C_TYPE_BYTES},
    {&reapi__action__descriptor, "platform", 10, PROTOBUF_C_TYPE_MESSAGE},
    {&reapi__command__descriptor, "arguments", 1, PROTOBUF_C_TYPE_BYTES},
    {&reapi__command__descriptor, "output_paths", 7, PROTOBUF_C_TYPE_BYTES},
    {&reapi__command__descriptor, "working_directory", 6,
	PROTOBUF_C_TYPE_BYTES},
    {&reapi__command__descriptor, "output_directory_format", 9,
	PROTOBUF_C_TYPE_ENUM},
    {&reapi__file_node__descriptor, "is_executable", 4, PROTOBUF_C_TYPE_BOOL},
    {&reapi__symlink_node__descriptor, "target", 2, PROTOBUF_C_TYPE_BYTES},
    {&reapi__action_result__descriptor, "output_symlinks", 12,
	PROTOBUF_C_TYPE_MESSAGE},
    {&reapi__action_result__descriptor, "exit_code", 4, PROTOBUF_C_TYPE_INT32},
    {&reapi__output_file__descriptor, "path", 1, PROTOBUF_C_TYPE_BYTES},
    {&reapi__output_directory__descriptor, "tree_digest", 3,
	PROTOBUF_C_TYPE_MESSAGE},
    {&reapi__execute_request__descriptor, "action_digest", 6,
	PROTOBUF_C_TYPE_MESSAGE},
    {&reapi__execute_request__descriptor, "instance_name", 1,
	PROTOBUF_C_TYPE_BYTES},
    {&reapi__find_missing_blobs_response__descriptor, "missing_blob_digests", 2,
	PROTOBUF_C_TYPE_MESSAGE},
    {&reapi__batch_update_blobs_request__descriptor, "digest_function", 5,
	PROTOBUF_C_TYPE_ENUM},
    {&reapi__batch_read_blobs_response__response__descriptor, "compressor", 4,
	PROTOBUF_C_TYPE_ENUM},
    {&reapi__cache_capabilities__descriptor, "rep_max_cdc_params", 12,
	PROTOBUF_C_TYPE_MESSAGE},
    {&reapi__request_metadata__descriptor, "tool_invocation_id", 3,
	PROTOBUF_C_TYPE_BYTES},
    {&bytestream__read_request__descriptor, "resource_name", 1,
	PROTOBUF_C_TYPE_BYTES},
    {&bytestream__read_response__descriptor, "data", 10, PROTOBUF_C_TYPE_BYTES},
    {&bytestream__write_request__descriptor, "data", 10, PROTOBUF_C_TYPE_BYTES},
    {&bytestream__write_response__descriptor, "committed_size", 1,
	PROTOBUF_C_TYPE_INT64},
    {&longrunning__operation__descriptor, "response", 5,
	PROTOBUF_C_TYPE_MESSAGE},
    {&grpc_status__precondition_failure__violation__descriptor, "subject", 2,
	PROTOBUF_C_TYPE_BYTES},
    {&workerapi__worker_message__descriptor, "lease_result", 3,
	PROTOBUF_C_TYPE_MESSAGE},
    {&workerapi__server_message__descriptor, "lease", 2,
	PROTOBUF_C_TYPE_MESSAGE},
    {&workerapi__lease__descriptor, "timeout", 8, PROTOBUF_C_TYPE_MESSAGE},
};

static void
fields_have_the_numbers_and_types_of_the_api(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(field_facts); i++) {
		const struct field_fact *fact = &field_facts[i];
		const ProtobufCFieldDescriptor *field =
		    protobuf_c_message_descriptor_get_field_by_name(
			fact->message, fact->name);

		if (field == NULL || field->id != fact->number ||
		    field->type != fact->type)
			fail_msg(
			    "%s.%s differs", fact->message->name, fact->name);
	}
}

static void
types_have_the_names_that_any_carries(void **state)
{
	(void)state;
	assert_string_equal(
	    reapi__execute_response__descriptor.name, REAPI ".ExecuteResponse");
	assert_string_equal(reapi__execute_operation_metadata__descriptor.name,
	    REAPI ".ExecuteOperationMetadata");
	assert_string_equal(grpc_status__precondition_failure__descriptor.name,
	    "google.rpc.PreconditionFailure");
	assert_string_equal(
	    grpc_status__retry_info__descriptor.name, "google.rpc.RetryInfo");
}

/* The methods we speak; the word before the path says which sides stream. */
static const char *const methods[] = {
    "unary /" REAPI ".ActionCache/GetActionResult",
    "unary /" REAPI ".ActionCache/UpdateActionResult",
    "unary /" REAPI ".Capabilities/GetCapabilities",
    "unary /" REAPI ".ContentAddressableStorage/BatchReadBlobs",
    "unary /" REAPI ".ContentAddressableStorage/BatchUpdateBlobs",
    "unary /" REAPI ".ContentAddressableStorage/FindMissingBlobs",
    "server /" REAPI ".ContentAddressableStorage/GetTree",
    "unary /" REAPI ".ContentAddressableStorage/SpliceBlob",
    "unary /" REAPI ".ContentAddressableStorage/SplitBlob",
    "server /" REAPI ".Execution/Execute",
    "server /" REAPI ".Execution/WaitExecution",
    "unary /build.bazel.remote.asset.v1.Fetch/FetchBlob",
    "unary /build.bazel.remote.asset.v1.Fetch/FetchDirectory",
    "unary /build.bazel.remote.asset.v1.Push/PushBlob",
    "unary /build.bazel.remote.asset.v1.Push/PushDirectory",
    "unary /build.bazel.remote.logstream.v1.LogStreamService/CreateLogStream",
    "unary /google.bytestream.ByteStream/QueryWriteStatus",
    "server /google.bytestream.ByteStream/Read",
    "client /google.bytestream.ByteStream/Write",
    "unary /google.longrunning.Operations/CancelOperation",
    "unary /google.longrunning.Operations/DeleteOperation",
    "unary /google.longrunning.Operations/GetOperation",
    "unary /google.longrunning.Operations/ListOperations",
    "unary /google.longrunning.Operations/WaitOperation",
    "unary /grpc.health.v1.Health/Check",
    "unary /grpc.health.v1.Health/List",
    "server /grpc.health.v1.Health/Watch",
    "both /grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "both /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "unary /toolroot.admin.v1.Admin/Collect",
    "unary /toolroot.admin.v1.Admin/ListPins",
    "unary /toolroot.admin.v1.Admin/RemovePin",
    "unary /toolroot.admin.v1.Admin/SetPin",
    "unary /toolroot.toolchain.v1.Toolchains/Delete",
    "unary /toolroot.toolchain.v1.Toolchains/Get",
    "unary /toolroot.toolchain.v1.Toolchains/List",
    "unary /toolroot.toolchain.v1.Toolchains/Put",
    "both /toolroot.worker.v1.Workers/Serve",
};

/* The first field of this number; data NULL when there is none. */
static struct str
get_bytes(struct str message, uint32_t number)
{
	struct wire_field field;

	while (wire_next(&message, &field) == 1)
		if (field.number == number && field.type == WIRE_BYTES)
			return field.bytes;
	return (struct str){NULL, 0};
}

static bool
get_bool(struct str message, uint32_t number)
{
	struct wire_field field;

	while (wire_next(&message, &field) == 1)
		if (field.number == number && field.type == WIRE_VARINT)
			return field.value != 0;
	return false;
}

/* Ticks off a method of descriptor.proto's MethodDescriptorProto. */
static void
see_method(struct str package, struct str service, struct str method,
    bool seen[COUNT(methods)])
{
	static const char *const words[] = {
	    "unary", "client", "server", "both"};
	struct str name = get_bytes(method, 1);
	unsigned streams =
	    (get_bool(method, 5) ? 1U : 0U) | (get_bool(method, 6) ? 2U : 0U);
	char text[160];

	snprintf(text, sizeof(text), "%s /%.*s.%.*s/%.*s", words[streams],
	    STR_ARG(package), STR_ARG(service), STR_ARG(name));
	for (size_t i = 0; i < COUNT(methods); i++)
		if (strcmp(methods[i], text) == 0) {
			assert_false(seen[i]);
			seen[i] = true;
			return;
		}
	/* Our own services may grow; those of others are facts. */
	if (!str_starts_with(package, STR("toolroot.")))
		fail_msg("not in the table: %s", text);
}

static void
see_services(struct str file, bool seen[COUNT(methods)])
{
	struct str package = get_bytes(file, 2);
	struct wire_field service;
	struct wire_field method;

	while (wire_next(&file, &service) == 1) {
		struct str rest = service.bytes;

		if (service.number != 6 || service.type != WIRE_BYTES)
			continue;
		while (wire_next(&rest, &method) == 1)
			if (method.number == 2)
				see_method(package, get_bytes(service.bytes, 1),
				    method.bytes, seen);
	}
}

static void
descriptor_set_has_exactly_our_methods(void **state)
{
	struct str rest = {(const char *)descriptor_set, descriptor_set_size};
	bool seen[COUNT(methods)] = {false};
	struct wire_field file;
	int rc;

	(void)state;
	while ((rc = wire_next(&rest, &file)) == 1)
		see_services(file.bytes, seen);
	assert_int_equal(rc, 0);
	for (size_t i = 0; i < COUNT(methods); i++)
		if (!seen[i])
			fail_msg("not in the set: %s", methods[i]);
}

static bool
set_has_file_before(struct str name, const char *end)
{
	struct str rest = {(const char *)descriptor_set,
	    (size_t)(end - (const char *)descriptor_set)};
	struct wire_field file;

	while (wire_next(&rest, &file) == 1)
		if (str_equal(get_bytes(file.bytes, 1), name))
			return true;
	return false;
}

static void
descriptor_set_has_each_import_before_its_user(void **state)
{
	struct str rest = {(const char *)descriptor_set, descriptor_set_size};
	size_t files = 0;

	(void)state;
	for (;;) {
		const char *start = rest.data;
		struct wire_field file;
		struct wire_field import;
		struct str inside;

		if (wire_next(&rest, &file) != 1)
			break;
		files++;
		inside = file.bytes;
		while (wire_next(&inside, &import) == 1)
			if (import.number == 3)
				assert_true(
				    set_has_file_before(import.bytes, start));
	}
	assert_true(files >= 13);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(digest_is_hash_then_size),
	    cmocka_unit_test(digest_of_nothing_leaves_out_its_size),
	    cmocka_unit_test(negative_size_survives),
	    cmocka_unit_test(nul_in_a_name_is_seen),
	    cmocka_unit_test(repeated_enum_is_packed_and_read_either_way),
	    cmocka_unit_test(server_logs_are_a_map_of_log_files),
	    cmocka_unit_test(nested_messages_have_helpers),
	    cmocka_unit_test(unset_oneof_is_told_from_an_empty_one),
	    cmocka_unit_test(fields_have_the_numbers_and_types_of_the_api),
	    cmocka_unit_test(types_have_the_names_that_any_carries),
	    cmocka_unit_test(descriptor_set_has_exactly_our_methods),
	    cmocka_unit_test(descriptor_set_has_each_import_before_its_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
