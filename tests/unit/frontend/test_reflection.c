/* SPDX-License-Identifier: Apache-2.0 */
/* Reflection answers over the descriptor set that the program carries, packed
 * and unpacked with the generated code of both versions of the service. */
#include "frontend/reflection_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "protos/descriptor_set.h"
#include "protos/wire.h"

#define REQUEST Reflection__ServerReflectionRequest
#define RESPONSE Reflection__ServerReflectionResponse
#define EXECUTION "build/bazel/remote/execution/v2/remote_execution.proto"

static struct reflection_index *reflected;

static int
setup(void **state)
{
	struct str set = {(const char *)descriptor_set, descriptor_set_size};
	struct error err;

	(void)state;
	reflected = reflection_index_new(set, &err);
	if (reflected == NULL)
		return -1;
	reflection_index_add_service(reflected, STR("a.Store"));
	reflection_index_add_service(reflected, STR("b.Queue"));
	reflection_index_add_service(reflected, STR("a.Store"));
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	reflection_index_free(reflected);
	return 0;
}

static ProtobufCBinaryData
bytes(const char *text)
{
	return (ProtobufCBinaryData){
	    text != NULL ? strlen(text) : 0, (uint8_t *)(uintptr_t)text};
}

static RESPONSE *
answer(const REQUEST *request)
{
	size_t len =
	    reflection__server_reflection_request__get_packed_size(request);
	uint8_t *packed = malloc(len + 1);
	struct buffer out;
	struct error err;
	RESPONSE *response;

	assert_non_null(packed);
	reflection__server_reflection_request__pack(request, packed);
	buffer_init(&out, 4 << 20);
	assert_int_equal(reflection_index_answer(reflected,
			     (struct str){(char *)packed, len}, &out, &err),
	    0);
	response = reflection__server_reflection_response__unpack(
	    NULL, out.len, (uint8_t *)out.data);
	assert_non_null(response);
	buffer_clear(&out);
	free(packed);
	return response;
}

/* A question whose text is all there is to it. */
static RESPONSE *
answer_text(Reflection__ServerReflectionRequest__MessageRequestCase which,
    const char *text)
{
	REQUEST request = REFLECTION__SERVER_REFLECTION_REQUEST__INIT;

	request.host = bytes("here");
	request.message_request_case = which;
	request.file_by_filename = bytes(text);
	return answer(&request);
}

#define ASK(which, text) \
	answer_text( \
	    REFLECTION__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##which, \
	    text)
#define ASSERT_CASE(response, which) \
	assert_int_equal((response)->message_response_case, \
	    REFLECTION__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##which)

static void
release(RESPONSE *response)
{
	reflection__server_reflection_response__free_unpacked(response, NULL);
}

/* FileDescriptorProto.name of the i-th file of an answer. */
static struct str
file_name(const RESPONSE *response, size_t i)
{
	const ProtobufCBinaryData *file =
	    &response->file_descriptor_response->file_descriptor_proto[i];
	struct str rest = {(const char *)file->data, file->len};
	struct wire_field field;

	while (wire_next(&rest, &field) == 1) {
		if (field.number == 1)
			return field.bytes;
	}
	fail_msg("file %zu has no name", i);
	return STR("");
}

static void
assert_first_file(RESPONSE *response, const char *name)
{
	ASSERT_CASE(response, FILE_DESCRIPTOR_RESPONSE);
	assert_true(str_equal(file_name(response, 0), str_from(name)));
	release(response);
}

static void
assert_refused(RESPONSE *response, int code)
{
	ASSERT_CASE(response, ERROR_RESPONSE);
	assert_int_equal(response->error_response->error_code, code);
	assert_true(strlen(response->error_response->error_message) > 10);
	release(response);
}

static void
a_file_comes_with_all_that_it_imports(void **state)
{
	RESPONSE *response = ASK(FILE_BY_FILENAME, EXECUTION);
	size_t count, found = 0;

	(void)state;
	ASSERT_CASE(response, FILE_DESCRIPTOR_RESPONSE);
	count = response->file_descriptor_response->n_file_descriptor_proto;
	assert_true(str_equal(file_name(response, 0), STR(EXECUTION)));
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < i; k++)
			assert_false(str_equal(
			    file_name(response, i), file_name(response, k)));
		/* Imported by an import. */
		if (str_equal(file_name(response, i),
			STR("google/protobuf/descriptor.proto")))
			found++;
	}
	assert_int_equal(found, 1);
	release(response);
}

static void
symbols_of_every_kind_are_found(void **state)
{
	static const char *const names[] = {
	    "ActionCache",                          /* service */
	    "ActionCache.GetActionResult",          /* method */
	    "Digest",                               /* message */
	    "Digest.hash",                          /* field */
	    "ExecutionStage.Value",                 /* nested enum */
	    "ExecutionStage.QUEUED",                /* its value: a sibling */
	    "BatchReadBlobsResponse.Response.data", /* nested field */
	};
	char name[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(name, sizeof(name),
		    "build.bazel.remote.execution.v2.%s", names[i]);
		assert_first_file(ASK(FILE_CONTAINING_SYMBOL, name), EXECUTION);
	}
	assert_first_file(ASK(FILE_CONTAINING_SYMBOL, "pb_c_file"),
	    "protobuf-c/protobuf-c.proto");
}

static void
unknown_names_are_not_found(void **state)
{
	(void)state;
	assert_refused(ASK(FILE_BY_FILENAME, "no.proto"), ERROR_NOT_FOUND);
	assert_refused(ASK(FILE_BY_FILENAME, ""), ERROR_NOT_FOUND);
	assert_refused(ASK(FILE_CONTAINING_SYMBOL,
			   "build.bazel.remote.execution.v2.Digests"),
	    ERROR_NOT_FOUND);
	assert_refused(
	    ASK(FILE_CONTAINING_SYMBOL, "build.bazel.remote.execution.v2"),
	    ERROR_NOT_FOUND);
	assert_refused(
	    ASK(ALL_EXTENSION_NUMBERS_OF_TYPE, "a.B"), ERROR_NOT_FOUND);
}

static RESPONSE *
answer_extension(const char *type, int32_t number)
{
	REQUEST request = REFLECTION__SERVER_REFLECTION_REQUEST__INIT;
	Reflection__ExtensionRequest extension =
	    REFLECTION__EXTENSION_REQUEST__INIT;

	extension.containing_type = bytes(type);
	extension.extension_number = number;
	request.message_request_case =
	    REFLECTION__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION;
	request.file_containing_extension = &extension;
	return answer(&request);
}

static void
extensions_are_found_by_type_and_number(void **state)
{
	(void)state;
	assert_first_file(answer_extension("google.protobuf.FileOptions", 1019),
	    "protobuf-c/protobuf-c.proto");
	assert_refused(answer_extension("google.protobuf.FileOptions", 7),
	    ERROR_NOT_FOUND);
	assert_refused(answer_extension("a.B", 1019), ERROR_NOT_FOUND);
}

static void
extension_numbers_of_a_type_are_listed(void **state)
{
	RESPONSE *response =
	    ASK(ALL_EXTENSION_NUMBERS_OF_TYPE, "google.protobuf.FileOptions");

	(void)state;
	ASSERT_CASE(response, ALL_EXTENSION_NUMBERS_RESPONSE);
	assert_int_equal(
	    response->all_extension_numbers_response->n_extension_number, 1);
	assert_int_equal(
	    response->all_extension_numbers_response->extension_number[0],
	    1019);
	release(response);
	response = ASK(ALL_EXTENSION_NUMBERS_OF_TYPE,
	    "build.bazel.remote.execution.v2.Digest");
	ASSERT_CASE(response, ALL_EXTENSION_NUMBERS_RESPONSE);
	assert_int_equal(
	    response->all_extension_numbers_response->n_extension_number, 0);
	release(response);
}

static void
services_are_listed_once_and_in_order(void **state)
{
	RESPONSE *response = ASK(LIST_SERVICES, "*");
	Reflection__ListServiceResponse *list;

	(void)state;
	ASSERT_CASE(response, LIST_SERVICES_RESPONSE);
	list = response->list_services_response;
	assert_int_equal(list->n_service, 2);
	assert_memory_equal(list->service[0]->name.data, "a.Store", 7);
	assert_memory_equal(list->service[1]->name.data, "b.Queue", 7);
	release(response);
}

static void
host_and_question_are_echoed(void **state)
{
	RESPONSE *response = ASK(LIST_SERVICES, "all");

	(void)state;
	assert_int_equal(response->valid_host.len, 4);
	assert_memory_equal(response->valid_host.data, "here", 4);
	assert_memory_equal(
	    response->original_request->list_services.data, "all", 3);
	release(response);
}

static void
a_request_without_question_is_refused_but_answered(void **state)
{
	REQUEST request = REFLECTION__SERVER_REFLECTION_REQUEST__INIT;

	(void)state;
	assert_refused(answer(&request), ERROR_INVALID_ARGUMENT);
}

static void
bytes_that_are_no_request_end_the_stream(void **state)
{
	struct buffer out;
	struct error err;

	(void)state;
	buffer_init(&out, 4 << 20);
	assert_int_equal(
	    reflection_index_answer(reflected, STR("\x1a\xff"), &out, &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	buffer_clear(&out);
}

static void
a_damaged_descriptor_set_is_refused(void **state)
{
	struct error err;

	(void)state;
	assert_null(reflection_index_new(STR("\x0a\x7f\x0a"), &err));
	assert_int_equal(err.code, ERROR_INTERNAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_file_comes_with_all_that_it_imports),
	    cmocka_unit_test(symbols_of_every_kind_are_found),
	    cmocka_unit_test(unknown_names_are_not_found),
	    cmocka_unit_test(extensions_are_found_by_type_and_number),
	    cmocka_unit_test(extension_numbers_of_a_type_are_listed),
	    cmocka_unit_test(services_are_listed_once_and_in_order),
	    cmocka_unit_test(host_and_question_are_echoed),
	    cmocka_unit_test(
		a_request_without_question_is_refused_but_answered),
	    cmocka_unit_test(bytes_that_are_no_request_end_the_stream),
	    cmocka_unit_test(a_damaged_descriptor_set_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
