/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Toolchains by name. A name's details in the store are the serialised
 * Toolchain message, whose name, digest and time the server sets itself. All
 * methods run on the pool, since each may wait for the disk.
 */
#include "frontend/toolchains.h"

#include <inttypes.h>
#include <stdlib.h>

#include <toolroot/toolchain/v1/toolchain.pb-c.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/names.h"
#include "cas/store.h"
#include "frontend/method_table.h"
#include "frontend/storage.h"
#include "frontend/unary_call.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/toolroot.toolchain.v1.Toolchains/"
#define PARTS_MAX 16
#define PAGE_DEFAULT 100
#define PAGE_MAX 500
/* Details of a page: below gRPC's usual limit for a message. */
#define PAGE_BYTES_MAX (3u << 20)

static int
not_found(struct str name, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND,
	    "there is no toolchain \"%.*s\"; toolroot toolchain list "
	    "tells which there are",
	    STR_ARG(name));
}

/* --- messages ------------------------------------------------------------- */

/* What the server knows itself goes over what the client said. NULL at the
 * arena's cap. */
static Toolchainapi__Toolchain *
toolchain_message(struct arena *arena, struct str name,
    const struct name_entry *entry, struct error *err)
{
	Toolchainapi__Toolchain *message;
	Google__Protobuf__Timestamp *created;

	message = protos_unpack(
	    arena, &toolchainapi__toolchain__descriptor, entry->details, err);
	if (message == NULL)
		return NULL;
	created = arena_alloc(arena, sizeof(*created));
	message->name = binary_of(name);
	message->name.data = (uint8_t *)arena_copy(arena, name);
	message->root_digest = digest_message_new(arena, &entry->root);
	if (created == NULL || message->name.data == NULL ||
	    message->root_digest == NULL) {
		unary_call_out_of_memory(err);
		return NULL;
	}
	google__protobuf__timestamp__init(created);
	created->seconds = entry->created_ns / 1000000000;
	created->nanos = (int32_t)(entry->created_ns % 1000000000);
	message->created = created;
	message->digest_function =
	    (Reapi__DigestFunction__Value)entry->root.function;
	return message;
}

/* --- Put ------------------------------------------------------------------ */

static int
refuse_missing(const struct digest *digest, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "the tree needs the blob %s, which is not in the store; upload it "
	    "first",
	    digest_format(digest, text));
}

/* Touches them all, so that they stay until the name keeps them. */
static int
check_present(
    struct store *store, const struct digest_list *blobs, struct error *err)
{
	bool *missing = xcalloc(blobs->count + 1, sizeof(*missing));
	int rc =
	    store_find_missing(store, blobs->items, blobs->count, missing, err);

	for (size_t i = 0; i < blobs->count && rc == 0; i++) {
		if (missing[i])
			rc = refuse_missing(&blobs->items[i], err);
	}
	free(missing);
	return rc < 0 ? -1 : 0;
}

/* Every blob of the tree, which are all in the store. */
static int
collect_tree(struct store *store, const struct digest *root,
    struct digest_list *blobs, struct error *err)
{
	const struct closure_source source =
	    closure_source_of_store(store, root->function);
	struct digest_list missing;
	const struct closure closure = {blobs, blobs, &missing, 0};
	int rc;

	digest_list_init(&missing, CLOSURE_DIGESTS_MAX);
	rc = closure_of_directory(&source, root, &closure, err);
	if (rc == 0 && missing.count > 0)
		rc = refuse_missing(&missing.items[0], err);
	if (rc == 0)
		rc = check_present(store, blobs, err);
	digest_list_clear(&missing);
	return rc;
}

/* Parts are subtrees: only a client that made them up could fail this. */
static int
check_part(const Toolchainapi__Part *part, enum digest_function function,
    const struct digest_list *blobs, struct error *err)
{
	struct digest digest;

	if (digest_from_message(function, part->root_digest, &digest, err) < 0)
		return -1;
	for (size_t i = 0; i < blobs->count; i++) {
		if (digest_equal(&blobs->items[i], &digest))
			return 0;
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "the part %s is no directory of the toolchain", part->mount_point);
}

static int
check_parts(const Toolchainapi__Toolchain *toolchain,
    enum digest_function function, const struct digest_list *blobs,
    struct error *err)
{
	if (toolchain->n_parts > PARTS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a toolchain has at most %d parts", PARTS_MAX);
	for (size_t i = 0; i < toolchain->n_parts; i++) {
		if (check_part(toolchain->parts[i], function, blobs, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_reply(struct unary_call *call, struct str name,
    const struct name_entry *entry, const struct digest *previous,
    struct error *err)
{
	struct arena *arena = rpc_call_arena(call->rpc);
	Toolchainapi__PutResponse response = TOOLCHAINAPI__PUT_RESPONSE__INIT;

	response.toolchain = toolchain_message(arena, name, entry, err);
	if (response.toolchain == NULL)
		return -1;
	if (previous != NULL) {
		response.previous_root_digest =
		    digest_message_new(arena, previous);
		if (response.previous_root_digest == NULL)
			return unary_call_out_of_memory(err);
	}
	rpc_call_reply_packed(call->rpc, &response.base);
	return 0;
}

static int
put_toolchain(struct unary_call *call, const Toolchainapi__PutRequest *request,
    struct name_entry *entry, struct digest_list *blobs, struct error *err)
{
	const struct name_key key = {binary_str(request->instance_name),
	    binary_str(request->toolchain->name)};
	const struct storage *storage = call->service;
	struct store *store = storage->store;
	struct digest previous;
	int rc;

	if (collect_tree(store, &entry->root, blobs, err) < 0 ||
	    check_parts(request->toolchain, entry->root.function, blobs, err) <
		0)
		return -1;
	if (protos_pack(rpc_call_arena(call->rpc), &request->toolchain->base,
		&entry->details) == NULL)
		return unary_call_out_of_memory(err);
	rc = names_put(store, &key, entry, blobs, &previous, err);
	if (rc < 0)
		return -1;
	return put_reply(
	    call, key.name, entry, rc == 1 ? &previous : NULL, err);
}

static int
put_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	struct name_entry entry = {.created_ns = clock_wall_ns()};
	const Toolchainapi__PutRequest *request;
	const Reapi__Digest *root;
	enum digest_function function;
	struct digest_list blobs;
	int rc;

	request = unary_call_unpack(
	    call, &toolchainapi__put_request__descriptor, err);
	if (request == NULL || storage_check_instance(storage,
				   binary_str(request->instance_name), err) < 0)
		return -1;
	root =
	    request->toolchain != NULL ? request->toolchain->root_digest : NULL;
	if (root == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "toolchain.root_digest is missing");
	if (names_check(binary_str(request->toolchain->name), err) < 0 ||
	    storage_digest_function(storage,
		(uint64_t)request->toolchain->digest_function, root->hash.len,
		&function, err) < 0 ||
	    digest_from_message(function, root, &entry.root, err) < 0)
		return -1;
	digest_list_init(&blobs, CLOSURE_DIGESTS_MAX);
	rc = put_toolchain(call, request, &entry, &blobs, err);
	digest_list_clear(&blobs);
	return rc;
}

/* --- Get and Delete ------------------------------------------------------- */

static int
get_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	struct arena *arena = rpc_call_arena(call->rpc);
	const Toolchainapi__GetRequest *request;
	const Toolchainapi__Toolchain *toolchain;
	struct name_entry entry;
	struct name_key key;
	int rc;

	request = unary_call_unpack(
	    call, &toolchainapi__get_request__descriptor, err);
	if (request == NULL)
		return -1;
	key = (struct name_key){
	    binary_str(request->instance_name), binary_str(request->name)};
	if (storage_check_instance(storage, key.instance, err) < 0 ||
	    names_check(key.name, err) < 0)
		return -1;
	rc = names_get(storage->store, &key, arena, &entry, err);
	if (rc == 0)
		return not_found(key.name, err);
	if (rc < 0)
		return -1;
	toolchain = toolchain_message(arena, key.name, &entry, err);
	if (toolchain == NULL)
		return -1;
	rpc_call_reply_packed(call->rpc, &toolchain->base);
	return 0;
}

static int
delete_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	const Toolchainapi__DeleteResponse response =
	    TOOLCHAINAPI__DELETE_RESPONSE__INIT;
	const Toolchainapi__DeleteRequest *request;
	struct name_key key;
	int rc;

	request = unary_call_unpack(
	    call, &toolchainapi__delete_request__descriptor, err);
	if (request == NULL)
		return -1;
	key = (struct name_key){
	    binary_str(request->instance_name), binary_str(request->name)};
	if (storage_check_instance(storage, key.instance, err) < 0)
		return -1;
	rc = names_remove(storage->store, &key, err);
	if (rc == 0)
		return not_found(key.name, err);
	if (rc < 0)
		return -1;
	rpc_call_reply_packed(call->rpc, &response.base);
	return 0;
}

/* --- List ----------------------------------------------------------------- */

struct page {
	struct arena *arena;
	Toolchainapi__Toolchain *items[PAGE_MAX];
	size_t count;
	size_t bytes;
	bool full; /* by bytes; the rest is for the next page */
};

static int
page_add(void *cookie, struct str name, const struct name_entry *entry,
    struct error *err)
{
	struct page *page = cookie;
	Toolchainapi__Toolchain *toolchain;

	page->full = page->full ||
		     (page->count > 0 &&
			 page->bytes + entry->details.len > PAGE_BYTES_MAX);
	if (page->full)
		return 0;
	toolchain = toolchain_message(page->arena, name, entry, err);
	if (toolchain == NULL)
		return -1;
	page->bytes += entry->details.len;
	page->items[page->count++] = toolchain;
	return 0;
}

static int
list_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	Toolchainapi__ListResponse response = TOOLCHAINAPI__LIST_RESPONSE__INIT;
	struct arena *arena = rpc_call_arena(call->rpc);
	const Toolchainapi__ListRequest *request;
	struct page *page = arena_zalloc(arena, 1, sizeof(*page));
	size_t count = PAGE_DEFAULT;
	struct name_key after;
	int rc;

	request = unary_call_unpack(
	    call, &toolchainapi__list_request__descriptor, err);
	if (request == NULL)
		return -1;
	if (page == NULL)
		return unary_call_out_of_memory(err);
	page->arena = arena;
	after = (struct name_key){binary_str(request->instance_name),
	    binary_str(request->page_token)};
	if (storage_check_instance(storage, after.instance, err) < 0)
		return -1;
	if (request->page_size > 0)
		count = request->page_size < PAGE_MAX
			    ? (size_t)request->page_size
			    : PAGE_MAX;
	rc = names_list(storage->store, &after, count, page_add, page, err);
	if (rc < 0)
		return -1;
	response.n_toolchains = page->count;
	response.toolchains = page->items;
	if ((rc == 1 || page->full) && page->count > 0)
		response.next_page_token = page->items[page->count - 1]->name;
	rpc_call_reply_packed(call->rpc, &response.base);
	return 0;
}

/* --- the service ---------------------------------------------------------- */

static void
put(struct rpc_call *call, void *storage)
{
	unary_call_submit(call, storage, put_run);
}

static void
get(struct rpc_call *call, void *storage)
{
	unary_call_submit(call, storage, get_run);
}

static void
list(struct rpc_call *call, void *storage)
{
	unary_call_submit(call, storage, list_run);
}

static void delete (struct rpc_call *call, void *storage)
{
	unary_call_submit(call, storage, delete_run);
}

void
toolchains_add(struct method_table *table, struct storage *storage)
{
	static const struct {
		const char *path;
		void (*handler)(struct rpc_call *call, void *storage);
	} methods[] = {
	    {SERVICE "Put", put},
	    {SERVICE "Get", get},
	    {SERVICE "List", list},
	    {SERVICE "Delete", delete},
	};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		method_table_add(
		    table, (struct rpc_method){methods[i].path, RPC_UNARY,
			       methods[i].handler, storage});
}
