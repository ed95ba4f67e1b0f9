/* SPDX-License-Identifier: Apache-2.0 */
/* The health and reflection services over a real server and channel. */
#include "frontend/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1/reflection.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "frontend/method_table.h"
#include "frontend/reflection.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"

#define TIMEOUT_MS 10000
#define STATUS(name) HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct fixture {
	struct health_service *health;
	struct reflection_service *reflection;
	struct method_table table;
	struct thread_pool *pool;
	struct rpc_server *server;
	struct rpc_channel *channel;
	struct arena arena;
};

static void
fixture_stopping(void *cookie)
{
	health_service_stop(((struct fixture *)cookie)->health);
}

static void
start_server(struct fixture *fixture)
{
	struct rpc_server_options options = {.listen = "127.0.0.1:0",
	    .methods = fixture->table.items,
	    .method_count = fixture->table.count,
	    .pollers = 2,
	    .max_receive_bytes = 1 << 20,
	    .max_call_memory = 1 << 20,
	    .max_streams = 100,
	    .transport_memory = 64 << 20,
	    .pool = fixture->pool,
	    .stopping = fixture_stopping,
	    .cookie = fixture};
	struct rpc_channel_options channel = {.address = NULL};
	struct error err;
	char *address;

	fixture->server = rpc_server_new(&options, &err);
	if (fixture->server == NULL)
		fail_msg("%s", err.text);
	rpc_server_start(fixture->server);
	address = xasprintf("grpc://%s", rpc_server_address(fixture->server));
	channel.address = address;
	fixture->channel = rpc_channel_open(&channel, &err);
	if (fixture->channel == NULL)
		fail_msg("%s", err.text);
	free(address);
}

static int
setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));
	struct error err;

	fixture->health = health_service_new();
	fixture->reflection = reflection_service_new(&err);
	if (fixture->reflection == NULL)
		fail_msg("%s", err.text);
	health_service_add(&fixture->table, fixture->health);
	reflection_service_add(&fixture->table, fixture->reflection);
	health_service_show(fixture->health, &fixture->table);
	reflection_service_show(fixture->reflection, &fixture->table);
	fixture->pool = thread_pool_new(1);
	arena_init(&fixture->arena, 1 << 22);
	start_server(fixture);
	*state = fixture;
	return 0;
}

static void
stop_server(struct fixture *fixture)
{
	if (fixture->server == NULL)
		return;
	rpc_server_stop(fixture->server, TIMEOUT_MS);
	rpc_server_free(fixture->server);
	fixture->server = NULL;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	rpc_channel_close(fixture->channel);
	stop_server(fixture);
	thread_pool_free(fixture->pool);
	health_service_free(fixture->health);
	reflection_service_free(fixture->reflection);
	arena_clear(&fixture->arena);
	free(fixture);
	return 0;
}

static struct rpc_message *
health_request(const char *name)
{
	Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;

	request.service =
	    (ProtobufCBinaryData){strlen(name), (uint8_t *)(uintptr_t)name};
	return rpc_message_pack(&request.base);
}

static int
status_of(struct fixture *fixture, struct rpc_message *message)
{
	struct error err;
	const Health__HealthCheckResponse *response = rpc_message_unpack(
	    message, &health__health_check_response__descriptor,
	    &fixture->arena, &err);
	int status;

	assert_non_null(response);
	status = (int)response->status;
	rpc_message_free(message);
	return status;
}

/* The status, or -1 with err. */
static int
check(struct fixture *fixture, const char *name, struct error *err)
{
	struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct rpc_message *request = health_request(name), *response;
	int rc = rpc_channel_call(fixture->channel,
	    "/grpc.health.v1.Health/Check", request, &options, &response, err);

	rpc_message_free(request);
	return rc < 0 ? -1 : status_of(fixture, response);
}

static struct rpc_stream *
watch(struct fixture *fixture, const char *name)
{
	struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct error err;
	struct rpc_stream *stream = rpc_stream_open(
	    fixture->channel, "/grpc.health.v1.Health/Watch", &options, &err);

	assert_non_null(stream);
	assert_int_equal(
	    rpc_stream_send(stream, health_request(name), &err), 0);
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	return stream;
}

static int
next_status(struct fixture *fixture, struct rpc_stream *stream)
{
	struct rpc_message *message;
	struct error err;

	if (rpc_stream_receive(stream, &message, &err) != 1)
		fail_msg("the stream ended: %s", err.text);
	return status_of(fixture, message);
}

static void
check_tells_the_state_of_known_services(void **state)
{
	struct error err;

	assert_int_equal(check(*state, "", &err), STATUS(NOT_SERVING));
	health_service_set(((struct fixture *)*state)->health, true);
	assert_int_equal(check(*state, "", &err), STATUS(SERVING));
	assert_int_equal(
	    check(*state, "grpc.health.v1.Health", &err), STATUS(SERVING));
	assert_int_equal(
	    check(*state, "grpc.reflection.v1.ServerReflection", &err),
	    STATUS(SERVING));
}

static void
check_of_an_unknown_service_is_not_found(void **state)
{
	struct error err;

	assert_int_equal(check(*state, "a.B", &err), -1);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(err.text, "a.B"));
}

static void
list_names_every_service(void **state)
{
	struct fixture *fixture = *state;
	struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct rpc_message *request = rpc_message_new(), *message;
	const Health__HealthListResponse *response;
	struct error err;

	assert_int_equal(
	    rpc_channel_call(fixture->channel, "/grpc.health.v1.Health/List",
		request, &options, &message, &err),
	    0);
	response = rpc_message_unpack(message,
	    &health__health_list_response__descriptor, &fixture->arena, &err);
	assert_non_null(response);
	/* "", health and the two reflections. */
	assert_int_equal(response->n_statuses, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(
		    response->statuses[i]->value->status, STATUS(NOT_SERVING));
	rpc_message_free(message);
	rpc_message_free(request);
}

static void
watch_tells_each_change(void **state)
{
	struct fixture *fixture = *state;
	struct rpc_stream *stream = watch(fixture, "");

	assert_int_equal(next_status(fixture, stream), STATUS(NOT_SERVING));
	for (int i = 0; i < 20; i++) {
		health_service_set(fixture->health, i % 2 == 0);
		assert_int_equal(next_status(fixture, stream),
		    i % 2 == 0 ? STATUS(SERVING) : STATUS(NOT_SERVING));
	}
	rpc_stream_free(stream);
}

static void
watch_of_an_unknown_service_says_so_and_stays(void **state)
{
	struct fixture *fixture = *state;
	struct rpc_stream *stream = watch(fixture, "a.B");
	struct rpc_message *message;
	struct error err;

	assert_int_equal(next_status(fixture, stream), STATUS(SERVICE_UNKNOWN));
	health_service_set(fixture->health, true);
	rpc_server_stop(fixture->server, TIMEOUT_MS);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_stream_free(stream);
	rpc_server_free(fixture->server);
	fixture->server = NULL;
}

static void
stopping_tells_watchers_and_lets_them_go(void **state)
{
	struct fixture *fixture = *state;
	struct rpc_stream *stream;
	struct rpc_message *message;
	struct error err;

	health_service_set(fixture->health, true);
	stream = watch(fixture, "grpc.health.v1.Health");
	assert_int_equal(next_status(fixture, stream), STATUS(SERVING));
	stop_server(fixture);
	assert_int_equal(next_status(fixture, stream), STATUS(NOT_SERVING));
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_stream_free(stream);
}

static void
watchers_that_leave_amid_changes_are_let_go(void **state)
{
	struct fixture *fixture = *state;

	for (int round = 0; round < 50; round++) {
		struct rpc_stream *stream = watch(fixture, "");

		if (round % 2 == 0)
			next_status(fixture, stream);
		health_service_set(fixture->health, round % 2 == 0);
		rpc_stream_cancel(stream);
		health_service_set(fixture->health, round % 2 != 0);
		rpc_stream_free(stream);
	}
	/* rpc_server_stop in teardown waits for every call: none is lost. */
}

static void
ask(struct rpc_stream *stream, const char *symbol)
{
	Reflection__ServerReflectionRequest request =
	    REFLECTION__SERVER_REFLECTION_REQUEST__INIT;
	struct error err;

	request.message_request_case =
	    REFLECTION__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
	request.file_containing_symbol =
	    (ProtobufCBinaryData){strlen(symbol), (uint8_t *)(uintptr_t)symbol};
	assert_int_equal(
	    rpc_stream_send(stream, rpc_message_pack(&request.base), &err), 0);
}

static int
answer_case(struct fixture *fixture, struct rpc_stream *stream)
{
	const Reflection__ServerReflectionResponse *response;
	struct rpc_message *message;
	struct error err;
	int which;

	assert_int_equal(rpc_stream_receive(stream, &message, &err), 1);
	response = rpc_message_unpack(message,
	    &reflection__server_reflection_response__descriptor,
	    &fixture->arena, &err);
	assert_non_null(response);
	which = (int)response->message_response_case;
	rpc_message_free(message);
	return which;
}

static void
reflection_answers_in_turn_until_the_client_has_no_more(void **state)
{
	static const char *const paths[] = {
	    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
	struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct fixture *fixture = *state;
	struct rpc_message *message;
	struct error err;

	for (size_t i = 0; i < 2; i++) {
		struct rpc_stream *stream =
		    rpc_stream_open(fixture->channel, paths[i], &options, &err);

		assert_non_null(stream);
		ask(stream, "grpc.health.v1.Health");
		ask(stream, "no.such.Symbol");
		assert_int_equal(answer_case(fixture, stream),
		    REFLECTION__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE);
		assert_int_equal(answer_case(fixture, stream),
		    REFLECTION__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE);
		assert_int_equal(rpc_stream_half_close(stream, &err), 0);
		assert_int_equal(rpc_stream_receive(stream, &message, &err), 0);
		rpc_stream_free(stream);
	}
}

static void
a_senseless_reflection_request_ends_the_stream(void **state)
{
	struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct fixture *fixture = *state;
	struct rpc_message *message = rpc_message_new();
	struct error err;
	struct rpc_stream *stream = rpc_stream_open(fixture->channel,
	    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	    &options, &err);

	assert_non_null(stream);
	rpc_message_add(message, "\x1a\xff", 2);
	assert_int_equal(rpc_stream_send(stream, message, &err), 0);
	assert_int_equal(rpc_stream_receive(stream, &message, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	rpc_stream_free(stream);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(check_tells_the_state_of_known_services),
	    TEST(check_of_an_unknown_service_is_not_found),
	    TEST(list_names_every_service),
	    TEST(watch_tells_each_change),
	    TEST(watch_of_an_unknown_service_says_so_and_stays),
	    TEST(stopping_tells_watchers_and_lets_them_go),
	    TEST(watchers_that_leave_amid_changes_are_let_go),
	    TEST(reflection_answers_in_turn_until_the_client_has_no_more),
	    TEST(a_senseless_reflection_request_ends_the_stream),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
