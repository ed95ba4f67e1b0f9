/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults at each system call of commits and collections: the process ends
 * there, or the call fails with EIO or ENOSPC. Afterwards the store opens, all
 * that was acknowledged is there with its content, nothing torn is served, and
 * a collection runs to its end.
 *
 * A child works; the parent looks. FAULT_STRIDE=1 takes every call.
 */
#include "fault_fixture.h"

#include "cas/pins.h"

#define MIN_AGE (3 * HOUR_MS)
#define OLD_SMALL 120
#define OLD_LARGE 8
#define NEW_SMALL 12
#define NEW_LARGE 3
#define SMALL ((size_t)3000)
#define LARGE ((size_t)40000)
#define EVERY 6 /* old ones that were found lately */

/* Shared with the child. */
struct shared {
	bool small[NEW_SMALL]; /* acknowledged */
	bool large[NEW_LARGE];
	bool pinned;
	bool acted;
};

static struct shared *shared;

/* --- the work ------------------------------------------------------------- */

static bool
put_quietly(struct store *store, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct digest digest;
	struct error err;
	bool stored;

	digest_compute(DIGEST_SHA256, data, len, &digest);
	stored = put_content(store, &digest, data, len, &err) == ERROR_OK;
	free(data);
	return stored;
}

static void
collect_quietly(struct store *store)
{
	const struct collector_options options = {
	    .store = store, .min_age_ms = MIN_AGE};
	const struct collection_wish wish = {.run = true, .sized = true};
	struct collection_report report;
	struct error err;
	struct collector *collector = collector_new(&options, &err);

	if (collector != NULL)
		(void)collector_collect(collector, &wish, &report, &err);
	collector_free(collector);
}

static void
work(struct store *store)
{
	struct digest blob = digest_of(2000, SMALL);
	struct pin pin = {
	    .name = STR("a pin"), .kind = PIN_BLOB, .digest = blob};
	struct error err;

	for (uint64_t i = 0; i < NEW_SMALL / 2; i++)
		shared->small[i] = put_quietly(store, 2000 + i, SMALL);
	shared->large[0] = put_quietly(store, 3000, LARGE);
	shared->pinned = shared->small[0] && pin_set(store, &pin, &err) == 0;
	collect_quietly(store);
	for (uint64_t i = NEW_SMALL / 2; i < NEW_SMALL; i++)
		shared->small[i] = put_quietly(store, 2000 + i, SMALL);
	for (uint64_t i = 1; i < NEW_LARGE; i++)
		shared->large[i] = put_quietly(store, 3000 + i, LARGE);
	shared->acted = shared->small[0] &&
			put_action_naming(store, 5000, &blob, 1, &err) == 0;
	collect_quietly(store);
}

static void
child(struct fixture *fixture)
{
	struct store *store;
	struct error err;

	store = store_open(&fixture->options, &err);
	if (store == NULL)
		_exit(1);
	atomic_store(&faults->armed, true);
	work(store);
	store_close(store);
}

/* --- looking -------------------------------------------------------------- */

static void
look(struct fixture *fixture)
{
	struct collection_report report;

	fixture_open(fixture);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < OLD_SMALL; i += EVERY)
			assert_content(fixture->store, i, SMALL);
		for (uint64_t i = 0; i < OLD_LARGE; i += EVERY)
			assert_content(fixture->store, 1000 + i, LARGE);
		for (uint64_t i = 0; i < NEW_SMALL; i++) {
			if (shared->small[i])
				assert_content(fixture->store, 2000 + i, SMALL);
		}
		for (uint64_t i = 0; i < NEW_LARGE; i++) {
			if (shared->large[i])
				assert_content(fixture->store, 3000 + i, LARGE);
		}
		if (shared->acted)
			assert_true(has_action(fixture->store, 5000));
		/* What else is there is whole: reading drops what is not, and
		 * says so. */
		for (uint64_t i = 0; i < OLD_SMALL; i++) {
			struct digest digest = digest_of(i, SMALL);

			if (round == 1 && !is_missing(fixture->store, &digest))
				assert_content(fixture->store, i, SMALL);
		}
		if (round == 0)
			report = collect_to(fixture, MIN_AGE, 0);
	}
	assert_true(report.young_blobs > 0);
	if (shared->pinned)
		assert_int_equal(report.roots, 1);
	store_close(fixture->store);
	fixture->store = NULL;
}

/* One child; returns how many calls it made. */
static unsigned
fault_at(struct fixture *fixture, const char *prepared, unsigned at,
    enum fault fault)
{
	unsigned calls;

	copy_store(prepared, fixture->path);
	memset(shared, 0, sizeof(*shared));
	calls = fault_run(fixture, at, fault, child);
	look(fixture);
	return calls;
}

static void
prepare(struct fixture *fixture, const char *prepared)
{
	fixture_open(fixture);
	for (uint64_t i = 0; i < OLD_SMALL; i++)
		put_numbered(fixture->store, i, SMALL);
	for (uint64_t i = 0; i < OLD_LARGE; i++)
		put_numbered(fixture->store, 1000 + i, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	for (uint64_t i = 0; i < OLD_SMALL; i += EVERY)
		assert_content(fixture->store, i, SMALL);
	for (uint64_t i = 0; i < OLD_LARGE; i += EVERY)
		assert_content(fixture->store, 1000 + i, LARGE);
	/* Closing writes the touches. */
	store_close(fixture->store);
	fixture->store = NULL;
	copy_store(fixture->path, prepared);
}

static void
no_fault_loses_what_was_acknowledged(void **state)
{
	struct fixture fixture = {.path = "/dev/shm/toolroot-faults-XXXXXX"};
	unsigned calls, stride;
	char prepared[80];
	struct error err;

	(void)state;
	if (mkdtemp(fixture.path) == NULL) {
		strcpy(fixture.path, "/tmp/toolroot-faults-XXXXXX");
		assert_non_null(mkdtemp(fixture.path));
	}
	snprintf(prepared, sizeof(prepared), "%s.prepared", fixture.path);
	fixture.options = (struct store_options){.path = fixture.path,
	    .max_size = (uint64_t)64 << 20,
	    .segment_size = 64 << 10,
	    .small_limit = 16 << 10};
	shared = fault_share(sizeof(*shared));
	faults = fault_share(sizeof(*faults));
	prepare(&fixture, prepared);
	calls = fault_at(&fixture, prepared, 0, FAULT_NONE);
	assert_true(shared->acted && shared->pinned && shared->large[2]);
	stride = fault_stride(calls, 60);
	printf("# %u calls, every %u\n", calls, stride);
	assert_true(calls > 50);
	for (unsigned at = 1; at <= calls; at += stride) {
		fault_at(&fixture, prepared, at, FAULT_CRASH);
		fault_at(&fixture, prepared, at, FAULT_EIO);
		fault_at(&fixture, prepared, at, FAULT_ENOSPC);
	}
	munmap(shared, sizeof(*shared));
	if (file_remove_tree(fixture.path, &err) < 0 ||
	    file_remove_tree(prepared, &err) < 0)
		fail_msg("%s", err.text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_fault_loses_what_was_acknowledged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
