/* SPDX-License-Identifier: Apache-2.0 */
/* The Toolchains service over a store: what a name needs, and its life. */
#include "frontend/toolchains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <toolroot/toolchain/v1/toolchain.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/digest_message.h"
#include "cas/merkle_builder.h"
#include "cas/store.h"
#include "frontend/method_table.h"
#include "frontend/storage.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"

#define SERVICE "/toolroot.toolchain.v1.Toolchains/"

static struct world {
	char path[64];
	struct storage storage;
	struct method_table table;
	struct thread_pool *pool;
	struct rpc_server *server;
	struct rpc_channel *channel;
	struct arena arena;
	struct error err;
	/* A tree of "bin/cc", whose directories are in the store. */
	struct digest file;
	struct digest root;
	struct digest bin;
} world;

static void
put_blob(const struct digest *digest, struct str bytes)
{
	if (store_put_bytes(world.storage.store, digest, bytes, &world.err) < 0)
		fail_msg("%s", world.err.text);
}

static void
make_tree(void)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	const struct merkle_directory *directories;
	struct merkle_file file = {.executable = true};
	size_t count;

	digest_compute(DIGEST_SHA256, "cc", 2, &world.file);
	file.digest = world.file;
	assert_int_equal(
	    merkle_builder_add_file(builder, STR("bin/cc"), &file, &world.err),
	    0);
	assert_int_equal(merkle_builder_finish(builder, &world.err), 0);
	directories = merkle_builder_directories(builder, &count);
	for (size_t i = 0; i < count; i++)
		put_blob(&directories[i].digest, directories[i].bytes);
	world.root = directories[0].digest;
	world.bin = directories[1].digest;
	merkle_builder_free(builder);
}

static void
serve(void)
{
	struct rpc_server_options options = {.listen = "127.0.0.1:0",
	    .methods = world.table.items,
	    .method_count = world.table.count,
	    .pollers = 1,
	    .max_receive_bytes = 8 << 20,
	    .max_call_memory = 64 << 20,
	    .max_streams = 10,
	    .transport_memory = 256 << 20,
	    .pool = world.pool};
	struct rpc_channel_options channel = {.address = NULL};
	char *address;

	world.server = rpc_server_new(&options, &world.err);
	if (world.server == NULL)
		fail_msg("%s", world.err.text);
	rpc_server_start(world.server);
	address = xasprintf("grpc://%s", rpc_server_address(world.server));
	channel.address = address;
	world.channel = rpc_channel_open(&channel, &world.err);
	assert_non_null(world.channel);
	free(address);
}

static int
setup(void **state)
{
	struct store_options store = {.path = world.path, .max_size = 64 << 20};

	(void)state;
	world = (struct world){.path = "/tmp/toolroot-toolchains-XXXXXX"};
	assert_non_null(mkdtemp(world.path));
	world.storage.store = store_open(&store, &world.err);
	assert_non_null(world.storage.store);
	world.storage.digest_functions = 1u << DIGEST_SHA256;
	world.pool = thread_pool_new(2);
	arena_init(&world.arena, 64 << 20);
	toolchains_add(&world.table, &world.storage);
	make_tree();
	serve();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	rpc_channel_close(world.channel);
	rpc_server_stop(world.server, 1000);
	thread_pool_free(world.pool);
	rpc_server_free(world.server);
	store_close(world.storage.store);
	arena_clear(&world.arena);
	return file_remove_tree(world.path, &world.err);
}

/* NULL with the error in the world. */
static void *
call(const char *path, const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *descriptor)
{
	const struct rpc_call_options options = {.timeout_ms = 20000};
	struct rpc_message *message = rpc_message_pack(request);
	struct rpc_message *response = NULL;
	void *unpacked = NULL;

	if (rpc_channel_call(world.channel, path, message, &options, &response,
		&world.err) == 0)
		unpacked = rpc_message_unpack(
		    response, descriptor, &world.arena, &world.err);
	rpc_message_free(message);
	rpc_message_free(response);
	return unpacked;
}

static ProtobufCBinaryData
binary(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* part: a digest that is said to be a part of it, or NULL. */
static Toolchainapi__PutResponse *
put(const char *name, const struct digest *root, const struct digest *part)
{
	Toolchainapi__PutRequest request = TOOLCHAINAPI__PUT_REQUEST__INIT;
	Toolchainapi__Toolchain toolchain = TOOLCHAINAPI__TOOLCHAIN__INIT;
	Google__Protobuf__Timestamp created = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Toolchainapi__Part one = TOOLCHAINAPI__PART__INIT;
	Toolchainapi__Part *parts[] = {&one};
	Reapi__Digest root_message = REAPI__DIGEST__INIT;
	Reapi__Digest part_message = REAPI__DIGEST__INIT;
	char hash[DIGEST_TEXT_MAX], part_hash[DIGEST_TEXT_MAX];
	char source[] = "--cc gcc", mount_point[] = "/tc";

	digest_to_message(root, hash, &root_message);
	created.seconds = 17;
	toolchain.name = binary(name);
	toolchain.root_digest = &root_message;
	toolchain.created = &created;
	toolchain.source = source;
	if (part != NULL) {
		digest_to_message(part, part_hash, &part_message);
		one.mount_point = mount_point;
		one.root_digest = &part_message;
		toolchain.parts = parts;
		toolchain.n_parts = 1;
	}
	request.toolchain = &toolchain;
	return call(SERVICE "Put", &request.base,
	    &toolchainapi__put_response__descriptor);
}

static Toolchainapi__Toolchain *
get(const char *name)
{
	Toolchainapi__GetRequest request = TOOLCHAINAPI__GET_REQUEST__INIT;

	request.name = binary(name);
	return call(
	    SERVICE "Get", &request.base, &toolchainapi__toolchain__descriptor);
}

static void
refused(const void *response, enum error_code code, const char *text)
{
	assert_null(response);
	if (world.err.code != code || strstr(world.err.text, text) == NULL)
		fail_msg(
		    "%s: %s", error_code_name(world.err.code), world.err.text);
}

static void
a_name_needs_every_blob_below_it(void **state)
{
	char text[DIGEST_TEXT_MAX];

	(void)state;
	refused(put("gcc", &world.root, NULL), ERROR_FAILED_PRECONDITION,
	    digest_format(&world.file, text));
	refused(get("gcc"), ERROR_NOT_FOUND, "\"gcc\"");
	put_blob(&world.file, STR("cc"));
	assert_non_null(put("gcc", &world.root, NULL));
	assert_non_null(get("gcc"));
	refused(put("gcc", &world.file, NULL), ERROR_INVALID_ARGUMENT, "");
}

static void
a_root_that_is_absent_is_named(void **state)
{
	struct digest absent;
	char text[DIGEST_TEXT_MAX];

	(void)state;
	digest_compute(DIGEST_SHA256, "absent", 6, &absent);
	refused(put("gcc", &absent, NULL), ERROR_FAILED_PRECONDITION,
	    digest_format(&absent, text));
}

static void
the_server_sets_what_it_knows(void **state)
{
	const Toolchainapi__Toolchain *toolchain;
	const Toolchainapi__PutResponse *response;
	struct digest root;

	(void)state;
	put_blob(&world.file, STR("cc"));
	response = put("gcc", &world.root, &world.bin);
	assert_non_null(response);
	assert_null(response->previous_root_digest);
	toolchain = get("gcc");
	assert_non_null(toolchain);
	assert_true(toolchain->created->seconds > 1000000);
	assert_int_equal(toolchain->digest_function, DIGEST_SHA256);
	assert_string_equal(toolchain->source, "--cc gcc");
	assert_int_equal(toolchain->n_parts, 1);
	assert_int_equal(digest_from_message(DIGEST_SHA256,
			     toolchain->root_digest, &root, &world.err),
	    0);
	assert_true(digest_equal(&root, &world.root));
}

static void
a_name_that_moves_tells_where_from(void **state)
{
	const Toolchainapi__PutResponse *response;
	struct digest previous;

	(void)state;
	put_blob(&world.file, STR("cc"));
	assert_non_null(put("gcc", &world.root, NULL));
	response = put("gcc", &world.bin, NULL);
	assert_non_null(response);
	assert_int_equal(
	    digest_from_message(DIGEST_SHA256, response->previous_root_digest,
		&previous, &world.err),
	    0);
	assert_true(digest_equal(&previous, &world.root));
}

static void
made_up_parts_and_bad_names_are_refused(void **state)
{
	(void)state;
	put_blob(&world.file, STR("cc"));
	refused(
	    put("gcc", &world.bin, &world.root), ERROR_INVALID_ARGUMENT, "/tc");
	refused(put("../gcc", &world.root, NULL), ERROR_INVALID_ARGUMENT,
	    "a name has");
	refused(get(""), ERROR_INVALID_ARGUMENT, "a name has");
}

static void
pages_hold_all_names_once(void **state)
{
	Toolchainapi__ListRequest request = TOOLCHAINAPI__LIST_REQUEST__INIT;
	const Toolchainapi__ListResponse *page;
	size_t seen = 0, pages = 0;
	char name[16];

	(void)state;
	put_blob(&world.file, STR("cc"));
	for (int i = 0; i < 7; i++) {
		(void)snprintf(name, sizeof(name), "gcc-%d", i);
		assert_non_null(put(name, &world.root, NULL));
	}
	request.page_size = 3;
	do {
		page = call(SERVICE "List", &request.base,
		    &toolchainapi__list_response__descriptor);
		assert_non_null(page);
		assert_true(page->n_toolchains <= 3);
		for (size_t i = 0; i < page->n_toolchains; i++) {
			(void)snprintf(name, sizeof(name), "gcc-%zu", seen++);
			assert_memory_equal(
			    page->toolchains[i]->name.data, name, 5);
		}
		request.page_token = page->next_page_token;
		pages++;
	} while (page->next_page_token.len > 0);
	assert_int_equal(seen, 7);
	assert_int_equal(pages, 3);
}

static void
a_deleted_name_is_gone(void **state)
{
	Toolchainapi__DeleteRequest request =
	    TOOLCHAINAPI__DELETE_REQUEST__INIT;

	(void)state;
	put_blob(&world.file, STR("cc"));
	assert_non_null(put("gcc", &world.root, NULL));
	request.name = binary("gcc");
	assert_non_null(call(SERVICE "Delete", &request.base,
	    &toolchainapi__delete_response__descriptor));
	refused(call(SERVICE "Delete", &request.base,
		    &toolchainapi__delete_response__descriptor),
	    ERROR_NOT_FOUND, "\"gcc\"");
	refused(get("gcc"), ERROR_NOT_FOUND, "\"gcc\"");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_name_needs_every_blob_below_it),
	    TEST(a_root_that_is_absent_is_named),
	    TEST(the_server_sets_what_it_knows),
	    TEST(a_name_that_moves_tells_where_from),
	    TEST(made_up_parts_and_bad_names_are_refused),
	    TEST(pages_hold_all_names_once),
	    TEST(a_deleted_name_is_gone),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
