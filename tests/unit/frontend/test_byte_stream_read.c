/* SPDX-License-Identifier: Apache-2.0 */
/* ByteStream.Read while the server is far beyond its memory, which the guard of
 * another one, with a limit that is always passed, says. */
#include "tests/unit/frontend/execution_harness.h"

#include <google/bytestream/bytestream.pb-c.h>

#include "base/process_memory.h"
#include "rpc/memory_guard.h"
#include "rpc/server_core.h"

#define SIZE 900000u
#define TAKEN (64u << 20)

/* --- memory that is used up ------------------------------------------------
 */

struct hog {
	struct rpc_server *server;
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	_Atomic(struct rpc_call *) held;
	char *taken;
};

/* Kept to the end, also when it was cut off. */
static void
hold(struct rpc_call *call, void *service)
{
	struct hog *hog = service;

	atomic_store(&hog->held, call);
}

static void
hog_open(struct hog *hog, struct thread_pool *pool)
{
	const struct rpc_method method = {
	    "/t.T/Hold", RPC_BIDIRECTIONAL, hold, hog};
	const struct rpc_server_options options = {.listen = "127.0.0.1:0",
	    .methods = &method,
	    .method_count = 1,
	    .pollers = 1,
	    .max_receive_bytes = 1 << 20,
	    .max_call_memory = 1 << 20,
	    .max_streams = 10,
	    .memory_limit = 1,
	    .pool = pool};
	const struct rpc_call_options patience = {.timeout_ms = TIMEOUT_MS};
	struct error err;
	char *address;

	hog->server = rpc_server_new(&options, &err);
	assert_non_null(hog->server);
	rpc_server_start(hog->server);
	address = xasprintf("grpc://%s", rpc_server_address(hog->server));
	hog->channel = rpc_channel_open(
	    &(struct rpc_channel_options){.address = address}, &err);
	free(address);
	assert_non_null(hog->channel);
	hog->stream =
	    rpc_stream_open(hog->channel, "/t.T/Hold", &patience, &err);
	assert_non_null(hog->stream);
	hog->taken = xmalloc(TAKEN);
	explicit_bzero(hog->taken, TAKEN);
	for (int i = 0; i < TIMEOUT_MS; i++) {
		if (atomic_load(&hog->held) != NULL &&
		    memory_guard_is_urgent(hog->server->guard))
			return;
		usleep(1000);
	}
	fail_msg("memory is not short");
}

static void
hog_close(struct hog *hog)
{
	rpc_call_finish(atomic_load(&hog->held), NULL);
	rpc_stream_free(hog->stream);
	rpc_channel_close(hog->channel);
	rpc_server_stop(hog->server, 1000);
	rpc_server_free(hog->server);
	free(hog->taken);
}

/* From now on the world's server asks the hog's guard, or none. */
static void
set_guard(struct world *world, struct memory_guard *guard)
{
	pthread_mutex_lock(&world->server->lock);
	world->server->guard = guard;
	pthread_mutex_unlock(&world->server->lock);
}

/* A sanitizer's allocator does not tell what is in use. */
static void
skip_unless_memory_is_known(void)
{
	uint64_t before = process_memory_allocated();
	char *probe = xcalloc(TAKEN, 1);
	uint64_t after = process_memory_allocated();

	free(probe);
	if (after < before + TAKEN / 2)
		skip();
}

/* --- reading --------------------------------------------------------------
 */

/* Of noise, which does not compress, or of nothing else than zeros. */
static struct digest
put_blob(struct world *world, bool noisy)
{
	char *bytes = xcalloc(1, SIZE);
	uint64_t noise = 88172645463325252u;
	struct digest digest;
	struct error err;

	for (size_t i = 0; noisy && i < SIZE; i++) {
		noise ^= noise << 13;
		noise ^= noise >> 7;
		noise ^= noise << 17;
		bytes[i] = (char)(noise >> 32);
	}
	digest_compute(DIGEST_SHA256, bytes, SIZE, &digest);
	assert_int_equal(store_put_bytes(world->storage.store, &digest,
			     (struct str){bytes, SIZE}, &err),
	    0);
	free(bytes);
	return digest;
}

static struct rpc_stream *
start_read(struct world *world, const struct digest *digest, const char *kind)
{
	Bytestream__ReadRequest request = BYTESTREAM__READ_REQUEST__INIT;
	char text[DIGEST_TEXT_MAX];

	digest_format(digest, text);
	request.resource_name =
	    bytes_of(arena_printf(&world->arena, "%s/%s", kind, text));
	return ask(world, "/google.bytestream.ByteStream/Read", &request.base);
}

/* How the call ends after so many messages. */
static enum error_code
read_all(struct rpc_stream *reader, size_t *messages)
{
	struct rpc_message *message;
	struct error err = {.code = ERROR_OK};
	int rc;

	*messages = 0;
	while ((rc = rpc_stream_receive(reader, &message, &err)) > 0) {
		rpc_message_free(message);
		++*messages;
	}
	rpc_stream_free(reader);
	return rc == 0 ? ERROR_OK : err.code;
}

static void
check_read(
    struct world *world, bool noisy, const char *kind, enum error_code code)
{
	struct digest digest = put_blob(world, noisy);
	struct rpc_stream *reader = start_read(world, &digest, kind);
	size_t messages;

	assert_int_equal(read_all(reader, &messages), code);
	assert_true((messages > 0) == (code == ERROR_OK));
}

static void
without_memory_nothing_large_is_sent(void **state)
{
	struct world *world = *state;
	struct hog hog = {.taken = NULL};

	skip_unless_memory_is_known();
	hog_open(&hog, world->pool);
	set_guard(world, hog.server->guard);
	check_read(world, true, "blobs", ERROR_RESOURCE_EXHAUSTED);
	check_read(
	    world, true, "compressed-blobs/zstd", ERROR_RESOURCE_EXHAUSTED);
	check_read(world, false, "blobs", ERROR_RESOURCE_EXHAUSTED);
	set_guard(world, NULL);
	check_read(world, true, "blobs", ERROR_OK);
	check_read(world, true, "compressed-blobs/zstd", ERROR_OK);
	hog_close(&hog);
}

/* What it holds, and that this was all, is known only then. */
static void
a_compressed_read_without_more_to_send_ends_well(void **state)
{
	struct world *world = *state;
	struct hog hog = {.taken = NULL};

	skip_unless_memory_is_known();
	hog_open(&hog, world->pool);
	set_guard(world, hog.server->guard);
	check_read(world, false, "compressed-blobs/zstd", ERROR_OK);
	set_guard(world, NULL);
	hog_close(&hog);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		without_memory_nothing_large_is_sent, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_compressed_read_without_more_to_send_ends_well, set_up,
		tear_down),
	};

	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
