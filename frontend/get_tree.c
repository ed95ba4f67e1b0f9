/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetTree: pages of directories, each page one response with the token of the
 * next, until the tree ends. A client that was cut off goes on with the last
 * token it saw. Runs on the pool; one response is under way at a time.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "cas/closure.h"
#include "cas/store.h"
#include "cas/tree_pages.h"
#include "frontend/content_addressable_storage.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* GetTreeRequest */
enum {
	INSTANCE_NAME = 1,
	ROOT_DIGEST = 2,
	PAGE_SIZE = 3,
	PAGE_TOKEN = 4,
	DIGEST_FUNCTION = 5,
};
/* GetTreeResponse */
enum { DIRECTORIES = 1, NEXT_PAGE_TOKEN = 2 };

/* Directories in a page when the client does not say. */
#define PAGE_DIRECTORIES 1000u
/* Their bytes; a page with its overhead stays below STORAGE_SEND_MAX. */
#define PAGE_BYTES (3u << 20)

/* In the call's arena. */
struct get_tree {
	struct task task; /* first */
	struct rpc_call *call;
	const struct storage *storage;
	struct closure_source source;
	struct digest root;
	struct str token;
	size_t page_size;
	struct tree_pages *pages; /* NULL before the first */
};

static void
get_tree_finish(struct get_tree *get, const struct error *err)
{
	tree_pages_free(get->pages);
	rpc_call_finish(get->call, err);
}

static void
get_tree_sent(struct rpc_call *call, bool ok, void *cookie)
{
	struct get_tree *get = cookie;
	struct error err;

	if (ok) {
		rpc_call_submit(call, &get->task);
		return;
	}
	error_set(&err, ERROR_CANCELLED, "the client ended the call");
	get_tree_finish(get, &err);
}

static struct rpc_message *
page_message(const struct tree_page *page)
{
	struct rpc_message *message = rpc_message_new();
	uint8_t header[2 * WIRE_VARINT_MAX];
	struct str token = str_from(page->token);

	for (size_t i = 0; i < page->count; i++) {
		rpc_message_add(message, header,
		    wire_put_bytes_header(
			header, DIRECTORIES, page->directories[i].len));
		rpc_message_add(message, page->directories[i].data,
		    page->directories[i].len);
	}
	if (token.len > 0) {
		rpc_message_add(message, header,
		    wire_put_bytes_header(header, NEXT_PAGE_TOKEN, token.len));
		rpc_message_add(message, token.data, token.len);
	}
	return message;
}

static void
get_tree_run(struct task *task)
{
	struct get_tree *get = (struct get_tree *)task;
	struct tree_page page;
	struct error err;
	int more;

	if (get->pages == NULL)
		get->pages =
		    tree_pages_open(&get->source, &get->root, get->token, &err);
	if (get->pages == NULL) {
		get_tree_finish(get, &err);
		return;
	}
	more = tree_pages_next(
	    get->pages, get->page_size, PAGE_BYTES, &page, &err);
	if (more > 0)
		rpc_call_send(
		    get->call, page_message(&page), get_tree_sent, get);
	else
		get_tree_finish(get, more < 0 ? &err : NULL);
}

static int
take_page_size(struct get_tree *get, int32_t given, struct error *err)
{
	if (given < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "page_size %d is negative", given);
	get->page_size = given > 0 ? (size_t)given : PAGE_DIRECTORIES;
	return 0;
}

static int
get_tree_parse(struct get_tree *get, struct str message, struct error *err)
{
	struct str instance = {"", 0};
	struct str root = {"", 0};
	uint64_t function = 0;
	int32_t page_size = 0;
	struct wire_field field;
	int more;

	while ((more = wire_next(&message, &field)) > 0) {
		if (field.number == INSTANCE_NAME && field.type == WIRE_BYTES)
			instance = field.bytes;
		else if (field.number == ROOT_DIGEST &&
			 field.type == WIRE_BYTES)
			root = field.bytes;
		else if (field.number == PAGE_SIZE && field.type == WIRE_VARINT)
			page_size = (int32_t)field.value;
		else if (field.number == PAGE_TOKEN && field.type == WIRE_BYTES)
			get->token = field.bytes;
		else if (field.number == DIGEST_FUNCTION &&
			 field.type == WIRE_VARINT)
			function = field.value;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the GetTreeRequest is malformed");
	if (storage_check_instance(get->storage, instance, err) < 0 ||
	    storage_parse_digest(
		get->storage, root, function, &get->root, err) < 0)
		return -1;
	return take_page_size(get, page_size, err);
}

void
get_tree(struct rpc_call *call, void *storage)
{
	struct get_tree *get = rpc_call_new_state(call, sizeof(*get));
	struct error err;

	get->call = call;
	get->storage = storage;
	get->token = (struct str){"", 0};
	get->task.run = get_tree_run;
	if (get_tree_parse(
		get, rpc_message_flat(rpc_call_request(call)), &err) < 0) {
		get_tree_finish(get, &err);
		return;
	}
	get->source =
	    closure_source_of_store(get->storage->store, get->root.function);
	rpc_call_submit(call, &get->task);
}
