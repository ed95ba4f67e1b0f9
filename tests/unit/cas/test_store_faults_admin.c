/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults at each system call of a repair, of removing results, of a first write
 * by an instance and of an import:
 * afterwards the store opens, or says that it wants a repair, which then ends
 * well; nothing sound is lost; and doing it again does it.
 */
#include "fault_fixture.h"
#include "owner_fixture.h"

#include "cas/archive.h"
#include "cas/provenance.h"
#include "cas/remove_results.h"
#include "cas/repair.h"

#define SMALL_BLOBS 60
#define LARGE_BLOBS 4
#define SMALL ((size_t)3000)
#define LARGE ((size_t)40000)
#define ABOUT 16 /* faults of each kind, unless FAULT_STRIDE says more */

static struct fixture fixture = {.path = "/dev/shm/toolroot-faults-XXXXXX"};
static char prepared[80];
static char archive[96];

/* Of two workers, by turns. */
static int
put_result(struct store *store, uint64_t seed)
{
	struct provenance provenance = {
	    .worker = seed % 2 == 0 ? STR("good") : STR("bad")};
	struct action_key key = action_numbered(seed);
	struct error err;

	return store_put_action(store, &key, STR(""), &provenance, &err);
}

static void
export_all(void)
{
	struct archive_roots roots = {.results = true};
	struct archive_report report;
	struct error err;
	int fd = open(archive, O_RDWR | O_CREAT | O_TRUNC, 0600);

	digest_list_init(&roots.blobs, 1000);
	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		struct digest digest = digest_of(i, SMALL);

		assert_int_equal(digest_list_add(&roots.blobs, &digest), 0);
	}
	if (archive_export(fixture.store, &roots, fd, &report, &err) < 0)
		fail_msg("export: %s", err.text);
	digest_list_clear(&roots.blobs);
	close(fd);
}

static int
prepare(void **state)
{
	struct error err;

	(void)state;
	if (mkdtemp(fixture.path) == NULL) {
		strcpy(fixture.path, "/tmp/toolroot-faults-XXXXXX");
		assert_non_null(mkdtemp(fixture.path));
	}
	snprintf(prepared, sizeof(prepared), "%.50s.prepared", fixture.path);
	snprintf(archive, sizeof(archive), "%.50s.trar", fixture.path);
	fixture.options = (struct store_options){.path = fixture.path,
	    .max_size = (uint64_t)64 << 20,
	    .segment_size = 64 << 10,
	    .small_limit = 16 << 10};
	faults = fault_share(sizeof(*faults));
	fixture_open(&fixture);
	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		put_numbered(fixture.store, i, SMALL);
		assert_int_equal(put_result(fixture.store, i), 0);
	}
	for (uint64_t i = 0; i < LARGE_BLOBS; i++)
		put_numbered(fixture.store, 1000 + i, LARGE);
	assert_int_equal(index_job_settle(fixture.store, &err), 0);
	export_all();
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
	(void)unlink(archive);
	if (file_remove_tree(fixture.path, &err) < 0 ||
	    file_remove_tree(prepared, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	return 0;
}

static void
look_at_blobs(void)
{
	for (uint64_t i = 0; i < SMALL_BLOBS; i++)
		assert_content(fixture.store, i, SMALL);
	for (uint64_t i = 0; i < LARGE_BLOBS; i++)
		assert_content(fixture.store, 1000 + i, LARGE);
}

static void
close_store(void)
{
	store_close(fixture.store);
	fixture.store = NULL;
}

/* With a fault of each kind at each call, or at so many of them. */
static void
with_faults(
    void (*work)(struct fixture *), void (*look)(void), void (*change)(void))
{
	unsigned calls = 1, stride = 1;

	for (unsigned at = 0; at <= calls; at += at == 0 ? 1 : stride) {
		for (int kind = FAULT_CRASH; kind <= FAULT_ENOSPC; kind++) {
			unsigned made;

			copy_store(prepared, fixture.path);
			if (change != NULL)
				change();
			made = fault_run(&fixture, at, (enum fault)kind, work);
			look();
			if (at > 0)
				continue;
			calls = made;
			stride = fault_stride(calls, ABOUT);
			break;
		}
	}
	printf("# %u calls, every %u\n", calls, stride);
	assert_true(calls > 10);
}

/* --- repair --------------------------------------------------------------- */

static void
quiet(void *cookie, const char *what, const char *why)
{
	(void)cookie;
	(void)what;
	(void)why;
}

static int
repair(struct repair_report *report, struct error *err)
{
	const struct repair_options options = {
	    .path = fixture.path, .tell = quiet};

	return store_repair(&options, report, err);
}

static void
work_repair(struct fixture *unused)
{
	struct repair_report report;
	struct error err;

	(void)unused;
	atomic_store(&faults->armed, true);
	(void)repair(&report, &err);
}

static void
lose_index(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%.50s/index/data.mdb", fixture.path);
	assert_int_equal(unlink(path), 0);
}

static void
look_after_repair(void)
{
	struct repair_report report;
	struct error err;

	fixture_open(&fixture);
	look_at_blobs();
	close_store();
	if (repair(&report, &err) < 0)
		fail_msg("repair again: %s", err.text);
	assert_int_equal(report.blobs, SMALL_BLOBS + LARGE_BLOBS);
	assert_int_equal(report.bad_blobs, 0);
	fixture_open(&fixture);
	look_at_blobs();
	close_store();
}

static void
look_without_index(void)
{
	struct repair_report report;
	struct error err;

	fixture.store = store_open(&fixture.options, &err);
	if (fixture.store == NULL)
		assert_non_null(strstr(err.text, "toolroot store repair"));
	else
		look_at_blobs();
	close_store();
	if (repair(&report, &err) < 0)
		fail_msg("repair again: %s", err.text);
	look_after_repair();
}

static void
no_fault_in_a_repair_loses_a_blob(void **state)
{
	(void)state;
	with_faults(work_repair, look_after_repair, NULL);
}

static void
no_fault_while_a_lost_index_is_made_anew_loses_a_blob(void **state)
{
	(void)state;
	with_faults(work_repair, look_without_index, lose_index);
}

/* --- removing results ------------------------------------------------------
 */

static int
remove_bad(struct store *store, struct result_removal_report *report,
    struct error *err)
{
	const struct result_removal removal = {
	    .filter = {.worker = "bad"}, .run = true};

	return results_remove(store, &removal, report, err);
}

static void
work_remove(struct fixture *unused)
{
	struct result_removal_report report;
	struct store *store;
	struct error err;

	(void)unused;
	store = store_open(&fixture.options, &err);
	if (store == NULL)
		_exit(1);
	atomic_store(&faults->armed, true);
	(void)remove_bad(store, &report, &err);
	(void)put_result(store, 500);
	store_close(store);
}

static void
look_after_remove(void)
{
	struct result_removal_report report;
	struct error err;

	fixture_open(&fixture);
	look_at_blobs();
	assert_int_equal(remove_bad(fixture.store, &report, &err), 0);
	for (uint64_t i = 0; i < SMALL_BLOBS; i++)
		assert_int_equal(has_action(fixture.store, i), i % 2 == 0);
	close_store();
}

static void
no_fault_while_results_are_removed_harms_others(void **state)
{
	(void)state;
	with_faults(work_remove, look_after_remove, NULL);
}

/* --- instances ------------------------------------------------------------ */

static void
put_some_by(struct store *store, uint16_t owner)
{
	struct error err;

	for (uint64_t i = 3000; i < 3006; i++) {
		size_t len = i % 2 == 0 ? SMALL : LARGE;
		struct digest digest = digest_of(i, len);
		char *data = make_content(i, len);

		(void)put_content_by(store, owner, &digest, data, len, &err);
		free(data);
	}
}

/* Of 20 ms: how long an index whose meta page was hit may take to be open
 * again. */
#define TRIES 500

/* It succeeds, then at the latest. */
static void
put_one_by_nobody(struct store *store)
{
	struct error err = try_put_by(store, 0, 3100, SMALL);

	for (int i = 0; i < TRIES && err.code == ERROR_UNAVAILABLE; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
		err = try_put_by(store, 0, 3100, SMALL);
	}
	if (err.code != ERROR_OK)
		_exit(3);
}

static void
work_owners(struct fixture *unused)
{
	const struct owner_limits limits = {STR("other"), 1 << 20, 0};
	struct store *store;
	struct error err;
	uint16_t owner;
	int rc;

	(void)unused;
	store = store_open(&fixture.options, &err);
	if (store == NULL)
		_exit(1);
	atomic_store(&faults->armed, true);
	rc = store_owner(store, STR("fresh"), &owner, &err);
	/* When the index has no room, what is written counts for nobody. */
	if (rc < 0 && faults->fault == FAULT_ENOSPC)
		_exit(2);
	if (rc == 0 && owner == 0)
		put_one_by_nobody(store);
	if (rc == 0 && owner != 0)
		put_some_by(store, owner);
	(void)store_set_owner_limits(store, &limits, 1, &err);
	store_close(store);
}

/* No number stands anywhere without its name, and what each has adds up. */
static void
look_after_owners(void)
{
	struct owner_list list;
	struct error err;

	fixture_open(&fixture);
	look_at_blobs();
	if (!owners_add_up(fixture.store, &err))
		fail_msg("%s", err.text);
	assert_int_equal(store_owners(fixture.store, &list, &err), 0);
	for (size_t i = 0; i < list.count; i++)
		assert_true(list.items[i].named);
	owner_list_clear(&list);
	put_some_by(fixture.store, owner_named(fixture.store, "fresh"));
	assert_true(owners_add_up(fixture.store, &err));
	assert_int_equal(use_of(fixture.store, "fresh").blobs, 6);
	close_store();
}

static void
no_fault_at_the_first_write_of_an_instance_parts_number_and_name(void **state)
{
	(void)state;
	with_faults(work_owners, look_after_owners, NULL);
}

/* --- import ----------------------------------------------------------------
 */

static int
import(struct store *store, struct error *err)
{
	struct archive_import_options options = {.fd = open(archive, O_RDONLY)};
	struct archive_report report;
	int rc = archive_import(store, &options, &report, err);

	close(options.fd);
	return rc;
}

/* Into an empty store. */
static void
empty_store(void)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf %s && mkdir %s",
	    fixture.path, fixture.path);
	assert_int_equal(system(command), 0);
	fixture_open(&fixture);
	put_numbered(fixture.store, 7000, SMALL);
	put_numbered(fixture.store, 7001, LARGE);
	close_store();
}

static void
work_import(struct fixture *unused)
{
	struct store *store;
	struct error err;

	(void)unused;
	store = store_open(&fixture.options, &err);
	if (store == NULL)
		_exit(1);
	atomic_store(&faults->armed, true);
	(void)import(store, &err);
	store_close(store);
}

static void
look_after_import(void)
{
	struct error err;

	fixture_open(&fixture);
	assert_content(fixture.store, 7000, SMALL);
	assert_content(fixture.store, 7001, LARGE);
	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		struct digest digest = digest_of(i, SMALL);

		if (!is_missing(fixture.store, &digest))
			assert_content(fixture.store, i, SMALL);
	}
	if (import(fixture.store, &err) < 0)
		fail_msg("import again: %s", err.text);
	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		assert_content(fixture.store, i, SMALL);
		assert_true(has_action(fixture.store, i));
	}
	close_store();
}

static void
no_fault_in_an_import_leaves_what_is_not_sound(void **state)
{
	(void)state;
	with_faults(work_import, look_after_import, empty_store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_fault_in_a_repair_loses_a_blob),
	    cmocka_unit_test(
		no_fault_while_a_lost_index_is_made_anew_loses_a_blob),
	    cmocka_unit_test(no_fault_while_results_are_removed_harms_others),
	    cmocka_unit_test(
		no_fault_at_the_first_write_of_an_instance_parts_number_and_name),
	    cmocka_unit_test(no_fault_in_an_import_leaves_what_is_not_sound),
	};

	return cmocka_run_group_tests(tests, prepare, clean_up);
}
