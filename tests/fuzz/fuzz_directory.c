/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: any bytes as a Directory, as a Tree and as the root that
 * GetTree pages through. What is accepted must pass again when packed anew,
 * and a sorted Tree must pass unsorted too. Seeds: tests/fuzz/corpus/directory.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "cas/closure.h"
#include "cas/directory.h"
#include "cas/tree.h"
#include "cas/tree_pages.h"
#include "protos/arena_allocator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_directory(struct str bytes)
{
	struct arena arena;
	struct error err;
	struct str again;
	Reapi__Directory *directory;

	arena_init(&arena, 2 * directory_memory(2 * bytes.len));
	directory = directory_decode(&arena, bytes, DIGEST_SHA256, &err);
	/* Of another length: protobuf-c has rewritten an odd varint, and then
	 * may not read its own work (an unknown field number 0). */
	if (directory != NULL &&
	    protos_pack(&arena, &directory->base, &again) != NULL &&
	    again.len == bytes.len &&
	    directory_decode(&arena, again, DIGEST_SHA256, &err) == NULL)
		abort();
	arena_clear(&arena);
}

static int
visit(void *cookie, const struct digest *digest,
    const Reapi__Directory *directory, struct error *err)
{
	(void)cookie;
	(void)digest;
	(void)err;
	if (directory == NULL)
		abort();
	return 0;
}

static void
try_tree(struct str bytes)
{
	struct tree_options sorted = {DIGEST_SHA256, true, visit, NULL};
	struct tree_options any = {DIGEST_SHA256, false, visit, NULL};
	struct digest root;
	struct error err;
	int rc = tree_walk(bytes, &any, &root, &err);

	if (tree_walk(bytes, &sorted, &root, &err) == 0 && rc < 0)
		abort();
}

static int
read_root(void *cookie, const struct digest *digest, struct buffer *content,
    struct error *err)
{
	const struct str *bytes = cookie;
	struct digest root;

	digest_compute(DIGEST_SHA256, bytes->data, bytes->len, &root);
	if (!digest_equal(&root, digest))
		return 0;
	if (buffer_append(content, bytes->data, bytes->len) < 0)
		return error_set(err, ERROR_INTERNAL, "too large");
	return 1;
}

static void
try_pages(struct str bytes)
{
	struct closure_source source = {read_root, &bytes, DIGEST_SHA256};
	struct digest root;
	struct error err;
	struct tree_page page;
	struct tree_pages *pages;

	digest_compute(DIGEST_SHA256, bytes.data, bytes.len, &root);
	/* The bytes as a token, then from the start. */
	tree_pages_free(tree_pages_open(&source, &root, bytes, &err));
	pages = tree_pages_open(&source, &root, STR(""), &err);
	while (tree_pages_next(pages, 1, 1000, &page, &err) == 1)
		continue;
	tree_pages_free(pages);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = {(const char *)data, size};

	if (size > 65536)
		return 0;
	try_directory(bytes);
	try_tree(bytes);
	try_pages(bytes);
	return 0;
}
