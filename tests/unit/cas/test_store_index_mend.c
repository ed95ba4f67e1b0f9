/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk fails while a commit of the index is made final. LMDB refuses all
 * that comes then, look-ups too, so the store opens the index again; only when
 * the commit stands although it failed, a start has to find out.
 */
#include "fault_fixture.h"

#include <dlfcn.h>
#include <lmdb.h>

#include "cas/store_internal.h"

#define BLOBS 20
#define SIZE ((size_t)2000)
/* Of 20 ms: how long a store may take to be itself again. */
#define TRIES 500

/* What a child found, or what it is to do; shared with it. */
struct outcome {
	atomic_uint opened_again;
	atomic_uint unsure;
};

static struct fixture fixture = {.path = "/dev/shm/toolroot-mend-XXXXXX"};
static char prepared[80];
static struct outcome *outcome;
static atomic_uint environments_closed;

/* Before LMDB's own. */
void
mdb_env_close(MDB_env *env)
{
	void (*close_environment)(MDB_env *);

	*(void **)&close_environment = dlsym(RTLD_NEXT, "mdb_env_close");
	atomic_fetch_add(&environments_closed, 1);
	close_environment(env);
}

static int
put_result(struct store *store, uint64_t seed, struct error *err)
{
	struct action_key key = action_numbered(seed);

	return store_put_action(store, &key, STR(""), NULL, err);
}

static void
wait_a_little(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

/* What was there is read, and what comes is written: within so many tries. */
static bool
is_itself_again(struct store *store)
{
	struct digest digest = digest_of(0, SIZE);
	struct error err;
	struct blob *blob;

	for (int i = 0; i < TRIES; i++, wait_a_little()) {
		if (put_result(store, 501, &err) < 0)
			continue;
		if (store_open_blob(store, &digest, &blob, &err) != 1)
			continue;
		blob_free(blob);
		return has_action(store, 1) && has_action(store, 501) &&
		       store_probe(store, &err) == 0;
	}
	return false;
}

/* Says so, and is not ready. At first it says what the disk did. */
static bool
wants_a_start(struct store *store)
{
	struct error err;

	for (int i = 0; i < TRIES; i++, wait_a_little()) {
		if (store_probe(store, &err) == 0 ||
		    !store_failing(store, &err) ||
		    strstr(err.text, "restart the server") == NULL)
			continue;
		return put_result(store, 501, &err) < 0;
	}
	return false;
}

static void
work(struct fixture *unused)
{
	struct store *store;
	struct error err;
	int rc;

	(void)unused;
	store = store_open(&fixture.options, &err);
	if (store == NULL)
		_exit(1);
	atomic_store(&faults->armed, true);
	rc = put_result(store, 500, &err);
	atomic_store(&faults->armed, false);
	if (rc < 0 && faults->at == 0)
		_exit(2);
	if (faults->fault == FAULT_UNSURE && index_is_broken(store->index)) {
		atomic_fetch_add(&outcome->unsure, 1);
		if (!wants_a_start(store))
			_exit(3);
		_exit(0);
	}
	if (!is_itself_again(store))
		_exit(4);
	if (rc == 0 && !has_action(store, 500))
		_exit(5);
	if (atomic_load(&environments_closed) > 0)
		atomic_fetch_add(&outcome->opened_again, 1);
	store_close(store);
}

static void
look(void)
{
	fixture_open(&fixture);
	for (uint64_t i = 0; i < BLOBS; i++) {
		assert_content(fixture.store, i, SIZE);
		assert_true(has_action(fixture.store, i));
	}
	store_close(fixture.store);
	fixture.store = NULL;
}

static void
with_each_fault(enum fault fault)
{
	unsigned calls = 1;

	for (unsigned at = 0; at <= calls; at++) {
		unsigned made;

		copy_store(prepared, fixture.path);
		made = fault_run(&fixture, at, fault, work);
		if (at == 0)
			calls = made;
		look();
	}
	assert_true(calls > 1);
}

static void
an_index_that_lmdb_gave_up_is_opened_again(void **state)
{
	(void)state;
	atomic_store(&outcome->opened_again, 0);
	with_each_fault(FAULT_EIO);
	assert_true(atomic_load(&outcome->opened_again) > 0);
	atomic_store(&outcome->opened_again, 0);
	with_each_fault(FAULT_ENOSPC);
	assert_true(atomic_load(&outcome->opened_again) > 0);
}

static void
a_commit_that_stands_although_it_failed_wants_a_start(void **state)
{
	(void)state;
	with_each_fault(FAULT_UNSURE);
	assert_true(atomic_load(&outcome->unsure) > 0);
}

static int
prepare(void **state)
{
	struct error err;

	(void)state;
	if (mkdtemp(fixture.path) == NULL) {
		strcpy(fixture.path, "/tmp/toolroot-mend-XXXXXX");
		assert_non_null(mkdtemp(fixture.path));
	}
	snprintf(prepared, sizeof(prepared), "%.50s.prepared", fixture.path);
	fixture.options = (struct store_options){
	    .path = fixture.path, .max_size = (uint64_t)64 << 20};
	faults = fault_share(sizeof(*faults));
	outcome = fault_share(sizeof(*outcome));
	fixture_open(&fixture);
	for (uint64_t i = 0; i < BLOBS; i++) {
		put_numbered(fixture.store, i, SIZE);
		assert_int_equal(put_result(fixture.store, i, &err), 0);
	}
	store_close(fixture.store);
	fixture.store = NULL;
	copy_store(fixture.path, prepared);
	return 0;
}

static int
clean_up(void **state)
{
	struct error err;

	(void)state;
	if (file_remove_tree(fixture.path, &err) < 0 ||
	    file_remove_tree(prepared, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_index_that_lmdb_gave_up_is_opened_again),
	    cmocka_unit_test(
		a_commit_that_stands_although_it_failed_wants_a_start),
	};

	return cmocka_run_group_tests(tests, prepare, clean_up);
}
