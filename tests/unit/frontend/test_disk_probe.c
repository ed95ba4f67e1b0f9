/* SPDX-License-Identifier: Apache-2.0 */
/* The disk is asked again and again, whatever else waits for it. */
#include "frontend/disk_probe.h"

#include "tests/unit/frontend/execution_harness.h"

#include <grpc/health/v1/health.pb-c.h>

#include "frontend/health.h"

#define SERVING HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define EVERY_MS 20

/* Work that hangs until the test lets it go. */
struct hung {
	struct task task;
	atomic_bool begun;
	atomic_bool let_go;
	atomic_bool ended;
};

static void
hang(struct task *task)
{
	struct hung *hung = (struct hung *)(void *)task;

	atomic_store(&hung->begun, true);
	while (!atomic_load(&hung->let_go))
		usleep(1000);
	atomic_store(&hung->ended, true);
}

static bool
becomes_true(const atomic_bool *flag)
{
	for (int i = 0; i < TIMEOUT_MS && !atomic_load(flag); i++)
		usleep(1000);
	return atomic_load(flag);
}

static void
hang_up(struct world *world, struct hung *hung)
{
	*hung = (struct hung){.task.run = hang};
	thread_pool_submit(world->pool, &hung->task);
	assert_true(becomes_true(&hung->begun));
}

static int
health_of(struct world *world)
{
	Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
	struct rpc_message *message =
	    rpc_message_pack((const ProtobufCMessage *)&request);
	const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct Health__HealthCheckResponse *answer;
	struct rpc_message *response;
	struct error err;

	if (rpc_channel_call(world->channel, "/grpc.health.v1.Health/Check",
		message, &options, &response, &err) < 0)
		fail_msg("%s", err.text);
	answer = rpc_message_unpack(response,
	    &health__health_check_response__descriptor, &world->arena, &err);
	rpc_message_free(message);
	rpc_message_free(response);
	assert_non_null(answer);
	return (int)answer->status;
}

/* By an answer of the disk: nobody else sets it here. */
static bool
becomes_serving(struct world *world)
{
	for (int i = 0; i < TIMEOUT_MS / 10; i++) {
		if (health_of(world) == SERVING)
			return true;
		usleep(10000);
	}
	return false;
}

static void
the_disk_is_asked_while_other_work_hangs(void **state)
{
	struct world *world = *state;
	struct disk_probe_options options = {
	    .store = world->storage.store, .every_ms = EVERY_MS};
	struct disk_probe *probe;
	struct hung hung[2];

	/* A server that has the health service, too. */
	rpc_server_stop(world->server, 1000);
	world_close(world);
	world->pool = thread_pool_new(3);
	options.health = health_service_new();
	options.pool = world->pool;
	health_service_add(&world->table, options.health);
	world_serve(world);
	probe = disk_probe_new(&options);
	assert_int_not_equal(health_of(world), SERVING);
	for (int i = 0; i < 2; i++)
		hang_up(world, &hung[i]);
	disk_probe_start(probe, world->server);
	for (int i = 0; i < 3; i++) {
		assert_true(becomes_serving(world));
		health_service_set(options.health, false);
	}
	assert_false(disk_probe_late(probe));
	for (int i = 0; i < 2; i++) {
		atomic_store(&hung[i].let_go, true);
		assert_true(becomes_true(&hung[i].ended));
	}
	rpc_server_stop(world->server, 1000);
	world_close(world);
	disk_probe_free(probe);
	health_service_free(options.health);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		the_disk_is_asked_while_other_work_hangs, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
