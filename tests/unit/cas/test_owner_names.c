/* SPDX-License-Identifier: Apache-2.0 */
/* Which names of instances get a number: not too long, and not without end. */
#include "owner_fixture.h"

#define SMALL ((size_t)10 << 10)
#define MIB ((uint64_t)1 << 20)

static void
names_without_end_count_for_nobody(void **state)
{
	struct fixture *fixture = *state;
	char name[600];
	uint16_t owner;
	struct error err;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(
	    store_owner(fixture->store, str_from(name), &owner, &err), 0);
	assert_int_equal(owner, 0);
	put_numbered_by(fixture->store, owner, 1, SMALL);
	assert_content(fixture->store, 1, SMALL);
}

static void
names_without_end_have_no_limits(void **state)
{
	struct fixture *fixture = *state;
	struct owner_limits limits = {.quota = MIB};
	char name[901];
	struct error err;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	limits.instance = str_from(name);
	assert_int_equal(
	    store_set_owner_limits(fixture->store, &limits, 1, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(err.text, "has 900 bytes"));
	name[OWNER_NAME_MAX] = '\0';
	set_limits(fixture->store, name, MIB, 0);
	assert_int_equal(use_of(fixture->store, name).quota, MIB);
}

/* So many names have these limits, and no others any. */
static void
limit_numbered(struct store *store, size_t count, uint64_t quota)
{
	struct owner_limits *limits = xcalloc(count, sizeof(*limits));
	char(*names)[16] = xcalloc(count, sizeof(*names));
	struct error err;

	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "n%zu", i);
		limits[i] = (struct owner_limits){str_from(names[i]), quota, 0};
	}
	if (store_set_owner_limits(store, limits, count, &err) < 0)
		fail_msg("limits: %s", err.text);
	free(limits);
	free(names);
}

static void
a_full_table_forgets_who_has_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct error err;
	uint16_t kept, fresh = 0;

	limit_numbered(fixture->store, OWNERS_MET_MAX, MIB);
	/* Nobody is to be forgotten. */
	assert_int_equal(owner_named(fixture->store, "late"), 0);
	set_limits(fixture->store, "n0", 0, 0);
	kept = owner_named(fixture->store, "n1");
	put_numbered_by(fixture->store, kept, 1, SMALL);
	for (uint64_t i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "fresh%d", (int)i);
		fresh = owner_named(fixture->store, name);
		assert_in_range(fresh, 1, OWNERS_MET_MAX);
		assert_int_not_equal(fresh, kept);
		put_numbered_by(fixture->store, fresh, 10 + i, SMALL);
	}
	assert_true(owners_add_up(fixture->store, &err));
	assert_int_equal(owner_named(fixture->store, "n1"), kept);
	fixture_reopen(fixture);
	assert_int_equal(owner_named(fixture->store, "n1"), kept);
	assert_int_equal(owner_named(fixture->store, "fresh4"), fresh);
	assert_int_equal(use_of(fixture->store, "fresh4").blobs, 1);
	assert_int_equal(use_of(fixture->store, "n1").blobs, 1);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(names_without_end_count_for_nobody),
	    with_store(names_without_end_have_no_limits),
	    with_store(a_full_table_forgets_who_has_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
