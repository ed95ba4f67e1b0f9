/* SPDX-License-Identifier: Apache-2.0 */
/* Depth first, by recursion that CLOSURE_DEPTH_MAX bounds. */
#include "worker/tree_walk.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "worker/stage_file.h"

/* Files and bytes that are read ahead at a time. */
#define AHEAD_FILES 256
#define AHEAD_BYTES ((size_t)1 << 20)

static void
copy_text(char *text, ProtobufCBinaryData data)
{
	/* directory_decode has checked the length. */
	memcpy(text, data.data, data.len);
	text[data.len] = '\0';
}

static int
report_missing(const struct tree_walk *walk, const struct digest *digest,
    struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	/* A list that is full holds enough to fail with. */
	if (walk->missing != NULL)
		(void)!digest_list_add(walk->missing, digest);
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "blob %s of the %s is missing from the store",
	    digest_format(digest, text), walk->what);
}

int
tree_walk_read(struct tree_walk *walk, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	int found = store_read(walk->store, digest, content, err);

	if (found == 0)
		return report_missing(walk, digest, err);
	return found < 0 ? -1 : 0;
}

int
tree_walk_open(struct tree_walk *walk, const struct digest *digest,
    struct blob **blob, struct error *err)
{
	int found = store_open_blob(walk->store, digest, blob, err);

	if (found == 0)
		return report_missing(walk, digest, err);
	return found < 0 ? -1 : 0;
}

static int
count_entries(struct tree_walk *walk, uint64_t entries, struct error *err)
{
	walk->entries += entries;
	if (walk->entries > CLOSURE_ENTRIES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the %s has more than %u entries", walk->what,
		    CLOSURE_ENTRIES_MAX);
	return 0;
}

/* Of some files that follow each other in a directory. */
struct ahead {
	struct digest digests[AHEAD_FILES];
	struct store_part parts[AHEAD_FILES];
	size_t count;
	struct buffer content;
};

static int
show_file(struct tree_walk *walk, void *place, const Reapi__FileNode *node,
    const struct ahead *ahead, size_t number, struct error *err)
{
	struct tree_file file = {.digest = ahead->digests[number]};

	copy_text(file.name, node->name);
	file.executable = node->is_executable != 0;
	file.mode = stage_file_mode(node->node_properties, file.executable);
	file.time = stage_file_time(node->node_properties);
	if (ahead->parts[number].found)
		file.content = (struct str){
		    ahead->content.data != NULL
			? ahead->content.data + ahead->parts[number].offset
			: "",
		    (size_t)file.digest.size};
	return walk->visitor->file(walk, place, &file, err);
}

/* Some of the files: as many as are read at a time. Large ones, which the
 * visitor opens, are not read. */
static int
read_ahead(const struct tree_walk *walk, Reapi__FileNode *const *nodes,
    size_t count, enum digest_function function, struct ahead *ahead,
    struct error *err)
{
	struct digest wanted[AHEAD_FILES];
	size_t numbers[AHEAD_FILES];
	struct store_part parts[AHEAD_FILES];
	uint64_t bytes = 0;
	size_t small = 0;

	buffer_reset(&ahead->content);
	for (ahead->count = 0;
	     ahead->count < count && ahead->count < AHEAD_FILES;
	     ahead->count++) {
		struct digest *digest = &ahead->digests[ahead->count];

		if (digest_from_message(
			function, nodes[ahead->count]->digest, digest, err) < 0)
			return -1;
		ahead->parts[ahead->count].found = false;
		if (digest->size > walk->ahead_max)
			continue;
		if (ahead->count > 0 && bytes + digest->size > AHEAD_BYTES)
			break;
		bytes += digest->size;
		numbers[small] = ahead->count;
		wanted[small++] = *digest;
	}
	if (small > 0)
		store_read_together(
		    walk->store, wanted, small, parts, &ahead->content);
	for (size_t i = 0; i < small; i++)
		ahead->parts[numbers[i]] = parts[i];
	return 0;
}

static int
show_files(struct tree_walk *walk, void *place, const Reapi__Directory *message,
    enum digest_function function, struct error *err)
{
	struct ahead *ahead;
	int rc = 0;

	if (message->n_files == 0)
		return 0;
	ahead = xmalloc(sizeof(*ahead));
	/* With what lies between them. */
	buffer_init(&ahead->content, 4 * AHEAD_BYTES);
	for (size_t i = 0; rc == 0 && i < message->n_files; i += ahead->count) {
		rc = read_ahead(walk, message->files + i, message->n_files - i,
		    function, ahead, err);
		for (size_t j = 0; rc == 0 && j < ahead->count; j++)
			rc = show_file(
			    walk, place, message->files[i + j], ahead, j, err);
	}
	buffer_clear(&ahead->content);
	free(ahead);
	return rc;
}

static int
show_link(struct tree_walk *walk, void *place, const Reapi__SymlinkNode *node,
    struct error *err)
{
	struct tree_link link;

	copy_text(link.name, node->name);
	copy_text(link.target, node->target);
	link.time = stage_file_time(node->node_properties);
	return walk->visitor->link(walk, place, &link, err);
}

static int walk_directory(struct tree_walk *walk, void *parent,
    const char *name, const struct digest *digest, struct error *err);

static int
descend(struct tree_walk *walk, void *place, const Reapi__DirectoryNode *node,
    enum digest_function function, struct error *err)
{
	size_t path_len = walk->path.len;
	char name[DIRECTORY_NAME_MAX + 1];
	struct digest digest;
	uint64_t entries;
	int rc = 0;

	copy_text(name, node->name);
	if (digest_from_message(function, node->digest, &digest, err) < 0)
		return -1;
	if (walk->visitor->skip != NULL)
		rc = walk->visitor->skip(walk, place, &digest, &entries, err);
	if (rc == 1)
		return count_entries(walk, entries, err);
	if (rc < 0)
		return -1;
	if (buffer_printf(&walk->path, "%s/", name) < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the %s has a path of more than %d bytes: %.200s...",
		    walk->what, PATH_MAX, walk->path.data);
	rc = walk_directory(walk, place, name, &digest, err);
	walk->path.len = path_len;
	walk->path.data[path_len] = '\0';
	return rc;
}

static int
show_entries(struct tree_walk *walk, void *place,
    const Reapi__Directory *message, enum digest_function function,
    struct error *err)
{
	if (show_files(walk, place, message, function, err) < 0)
		return -1;
	for (size_t i = 0; i < message->n_symlinks; i++)
		if (show_link(walk, place, message->symlinks[i], err) < 0)
			return -1;
	for (size_t i = 0; i < message->n_directories; i++)
		if (descend(walk, place, message->directories[i], function,
			err) < 0)
			return -1;
	return 0;
}

static int
check_cancelled(const struct tree_walk *walk, struct error *err)
{
	struct pollfd poll_fd = {walk->cancel_fd, POLLIN, 0};

	if (walk->cancel_fd != -1 && poll(&poll_fd, 1, 0) > 0)
		return error_set(err, ERROR_CANCELLED,
		    "the %s is no longer wanted", walk->what);
	return 0;
}

static int
visit(struct tree_walk *walk, void *parent, const char *name,
    const Reapi__Directory *message, enum digest_function function,
    struct error *err)
{
	void *place = NULL;
	int rc;

	if (count_entries(walk,
		message->n_files + message->n_symlinks + message->n_directories,
		err) < 0 ||
	    walk->visitor->enter(walk, parent, name, message, &place, err) < 0)
		return -1;
	rc = show_entries(walk, place, message, function, err);
	if (rc == 0)
		rc = walk->visitor->complete(walk, parent, place, message, err);
	walk->visitor->leave(place);
	return rc;
}

static int
walk_directory(struct tree_walk *walk, void *parent, const char *name,
    const struct digest *digest, struct error *err)
{
	const Reapi__Directory *message;
	struct buffer encoded;
	struct arena arena;
	uint64_t before = walk->entries;
	int rc = -1;

	if (check_cancelled(walk, err) < 0)
		return -1;
	if (++walk->depth > CLOSURE_DEPTH_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the %s is more than %u directories deep", walk->what,
		    CLOSURE_DEPTH_MAX);
	buffer_init(&encoded, CLOSURE_MESSAGE_MAX);
	arena_init(&arena, 0);
	if (tree_walk_read(walk, digest, &encoded, err) < 0)
		goto out;
	arena.cap = directory_memory(encoded.len);
	message = directory_decode(
	    &arena, buffer_str(&encoded), digest->function, err);
	if (message == NULL)
		goto out;
	/* The encoded form is not needed while we descend. */
	buffer_clear(&encoded);
	rc = visit(walk, parent, name, message, digest->function, err);
	if (rc == 0 && walk->visitor->walked != NULL)
		walk->visitor->walked(
		    walk, digest, message, walk->entries - before);
out:
	arena_clear(&arena);
	buffer_clear(&encoded);
	walk->depth--;
	return rc;
}

int
tree_walk_run(
    struct tree_walk *walk, const struct digest *root, struct error *err)
{
	int rc = -1;

	walk->entries = 0;
	walk->depth = 0;
	buffer_init(&walk->path, PATH_MAX - DIRECTORY_NAME_MAX - 1);
	if (buffer_append(&walk->path, "", 0) == 0)
		rc = walk_directory(walk, NULL, "", root, err);
	buffer_clear(&walk->path);
	return rc;
}
