/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the storage client share: the server with faults, a client
 * and a store. One fixture at a time. */
#ifndef TOOLROOT_TESTS_CLIENT_FIXTURE_H
#define TOOLROOT_TESTS_CLIENT_FIXTURE_H

#include "tests/unit/client/fake_cas.h"

#include <unistd.h>

#include "base/file.h"
#include "cas/digest_list.h"
#include "cas/store.h"

#define LARGE ((size_t)3 << 20)

struct fixture {
	struct cas_client *client;
	struct store *store;
	char path[64];
	struct digest_list digests;
	struct digest_list absent;
	struct error err;
	atomic_uint arrived;
};

static inline int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct store_options options = {
	    .max_size = 1 << 30, .segment_size = 64 << 20};

	snprintf(f->path, sizeof(f->path), "/tmp/toolroot-client-XXXXXX");
	if (mkdtemp(f->path) == NULL)
		return -1;
	options.path = f->path;
	f->store = store_open(&options, &f->err);
	if (f->store == NULL) {
		print_error("%s\n", f->err.text);
		return -1;
	}
	fake_cas_start();
	f->client = fake_cas_client(false);
	digest_list_init(&f->digests, 1 << 20);
	digest_list_init(&f->absent, 1 << 20);
	*state = f;
	return 0;
}

static inline int
teardown(void **state)
{
	struct fixture *f = *state;

	cas_client_close(f->client);
	fake_cas_stop();
	store_close(f->store);
	file_remove_tree(f->path, &f->err);
	digest_list_clear(&f->digests);
	digest_list_clear(&f->absent);
	free(f);
	return 0;
}

static inline void
assert_ok(int rc, const struct fixture *f)
{
	if (rc < 0)
		fail_msg("%s", f->err.text);
}

static inline void
assert_failed(int rc, const struct fixture *f, enum error_code code,
    const struct digest *digest)
{
	char text[DIGEST_TEXT_MAX];

	assert_int_equal(rc, -1);
	if (f->err.code != code)
		fail_msg("%s: %s", error_code_name(f->err.code), f->err.text);
	if (strstr(f->err.text, digest_format(digest, text)) == NULL)
		fail_msg("\"%s\" does not name the digest", f->err.text);
}

/* So many bytes that depend on seed; the caller frees them. */
static inline struct str
make_bytes(size_t len, unsigned seed)
{
	char *bytes = xmalloc(len + 1);
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		state = state * UINT64_C(6364136223846793005) + 1;
		/* Half of it compresses. */
		bytes[i] = (char)(i % 128 < 64 ? state >> 56 : 'x');
	}
	return (struct str){bytes, len};
}

static inline struct digest
add_remote(size_t len, unsigned seed)
{
	struct str bytes = make_bytes(len, seed);
	struct digest digest = fake_add(bytes);

	free((char *)bytes.data);
	return digest;
}

static inline void
want(struct fixture *f, const struct digest *digest)
{
	assert_int_equal(digest_list_add(&f->digests, digest), 0);
}

static inline void
count_arrived(void *cookie, const struct digest *digest)
{
	(void)digest;
	atomic_fetch_add(&((struct fixture *)cookie)->arrived, 1);
}

static inline int
download(struct fixture *f)
{
	struct cas_download request = {
	    f->store, &f->digests, &f->absent, count_arrived, f};

	atomic_store(&f->arrived, 0);
	return cas_client_download(f->client, NULL, &request, &f->err);
}

static inline void
assert_stored(struct fixture *f, const struct digest *digest)
{
	struct buffer content;
	struct digest actual;

	buffer_init(&content, 64 << 20);
	assert_int_equal(store_read(f->store, digest, &content, &f->err), 1);
	digest_compute(digest->function, content.data, content.len, &actual);
	assert_true(digest_equal(&actual, digest));
	buffer_clear(&content);
}

static inline bool
is_stored(struct fixture *f, const struct digest *digest)
{
	bool missing;

	assert_ok(
	    store_find_missing(f->store, digest, 1, &missing, &f->err), f);
	return !missing;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
