/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses with details: what is kept when they must fit into metadata. */
#include "tests/unit/rpc/fixture.h"

#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>

#include "protos/arena_allocator.h"

static void
error_with_advice_carries_retry_info(void **state)
{
	struct arena arena;
	struct error err, other;
	GrpcStatus__Status *status;

	(void)state;
	arena_init(&arena, 1u << 20);
	error_set_retry(&err, ERROR_UNAVAILABLE, 12345, "full");
	status = rpc_status_from_error(&arena, &err);
	assert_int_equal(status->code, ERROR_UNAVAILABLE);
	assert_string_equal(status->message, "full");
	assert_int_equal(status->n_details, 1);
	assert_string_equal(status->details[0]->type_url,
	    "type.googleapis.com/google.rpc.RetryInfo");
	assert_int_equal(
	    rpc_status_retry_delay(rpc_status_pack(&arena, status)), 12345);
	error_set(&other, ERROR_NOT_FOUND, "gone");
	status = rpc_status_from_error(&arena, &other);
	assert_int_equal(status->n_details, 0);
	assert_int_equal(
	    rpc_status_retry_delay(rpc_status_pack(&arena, status)), 0);
	arena_clear(&arena);
}

static void
details_are_cut_to_the_first_violations(void **state)
{
	struct arena arena;
	struct error err;
	struct rpc_violation many[300];
	GrpcStatus__Status *status;
	GrpcStatus__PreconditionFailure *kept;
	struct str packed;

	(void)state;
	arena_init(&arena, 1u << 20);
	for (size_t i = 0; i < 300; i++) {
		const char *subject =
		    arena_printf(&arena, "blobs/%064zu/123456789", i);

		many[i] = (struct rpc_violation){
		    STR("MISSING"), str_from(subject), STR("not there")};
	}
	error_set(&err, ERROR_FAILED_PRECONDITION, "300 blobs are missing");
	status = rpc_status_from_error(&arena, &err);
	assert_int_equal(
	    rpc_status_add_violations(&arena, status, many, 300, &err), 0);
	packed = rpc_status_pack(&arena, status);
	assert_in_range(
	    packed.len, RPC_STATUS_DETAILS_MAX / 2, RPC_STATUS_DETAILS_MAX);
	status = protos_unpack(
	    &arena, &grpc_status__status__descriptor, packed, &err);
	assert_int_equal(status->n_details, 1);
	kept = protos_unpack(&arena,
	    &grpc_status__precondition_failure__descriptor,
	    (struct str){(const char *)status->details[0]->value.data,
		status->details[0]->value.len},
	    &err);
	assert_in_range(kept->n_violations, 20, 299);
	assert_memory_equal(kept->violations[0]->subject.data,
	    many[0].subject.data, many[0].subject.len);
	assert_string_equal(kept->violations[0]->type, "MISSING");
	arena_clear(&arena);
}

static void
text_is_cut_between_characters(void **state)
{
	char text[RPC_STATUS_TEXT_MAX + 10];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(rpc_status_text(text).len, RPC_STATUS_TEXT_MAX);
	memcpy(text + RPC_STATUS_TEXT_MAX - 1, "\xc3\xa4", 2);
	assert_int_equal(rpc_status_text(text).len, RPC_STATUS_TEXT_MAX - 1);
	assert_int_equal(rpc_status_text("short").len, 5);
}

static void
cap_of_the_arena_is_an_error(void **state)
{
	struct arena arena;
	struct error err;

	(void)state;
	arena_init(&arena, 64);
	error_set_retry(&err, ERROR_UNAVAILABLE, 1, "full");
	assert_null(rpc_status_from_error(&arena, &err));
	arena_clear(&arena);
}

static void
nonsense_advises_nothing(void **state)
{
	(void)state;
	assert_int_equal(rpc_status_retry_delay(STR("\xff\xff\xff")), 0);
	assert_int_equal(rpc_status_retry_delay(STR("")), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(error_with_advice_carries_retry_info),
	    cmocka_unit_test(details_are_cut_to_the_first_violations),
	    cmocka_unit_test(text_is_cut_between_characters),
	    cmocka_unit_test(cap_of_the_arena_is_an_error),
	    cmocka_unit_test(nonsense_advises_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
