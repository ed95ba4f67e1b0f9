/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the store share: a store in a fresh directory, blobs made
 * from numbers, and puts and reads that fail the test when they fail. One
 * thread, except where a test says otherwise.
 */
#ifndef TOOLROOT_TESTS_UNIT_CAS_STORE_FIXTURE_H
#define TOOLROOT_TESTS_UNIT_CAS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"

struct fixture {
	char path[64]; /* of the store; its parent is made for the test */
	struct store_options options;
	struct store *store;
};

static inline void
fixture_open(struct fixture *fixture)
{
	struct error err;

	fixture->store = store_open(&fixture->options, &err);
	if (fixture->store == NULL)
		fail_msg("store_open: %s", err.text);
}

static inline void
fixture_reopen(struct fixture *fixture)
{
	store_close(fixture->store);
	fixture_open(fixture);
}

static inline int
fixture_setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));

	strcpy(fixture->path, "/tmp/toolroot-store-XXXXXX");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	fixture->options = (struct store_options){.path = fixture->path,
	    .max_size = (uint64_t)1 << 30,
	    .segment_size = 1 << 20,
	    .small_limit = 64 << 10};
	fixture_open(fixture);
	*state = fixture;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	store_close(fixture->store);
	if (file_remove_tree(fixture->path, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	free(fixture);
	return 0;
}

/* len bytes that depend on seed; half of them compressible. */
static inline char *
make_content(uint64_t seed, size_t len)
{
	char *data = xmalloc(len + 1);
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		data[i] = (char)(i % 64 < 32 ? 'a' : state >> 33);
	}
	data[len] = '\0';
	return data;
}

static inline struct digest
digest_of(uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct digest digest;

	digest_compute(DIGEST_SHA256, data, len, &digest);
	free(data);
	return digest;
}

/* The code of the put's error, ERROR_OK when stored. */
static inline enum error_code
put_content(struct store *store, const struct digest *digest, const void *data,
    size_t len, struct error *err)
{
	struct str content = {data, len};

	memset(err, 0, sizeof(*err));
	if (store_put_bytes(store, digest, content, err) == 0)
		return ERROR_OK;
	return err->code;
}

static inline struct digest
put_numbered(struct store *store, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct digest digest;
	struct error err;

	digest_compute(DIGEST_SHA256, data, len, &digest);
	if (put_content(store, &digest, data, len, &err) != ERROR_OK)
		fail_msg("put: %s", err.text);
	free(data);
	return digest;
}

static inline bool
is_missing(struct store *store, const struct digest *digest)
{
	struct error err;
	bool missing;

	if (store_find_missing(store, digest, 1, &missing, &err) < 0)
		fail_msg("find: %s", err.text);
	return missing;
}

static inline void
assert_content(struct store *store, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct digest digest;
	struct buffer content;
	struct error err = {0};
	int rc;

	digest_compute(DIGEST_SHA256, data, len, &digest);
	buffer_init(&content, len);
	rc = store_read(store, &digest, &content, &err);
	if (rc != 1)
		fail_msg("read of blob %llu: %d %s", (unsigned long long)seed,
		    rc, err.text);
	assert_int_equal(content.len, len);
	if (len > 0)
		assert_memory_equal(content.data, data, len);
	buffer_clear(&content);
	free(data);
}

/* zstd frames of data; *len in and out. */
static inline char *
compress_content(const char *data, size_t *len)
{
	size_t bound = ZSTD_compressBound(*len);
	char *out = xmalloc(bound);

	*len = ZSTD_compress(out, bound, data, *len, 3);
	assert_false(ZSTD_isError(*len));
	return out;
}

static inline void
put_zstd_done(struct store_batch *batch)
{
	(void)batch;
}

/* Kept as the zstd frame that it arrives as. */
static inline struct digest
put_zstd_blob(struct fixture *fixture, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	size_t compressed = len;
	char *zstd = compress_content(data, &compressed);
	struct iovec part = {zstd, compressed};
	struct store_put put = {.digest = digest_of(seed, len),
	    .encoding = ENCODING_ZSTD,
	    .parts = &part,
	    .part_count = 1};
	struct store_batch batch = {
	    .puts = &put, .count = 1, .done = put_zstd_done};

	store_put_batch(fixture->store, &batch);
	/* All that was handed in before is durable then. */
	fixture_reopen(fixture);
	if (put.error != NULL)
		fail_msg("%s", put.error->text);
	free(zstd);
	free(data);
	return put.digest;
}

#endif
