/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: parts are kept in order, memory goes back exactly once. */
#include "tests/unit/rpc/fixture.h"

#include <google/rpc/status.pb-c.h>

static void
count_release(void *cookie)
{
	++*(int *)cookie;
}

static void
parts_come_out_in_order(void **state)
{
	static const char borrowed[] = "borrowed bytes beyond inline size";
	struct rpc_message *message = rpc_message_new();
	struct str flat;
	const struct iovec *parts;
	size_t count, total = 0;
	int released = 0;

	(void)state;
	rpc_message_add(message, "ab", 2);
	rpc_message_add_take(message, xstrdup("taken-taken-taken-taken-"), 24);
	rpc_message_add(message, "c", 1);
	rpc_message_add_borrowed(
	    message, borrowed, sizeof(borrowed) - 1, count_release, &released);
	assert_int_equal(
	    rpc_message_size(message), 2 + 24 + 1 + sizeof(borrowed) - 1);
	parts = rpc_message_parts(message, &count);
	for (size_t i = 0; i < count; i++)
		total += parts[i].iov_len;
	assert_int_equal(total, rpc_message_size(message));
	flat = rpc_message_flat(message);
	assert_int_equal(flat.len, total);
	assert_memory_equal(
	    flat.data, "abtaken-taken-taken-taken-cborrowed", 35);
	/* Copied, and given back. */
	assert_int_equal(released, 1);
	assert_ptr_equal(rpc_message_flat(message).data, flat.data);
	parts = rpc_message_parts(message, &count);
	assert_int_equal(count, 1);
	assert_ptr_equal(parts[0].iov_base, flat.data);
	rpc_message_free(message);
}

static void
empty_pieces_are_released_at_once(void **state)
{
	struct rpc_message *message = rpc_message_new();
	size_t count;
	int released = 0;

	(void)state;
	rpc_message_add(message, NULL, 0);
	rpc_message_add_take(message, xstrdup(""), 0);
	rpc_message_add_borrowed(message, "", 0, count_release, &released);
	assert_int_equal(released, 1);
	assert_int_equal(rpc_message_size(message), 0);
	rpc_message_parts(message, &count);
	assert_int_equal(count, 0);
	rpc_message_free(message);
	rpc_message_free(NULL);
}

static void
a_large_message_is_not_unpacked(void **state)
{
	struct rpc_message *message = rpc_message_new();
	struct arena arena;
	struct error err;

	(void)state;
	arena_init(&arena, 4096);
	rpc_message_add_take(message, xcalloc(RPC_MESSAGE_UNPACK_MAX + 1, 1),
	    RPC_MESSAGE_UNPACK_MAX + 1);
	assert_null(rpc_message_unpack(
	    message, &grpc_status__status__descriptor, &arena, &err));
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	rpc_message_free(message);
	arena_clear(&arena);
}

static void
packed_message_unpacks(void **state)
{
	GrpcStatus__Status status = GRPC_STATUS__STATUS__INIT;
	GrpcStatus__Status *back;
	struct rpc_message *message;
	struct arena arena;
	struct error err;

	(void)state;
	arena_init(&arena, 4096);
	status.code = 5;
	status.message = (char *)(uintptr_t) "no such blob";
	message = rpc_message_pack(&status.base);
	back = rpc_message_unpack(
	    message, &grpc_status__status__descriptor, &arena, &err);
	assert_non_null(back);
	assert_int_equal(back->code, 5);
	assert_string_equal(back->message, "no such blob");
	rpc_message_add(message, "\xff", 1);
	assert_null(rpc_message_unpack(
	    message, &grpc_status__status__descriptor, &arena, &err));
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_message_free(message);
	arena_clear(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parts_come_out_in_order),
	    cmocka_unit_test(empty_pieces_are_released_at_once),
	    cmocka_unit_test(a_large_message_is_not_unpacked),
	    cmocka_unit_test(packed_message_unpacks),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
