/* SPDX-License-Identifier: Apache-2.0 */
/* Ages: what is found or read becomes young again, durably. The index is made
 * old by hand while the store is closed. One thread. */
#include "store_fixture.h"

#include "base/arena.h"
#include "cas/store_internal.h"

static struct store_index *
open_index(const struct fixture *fixture)
{
	struct store_index *index;
	struct error err;
	char path[128];

	snprintf(path, sizeof(path), "%s/index", fixture->path);
	index = index_open(path, false, &err);
	assert_non_null(index);
	return index;
}

/* Closes the store, and gives the blob an epoch long past. */
static void
make_old(struct fixture *fixture, const struct digest *digest)
{
	struct index_write write = {.txn = NULL};
	struct store_index *index;
	struct place place, present;
	struct error err;

	store_close(fixture->store);
	fixture->store = NULL;
	index = open_index(fixture);
	assert_int_equal(index_write_begin(index, &write, &err), 0);
	assert_int_equal(index_remove(&write, digest, &place, &err), 1);
	place.epoch = 10;
	assert_int_equal(index_add(&write, digest, &place, &present, &err), 1);
	assert_int_equal(index_write_commit(&write, &err), 0);
	index_write_release(&write);
	index_close(index);
}

static uint32_t
epoch_of(struct fixture *fixture, const struct digest *digest)
{
	struct store_index *index;
	struct place place;
	struct error err;
	MDB_txn *txn;

	store_close(fixture->store);
	fixture->store = NULL;
	index = open_index(fixture);
	assert_int_equal(index_read_begin(index, &txn, &err), 0);
	assert_int_equal(index_find(index, txn, digest, &place, &err), 1);
	index_read_end(index, txn);
	index_close(index);
	return place.epoch;
}

static void
opening_alone_keeps_the_age(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100);

	make_old(fixture, &digest);
	fixture_open(fixture);
	assert_int_equal(epoch_of(fixture, &digest), 10);
}

static void
finding_makes_young(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100);
	struct digest other = put_numbered(fixture->store, 2, 100);

	make_old(fixture, &digest);
	make_old(fixture, &other);
	fixture_open(fixture);
	assert_false(is_missing(fixture->store, &digest));
	assert_false(is_missing(fixture->store, &digest));
	assert_true(epoch_of(fixture, &digest) + 10 >= store_epoch());
	assert_int_equal(epoch_of(fixture, &other), 10);
}

static void
reading_makes_young(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100000);

	make_old(fixture, &digest);
	fixture_open(fixture);
	assert_content(fixture->store, 1, 100000);
	assert_true(epoch_of(fixture, &digest) + 10 >= store_epoch());
}

static void
putting_again_makes_young(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100);

	make_old(fixture, &digest);
	fixture_open(fixture);
	put_numbered(fixture->store, 1, 100);
	assert_true(epoch_of(fixture, &digest) + 10 >= store_epoch());
}

static void
a_hit_makes_the_blobs_of_the_result_young(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100);
	struct action_key key = {STR("i"), digest};
	/* ActionResult: stdout_digest (6) = { hash (1), size_bytes (2) }. */
	char message[2 + 2 + 64 + 2 + 1], hash[DIGEST_TEXT_MAX];
	struct arena arena;
	struct error err;
	struct str got;

	memcpy(message, "\x32\x44\x0a\x40", 4);
	memcpy(message + 4, digest_format_hash(&digest, hash), 64);
	memcpy(message + 68, "\x10\x64", 2);
	arena_init(&arena, 1 << 16);
	assert_int_equal(store_put_action(fixture->store, &key,
			     (struct str){message, 70}, NULL, &err),
	    0);
	make_old(fixture, &digest);
	fixture_open(fixture);
	assert_int_equal(
	    store_get_action(fixture->store, &key, &arena, &got, &err), 1);
	assert_true(epoch_of(fixture, &digest) + 10 >= store_epoch());
	arena_clear(&arena);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(opening_alone_keeps_the_age),
	    TEST(finding_makes_young),
	    TEST(reading_makes_young),
	    TEST(putting_again_makes_young),
	    TEST(a_hit_makes_the_blobs_of_the_result_young),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
