/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Level by level. A directory that stands at several places is fetched once;
 * its bytes are kept until the whole is read.
 */
#include "client/toolchain_files.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "client/cas_client.h"

struct fetched {
	struct digest digest; /* the key */
	struct buffer bytes;
};

struct place {
	char *path; /* owned */
	struct digest digest;
};

struct reading {
	struct cas_client *client;
	enum digest_function function;
	struct capture_tree *tree;
	struct map fetched;   /* digest -> struct fetched */
	struct place *places; /* to be read; a stack */
	size_t count;
	size_t capacity;
};

static void
push(struct reading *reading, char *path, const struct digest *digest)
{
	if (reading->count == reading->capacity) {
		reading->capacity = 2 * reading->capacity + 64;
		reading->places = xreallocarray(reading->places,
		    reading->capacity, sizeof(*reading->places));
	}
	reading->places[reading->count++] = (struct place){path, *digest};
}

/* NULL on error. */
static const struct fetched *
fetch(struct reading *reading, const struct digest *digest, struct error *err)
{
	struct fetched *fetched =
	    map_get(&reading->fetched, digest_key(digest));
	char text[DIGEST_TEXT_MAX];
	int rc;

	if (fetched != NULL)
		return fetched;
	fetched = xcalloc(1, sizeof(*fetched));
	fetched->digest = *digest;
	buffer_init(&fetched->bytes, CLOSURE_MESSAGE_MAX);
	rc = digest_is_empty(digest) ? 1
				     : cas_client_read(reading->client, NULL,
					   digest, &fetched->bytes, err);
	if (rc == 0)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "the server lacks the directory %s",
		    digest_format(digest, text));
	if (rc != 1) {
		buffer_clear(&fetched->bytes);
		free(fetched);
		return NULL;
	}
	map_put(&reading->fetched, digest_key(&fetched->digest), fetched);
	return fetched;
}

static char *
join(const char *path, ProtobufCBinaryData name)
{
	return xasprintf("%s%s%.*s", path, *path != '\0' ? "/" : "",
	    (int)name.len, (const char *)name.data);
}

static int
add_node(struct reading *reading, const char *path, const Reapi__FileNode *node,
    struct error *err)
{
	struct capture_file file = {.executable = node->is_executable};
	struct digest digest;
	int rc =
	    digest_from_message(reading->function, node->digest, &digest, err);

	if (rc < 0)
		return -1;
	file.digest = &digest;
	file.size = digest.size;
	return capture_tree_add_file(reading->tree, str_from(path), &file, err);
}

static int
add_directory(struct reading *reading, const struct place *place,
    const Reapi__Directory *directory, struct error *err)
{
	char *path;
	int rc = 0;

	for (size_t i = 0; i < directory->n_files && rc == 0; i++) {
		path = join(place->path, directory->files[i]->name);
		rc = add_node(reading, path, directory->files[i], err);
		free(path);
	}
	for (size_t i = 0; i < directory->n_symlinks && rc == 0; i++) {
		path = join(place->path, directory->symlinks[i]->name);
		rc = capture_tree_add_symlink(reading->tree, str_from(path),
		    directory_str(directory->symlinks[i]->target), err);
		free(path);
	}
	for (size_t i = 0; i < directory->n_directories && rc == 0; i++) {
		struct digest digest;

		path = join(place->path, directory->directories[i]->name);
		rc = digest_from_message(reading->function,
		    directory->directories[i]->digest, &digest, err);
		if (rc == 0)
			rc = capture_tree_add_directory(
			    reading->tree, str_from(path), err);
		if (rc == 0)
			push(reading, path, &digest);
		else
			free(path);
	}
	return rc;
}

static int
read_place(
    struct reading *reading, const struct place *place, struct error *err)
{
	const struct fetched *fetched = fetch(reading, &place->digest, err);
	const Reapi__Directory *directory;
	struct arena arena;
	int rc = -1;

	if (fetched == NULL)
		return -1;
	arena_init(&arena, directory_memory(fetched->bytes.len));
	directory = directory_decode(
	    &arena, buffer_str(&fetched->bytes), reading->function, err);
	if (directory != NULL)
		rc = add_directory(reading, place, directory, err);
	arena_clear(&arena);
	return rc;
}

static void
reading_clear(struct reading *reading)
{
	struct fetched *fetched;
	size_t position = 0;

	while ((fetched = map_next(&reading->fetched, &position)) != NULL) {
		buffer_clear(&fetched->bytes);
		free(fetched);
	}
	map_clear(&reading->fetched);
	while (reading->count > 0)
		free(reading->places[--reading->count].path);
	free(reading->places);
}

struct capture_tree *
toolchain_files_read(
    struct cas_client *client, const struct digest *root, struct error *err)
{
	const struct capture_limits limits = {
	    TOOLCHAIN_FILES_MAX, DIGEST_SIZE_MAX};
	struct reading reading = {.client = client, .function = root->function};
	int rc = 0;

	reading.tree = capture_tree_new(root->function, &limits);
	map_init(&reading.fetched);
	push(&reading, xstrdup(""), root);
	while (rc == 0 && reading.count > 0) {
		struct place place = reading.places[--reading.count];

		rc = read_place(&reading, &place, err);
		if (rc < 0)
			error_prefix(err, "directory /%s", place.path);
		free(place.path);
	}
	reading_clear(&reading);
	if (rc == 0)
		return reading.tree;
	capture_tree_free(reading.tree);
	return NULL;
}
