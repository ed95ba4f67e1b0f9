/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a breadth-first walk. A token is "<place in the queue>-<root>-
 * <digest at that place>", digests cut to 16 characters: the last part shows
 * when the order is no longer what it was.
 */
#include "cas/tree_pages.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/directory.h"

#define TOKEN_HASH_LENGTH 16

struct tree_pages {
	const struct closure_source *source;
	struct map seen;       /* digest -> itself, in memory */
	struct arena memory;   /* the digests */
	struct digest **queue; /* in the order of the walk, absent ones too */
	size_t queue_count;
	size_t queue_capacity;
	size_t position; /* the next one to be shown */
	bool ended;
	struct buffer content;   /* of the page */
	struct str *directories; /* of the page, pointing into content */
	size_t directories_capacity;
};

static int
pages_push(
    struct tree_pages *pages, const struct digest *digest, struct error *err)
{
	struct digest *copy;

	if (map_get(&pages->seen, digest_key(digest)) != NULL)
		return 0;
	copy = arena_alloc(&pages->memory, sizeof(*copy));
	if (copy == NULL || pages->queue_count == CLOSURE_DIRECTORIES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the tree has more than %u directories",
		    CLOSURE_DIRECTORIES_MAX);
	*copy = *digest;
	map_put(&pages->seen, digest_key(copy), copy);
	if (pages->queue_count == pages->queue_capacity) {
		pages->queue_capacity =
		    pages->queue_capacity > 0 ? pages->queue_capacity * 2 : 64;
		pages->queue = xreallocarray(pages->queue,
		    pages->queue_capacity, sizeof(struct digest *));
	}
	pages->queue[pages->queue_count++] = copy;
	return 0;
}

static int
pages_push_children(
    struct tree_pages *pages, struct str bytes, struct error *err)
{
	enum digest_function function = pages->source->function;
	struct arena arena;
	Reapi__Directory *directory;
	struct digest digest;
	int rc = -1;

	arena_init(&arena, directory_memory(bytes.len));
	directory = directory_decode(&arena, bytes, function, err);
	if (directory == NULL)
		goto out;
	for (size_t i = 0; i < directory->n_directories; i++) {
		if (digest_from_message(function,
			directory->directories[i]->digest, &digest, err) < 0 ||
		    pages_push(pages, &digest, err) < 0)
			goto out;
	}
	rc = 0;
out:
	arena_clear(&arena);
	return rc;
}

/* Appends the next directory to the page and queues its children. 1, 0 when it
 * is absent, -1. */
static int
pages_read(struct tree_pages *pages, struct error *err)
{
	const struct closure_source *source = pages->source;
	const struct digest *digest = pages->queue[pages->position];
	struct buffer *content = &pages->content;
	size_t start = content->len;
	char text[DIGEST_TEXT_MAX];
	int found = 1;

	if (digest->size > CLOSURE_MESSAGE_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s is too large for a Directory (the limit is %u bytes)",
		    digest_format(digest, text), CLOSURE_MESSAGE_MAX);
	if (!digest_is_empty(digest))
		found = source->read(source->cookie, digest, content, err);
	if (found == 0 && pages->position == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "the root %s is not in the store",
		    digest_format(digest, text));
	if (found > 0 && content->len - start != digest->size)
		found = error_set(err, ERROR_DATA_LOSS,
		    "%zu bytes were read back", content->len - start);
	if (found > 0 && pages_push_children(pages,
			     (struct str){buffer_str(content).data + start,
				 content->len - start},
			     err) < 0)
		found = -1;
	if (found < 0)
		error_prefix(err, "directory %s", digest_format(digest, text));
	pages->position++;
	return found;
}

/* The token for the present position, which is one in the queue. */
static void
pages_token(
    const struct tree_pages *pages, char token[static TREE_PAGES_TOKEN_MAX])
{
	char root[DIGEST_TEXT_MAX];
	char next[DIGEST_TEXT_MAX];

	snprintf(token, TREE_PAGES_TOKEN_MAX, "%zu-%.*s-%.*s", pages->position,
	    TOKEN_HASH_LENGTH, digest_format_hash(pages->queue[0], root),
	    TOKEN_HASH_LENGTH,
	    digest_format_hash(pages->queue[pages->position], next));
}

/* Walks to where the token points. */
static int
pages_skip(struct tree_pages *pages, struct str token, struct error *err)
{
	struct str rest = token;
	char root[DIGEST_TEXT_MAX];
	char again[TREE_PAGES_TOKEN_MAX];
	uint64_t position;

	if (!str_to_uint64(
		str_cut(&rest, '-'), CLOSURE_DIRECTORIES_MAX, &position) ||
	    position == 0)
		goto refuse;
	digest_format_hash(pages->queue[0], root);
	if (!str_equal(
		str_cut(&rest, '-'), (struct str){root, TOKEN_HASH_LENGTH}))
		goto refuse;
	while (pages->position < position &&
	       pages->position < pages->queue_count) {
		buffer_reset(&pages->content);
		if (pages_read(pages, err) < 0)
			return -1;
	}
	if (pages->position == pages->queue_count)
		goto refuse;
	pages_token(pages, again);
	if (str_equal(token, str_from(again)))
		return 0;
refuse:
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "the page token is not one of this tree, or parts of the tree are "
	    "gone since; start again without a token");
}

struct tree_pages *
tree_pages_open(const struct closure_source *source, const struct digest *root,
    struct str token, struct error *err)
{
	struct tree_pages *pages = xcalloc(1, sizeof(*pages));

	pages->source = source;
	map_init(&pages->seen);
	arena_init(&pages->memory, (size_t)CLOSURE_DIRECTORIES_MAX * 128);
	buffer_init(&pages->content, CLOSURE_MESSAGE_MAX);
	if (pages_push(pages, root, err) < 0 ||
	    (token.len > 0 && pages_skip(pages, token, err) < 0)) {
		tree_pages_free(pages);
		return NULL;
	}
	return pages;
}

void
tree_pages_free(struct tree_pages *pages)
{
	if (pages == NULL)
		return;
	map_clear(&pages->seen);
	arena_clear(&pages->memory);
	buffer_clear(&pages->content);
	free(pages->queue);
	free(pages->directories);
	free(pages);
}

/* Notes a directory of the page; the pointer is set when all are there, since
 * the content moves as it grows. */
static void
pages_note(struct tree_pages *pages, size_t i, size_t len)
{
	if (i == pages->directories_capacity) {
		pages->directories_capacity = i > 0 ? i * 2 : 64;
		pages->directories = xreallocarray(pages->directories,
		    pages->directories_capacity, sizeof(*pages->directories));
	}
	pages->directories[i] = (struct str){NULL, len};
}

static void
pages_point(struct tree_pages *pages, size_t count)
{
	const char *at = buffer_str(&pages->content).data;

	for (size_t i = 0; i < count; i++) {
		pages->directories[i].data = at;
		at += pages->directories[i].len;
	}
}

int
tree_pages_next(struct tree_pages *pages, size_t directories, size_t bytes,
    struct tree_page *page, struct error *err)
{
	size_t count = 0;

	if (pages->ended)
		return 0;
	buffer_reset(&pages->content);
	while (pages->position < pages->queue_count && count < directories) {
		size_t before = pages->content.len;
		uint64_t size = pages->queue[pages->position]->size;
		int found;

		if (count > 0 && (before > bytes || size > bytes - before))
			break;
		found = pages_read(pages, err);
		if (found < 0)
			return -1;
		if (found == 1)
			pages_note(pages, count++, pages->content.len - before);
	}
	pages_point(pages, count);
	pages->ended = pages->position == pages->queue_count;
	page->directories = pages->directories;
	page->count = count;
	page->token[0] = '\0';
	if (!pages->ended)
		pages_token(pages, page->token);
	return 1;
}
