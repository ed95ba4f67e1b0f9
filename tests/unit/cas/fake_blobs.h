/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs in memory as the source of a closure, with a count of the reads. For
 * tests only; one thread. */
#ifndef TOOLROOT_TESTS_FAKE_BLOBS_H
#define TOOLROOT_TESTS_FAKE_BLOBS_H

#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/merkle_builder.h"

struct fake_blob {
	struct digest digest;
	char *data;
	size_t len;
	unsigned reads;
};

struct fake_blobs {
	struct map map;
	unsigned reads;
	bool broken; /* reads fail */
};

static inline void
fake_blobs_init(struct fake_blobs *blobs)
{
	*blobs = (struct fake_blobs){.reads = 0};
	map_init(&blobs->map);
}

static inline void
fake_blobs_clear(struct fake_blobs *blobs)
{
	size_t position = 0;
	struct fake_blob *blob;

	while ((blob = map_next(&blobs->map, &position)) != NULL) {
		free(blob->data);
		free(blob);
	}
	map_clear(&blobs->map);
}

/* Under a digest that may be a lie. */
static inline void
fake_blobs_add_as(
    struct fake_blobs *blobs, const struct digest *digest, struct str bytes)
{
	struct fake_blob *blob;

	if (map_get(&blobs->map, digest_key(digest)) != NULL)
		return;
	blob = xcalloc(1, sizeof(*blob));
	blob->digest = *digest;
	blob->data = xstrndup(bytes.data, bytes.len);
	blob->len = bytes.len;
	map_put(&blobs->map, digest_key(&blob->digest), blob);
}

static inline struct digest
fake_blobs_add(struct fake_blobs *blobs, struct str bytes)
{
	struct digest digest;

	digest_compute(DIGEST_SHA256, bytes.data, bytes.len, &digest);
	fake_blobs_add_as(blobs, &digest, bytes);
	return digest;
}

static inline void
fake_blobs_remove(struct fake_blobs *blobs, const struct digest *digest)
{
	struct fake_blob *blob = map_remove(&blobs->map, digest_key(digest));

	if (blob != NULL) {
		free(blob->data);
		free(blob);
	}
}

static inline int
fake_blobs_read(void *cookie, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	struct fake_blobs *blobs = cookie;
	struct fake_blob *blob = map_get(&blobs->map, digest_key(digest));

	blobs->reads++;
	if (blobs->broken)
		return error_set(err, ERROR_INTERNAL, "the disk is on fire");
	if (blob == NULL)
		return 0;
	blob->reads++;
	return buffer_append(content, blob->data, blob->len) < 0
		   ? error_set(err, ERROR_RESOURCE_EXHAUSTED, "too large")
		   : 1;
}

static inline struct closure_source
fake_blobs_source(struct fake_blobs *blobs)
{
	return (struct closure_source){fake_blobs_read, blobs, DIGEST_SHA256};
}

/* Finishes the builder, stores its directories, frees it. */
static inline struct digest
fake_blobs_add_tree(struct fake_blobs *blobs, struct merkle_builder *builder)
{
	const struct merkle_directory *directories;
	struct digest root;
	struct error err;
	size_t count;

	if (merkle_builder_finish(builder, &err) < 0)
		abort();
	directories = merkle_builder_directories(builder, &count);
	for (size_t i = 0; i < count; i++)
		fake_blobs_add_as(
		    blobs, &directories[i].digest, directories[i].bytes);
	root = *merkle_builder_root(builder);
	merkle_builder_free(builder);
	return root;
}

static inline struct merkle_file
fake_file(const char *content)
{
	struct merkle_file file = {.executable = false};

	digest_compute(DIGEST_SHA256, content, strlen(content), &file.digest);
	return file;
}

#endif
