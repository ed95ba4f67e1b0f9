/* SPDX-License-Identifier: Apache-2.0 */
/* Input roots into the local store, from a storage server on loopback. */
#include "worker/input_fetch.h"

#include "tests/unit/client/fake_cas.h"

#include <unistd.h>

#include "base/file.h"
#include "cas/digest_list.h"
#include "cas/store.h"

struct fixture {
	struct cas_client *client;
	struct store *store;
	struct input_fetch *fetch;
	struct digest_list missing;
	char path[64];
	struct error err;
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct store_options options = {
	    .max_size = 1 << 30, .segment_size = 64 << 20};

	snprintf(f->path, sizeof(f->path), "/tmp/toolroot-inputs-XXXXXX");
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
	f->fetch = input_fetch_new(f->store, f->client);
	digest_list_init(&f->missing, 100);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	input_fetch_free(f->fetch);
	cas_client_close(f->client);
	fake_cas_stop();
	store_close(f->store);
	file_remove_tree(f->path, &f->err);
	digest_list_clear(&f->missing);
	free(f);
	return 0;
}

static int
fetch_tree(struct fixture *f, const struct digest *root)
{
	return input_fetch_tree(f->fetch, root, NULL, &f->missing, &f->err);
}

static void
assert_ok(int rc, const struct fixture *f)
{
	if (rc < 0)
		fail_msg("%s", f->err.text);
}

static bool
is_missing(const struct fixture *f, const struct digest *digest)
{
	for (size_t i = 0; i < f->missing.count; i++) {
		if (digest_equal(&f->missing.items[i], digest))
			return true;
	}
	return false;
}

/* A tree of `width` files at each of `depth` levels, all on the server. */
static struct digest
add_tree(struct fixture *f, unsigned depth, unsigned width)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest root;
	char path[2 * CLOSURE_DEPTH_MAX + 32];

	for (unsigned level = 0; level < depth; level++) {
		for (unsigned i = 0; i < width; i++) {
			struct merkle_file file = {.executable = false};
			int len = 0;

			for (unsigned d = 0; d < level; d++)
				len += snprintf(path + len, 3, "d/");
			snprintf(path + len, 32, "file-%u-%u", level, i);
			file.digest = fake_add(str_from(path));
			assert_ok(merkle_builder_add_file(
				      builder, str_from(path), &file, &f->err),
			    f);
		}
	}
	fake_lock();
	root = fake_blobs_add_tree(&fake.blobs, builder);
	fake_unlock();
	return root;
}

static void
whole_tree_is_fetched_once(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_tree(f, 5, 20);
	unsigned batches;

	assert_ok(fetch_tree(f, &root), f);
	assert_int_equal(f->missing.count, 0);
	assert_int_equal(fake.digests_read, 5 + 5 * 20);
	/* A call for each level and one for the files. */
	assert_int_equal(fake.batch_reads, 6);
	batches = fake.batch_reads;
	assert_ok(fetch_tree(f, &root), f);
	assert_int_equal(fake.batch_reads, batches);
}

static void
only_what_is_new_is_fetched(void **state)
{
	struct fixture *f = *state;
	struct digest first = add_tree(f, 3, 10);
	struct digest second = add_tree(f, 3, 11);

	assert_ok(fetch_tree(f, &first), f);
	fake.digests_read = 0;
	assert_ok(fetch_tree(f, &second), f);
	assert_int_equal(fake.digests_read, 3 + 3);
}

static void
deepest_tree_is_fetched(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_tree(f, CLOSURE_DEPTH_MAX - 1, 1);

	assert_ok(fetch_tree(f, &root), f);
}

static void
everything_that_is_nowhere_is_named_at_once(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file here = {.executable = false};
	struct merkle_file gone[2];
	struct digest root;
	struct digest subtree;

	here.digest = fake_add(STR("here"));
	gone[0] = fake_file("gone");
	gone[1] = fake_file("lost");
	digest_compute(DIGEST_SHA256, "subtree", 7, &subtree);
	assert_ok(
	    merkle_builder_add_file(builder, STR("a/here"), &here, &f->err), f);
	assert_ok(
	    merkle_builder_add_file(builder, STR("a/gone"), &gone[0], &f->err),
	    f);
	assert_ok(
	    merkle_builder_add_file(builder, STR("lost"), &gone[1], &f->err),
	    f);
	assert_ok(
	    merkle_builder_add_subtree(builder, STR("a/s"), &subtree, &f->err),
	    f);
	fake_lock();
	root = fake_blobs_add_tree(&fake.blobs, builder);
	fake_unlock();
	assert_int_equal(fetch_tree(f, &root), -1);
	assert_int_equal(f->err.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(f->missing.count, 3);
	assert_true(is_missing(f, &gone[0].digest));
	assert_true(is_missing(f, &gone[1].digest));
	assert_true(is_missing(f, &subtree));
}

static void
without_a_client_missing_blobs_are_reported(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_tree(f, 2, 2);
	struct digest other = add_tree(f, 2, 3);
	struct input_fetch *local = input_fetch_new(f->store, NULL);

	assert_ok(fetch_tree(f, &root), f);
	assert_ok(
	    input_fetch_tree(local, &root, NULL, &f->missing, &f->err), f);
	assert_int_equal(
	    input_fetch_tree(local, &other, NULL, &f->missing, &f->err), -1);
	assert_int_equal(f->err.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(f->missing.count, 1);
	assert_true(is_missing(f, &other));
	input_fetch_free(local);
}

static void
malformed_tree_is_named_by_its_path(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest bad = fake_add(STR("\x1a\x07\x0a\x02..\x12\x01x"));
	struct digest root;

	assert_ok(
	    merkle_builder_add_subtree(builder, STR("a/bad"), &bad, &f->err),
	    f);
	fake_lock();
	root = fake_blobs_add_tree(&fake.blobs, builder);
	fake_unlock();
	assert_int_equal(fetch_tree(f, &root), -1);
	assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->err.text, "a/bad"));
	assert_int_equal(f->missing.count, 0);
}

static void
oversized_directory_is_refused_unfetched(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest huge = fake_add(STR("whatever"));
	struct digest root;

	huge.size = UINT64_C(1) << 40;
	assert_ok(
	    merkle_builder_add_subtree(builder, STR("huge"), &huge, &f->err),
	    f);
	fake_lock();
	root = fake_blobs_add_tree(&fake.blobs, builder);
	fake_unlock();
	assert_int_equal(fetch_tree(f, &root), -1);
	assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
	assert_int_equal(fake.reads, 0);
}

static void
network_trouble_is_no_missing_blob(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_tree(f, 2, 2);

	fake.refuse_calls = 100;
	assert_int_equal(fetch_tree(f, &root), -1);
	assert_int_equal(f->err.code, ERROR_UNAVAILABLE);
	assert_int_equal(f->missing.count, 0);
	fake.refuse_calls = 0;
	assert_ok(fetch_tree(f, &root), f);
}

static void
single_blobs_are_fetched_or_named(void **state)
{
	struct fixture *f = *state;
	struct digest_list blobs;
	struct digest here = fake_add(STR("an action"));
	struct digest gone = fake_file("a command").digest;

	digest_list_init(&blobs, 10);
	assert_int_equal(digest_list_add(&blobs, &here), 0);
	assert_int_equal(digest_list_add(&blobs, &here), 0);
	assert_ok(
	    input_fetch_blobs(f->fetch, &blobs, NULL, &f->missing, &f->err), f);
	assert_int_equal(fake.digests_read, 1);
	assert_int_equal(digest_list_add(&blobs, &gone), 0);
	assert_int_equal(
	    input_fetch_blobs(f->fetch, &blobs, NULL, &f->missing, &f->err),
	    -1);
	assert_int_equal(f->err.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(f->missing.count, 1);
	digest_list_clear(&blobs);
}

struct slot {
	struct fixture *f;
	struct digest root;
	pthread_t thread;
	int rc;
	struct error err;
	bool cancelled;
};

static void *
run_slot(void *argument)
{
	struct slot *slot = argument;
	atomic_bool cancelled = slot->cancelled;
	struct cas_transfer transfer = {.cancelled = &cancelled};
	struct digest_list missing;

	digest_list_init(&missing, 10);
	slot->rc = input_fetch_tree(
	    slot->f->fetch, &slot->root, &transfer, &missing, &slot->err);
	digest_list_clear(&missing);
	return NULL;
}

static void
slots_fetch_a_blob_once_between_them(void **state)
{
	enum { SLOTS = 8 };
	struct fixture *f = *state;
	struct digest root = add_tree(f, 4, 300);
	struct slot slots[SLOTS];

	for (int i = 0; i < SLOTS; i++) {
		/* Some give up at once, which stops nobody else. */
		slots[i] = (struct slot){
		    .f = f, .root = root, .cancelled = i % 4 == 0};
		assert_int_equal(
		    pthread_create(&slots[i].thread, NULL, run_slot, &slots[i]),
		    0);
	}
	for (int i = 0; i < SLOTS; i++) {
		pthread_join(slots[i].thread, NULL);
		if (i % 4 != 0 && slots[i].rc < 0)
			fail_msg("%s", slots[i].err.text);
	}
	assert_int_equal(fake.digests_read, 4 + 4 * 300);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(whole_tree_is_fetched_once),
	    CASE(only_what_is_new_is_fetched),
	    CASE(deepest_tree_is_fetched),
	    CASE(everything_that_is_nowhere_is_named_at_once),
	    CASE(without_a_client_missing_blobs_are_reported),
	    CASE(malformed_tree_is_named_by_its_path),
	    CASE(oversized_directory_is_refused_unfetched),
	    CASE(network_trouble_is_no_missing_blob),
	    CASE(single_blobs_are_fetched_or_named),
	    CASE(slots_fetch_a_blob_once_between_them),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
