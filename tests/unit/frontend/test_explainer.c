/* SPDX-License-Identifier: Apache-2.0 */
/* The explainer over a store of its own: what it looks at before it ends, and
 * what the next one knows of it. */
#include "frontend/explainer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/settings.h"
#include "base/thread.h"
#include "executor/history.h"
#include "tests/unit/cas/store_fixture.h"

#define MISSES 200

/* Each an action of its own, which is in no store. */
static void
note_misses(struct explainer *explainer)
{
	for (int i = 0; i < MISSES; i++) {
		struct action_key key = {.instance = STR("")};

		digest_compute(DIGEST_SHA256, &i, sizeof(i), &key.action);
		explainer_note(explainer, EXPLAINER_EXECUTES, &key,
		    STR("\x1a\x05"
			"build"));
	}
}

static size_t
count_remembered(struct explainer *explainer)
{
	static struct history_miss misses[MISSES + 1];
	struct arena arena;
	size_t count;

	arena_init(&arena, 1 << 20);
	count = history_list_misses(explainer_history(explainer), STR(""),
	    STR("build"), &arena, misses, MISSES + 1);
	arena_clear(&arena);
	return count;
}

static void
what_was_noted_before_the_end_is_explained(void **state)
{
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);

	explainer_start(explainer, NULL);
	note_misses(explainer);
	explainer_free(explainer);
	metrics_free(metrics);
	metrics = metrics_new();
	explainer = explainer_new(f->store, metrics);
	assert_int_equal(count_remembered(explainer), MISSES);
	explainer_free(explainer);
	metrics_free(metrics);
}

static void *
note_hits(void *explainer)
{
	for (int i = 0; i < MISSES; i++) {
		struct action_key key = {.instance = STR("")};

		digest_compute(DIGEST_SHA256, &i, sizeof(i), &key.action);
		explainer_note(explainer, EXPLAINER_HIT, &key, STR(""));
	}
	return NULL;
}

static void
so_are_hits_of_threads_that_have_ended(void **state)
{
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	pthread_t thread;

	explainer_start(explainer, NULL);
	thread_start(&thread, note_hits, explainer);
	pthread_join(thread, NULL);
	explainer_free(explainer);
	metrics_free(metrics);
	metrics = metrics_new();
	explainer = explainer_new(f->store, metrics);
	for (int i = 0; i < MISSES; i++) {
		struct digest action;
		bool result = false;

		digest_compute(DIGEST_SHA256, &i, sizeof(i), &action);
		assert_true(history_knows(
		    explainer_history(explainer), STR(""), &action, &result));
		assert_true(result);
	}
	explainer_free(explainer);
	metrics_free(metrics);
}

static void
instances_that_are_left_out_are_not_remembered(void **state)
{
	char *names[] = {(char *)(uintptr_t) "some", (char *)(uintptr_t) ""};
	const struct setting_list left_out = {names, 2};
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct digest action;
	int first = 0;
	bool result;

	assert_false(explainer_leaves_out(explainer, STR("")));
	explainer_leave_out(explainer, &left_out);
	assert_true(explainer_leaves_out(explainer, STR("some")));
	assert_true(explainer_leaves_out(explainer, STR("")));
	assert_false(explainer_leaves_out(explainer, STR("somewhere")));
	explainer_start(explainer, NULL);
	note_hits(explainer);
	note_misses(explainer);
	explainer_free(explainer);
	metrics_free(metrics);
	metrics = metrics_new();
	explainer = explainer_new(f->store, metrics);
	assert_int_equal(count_remembered(explainer), 0);
	digest_compute(DIGEST_SHA256, &first, sizeof(first), &action);
	assert_false(history_knows(
	    explainer_history(explainer), STR(""), &action, &result));
	explainer_free(explainer);
	metrics_free(metrics);
}

static void
hits_are_looked_at_though_nobody_asks(void **state)
{
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct explainer_statistics statistics;
	int64_t late = clock_monotonic_ms() + 60000;

	explainer_start(explainer, NULL);
	note_hits(explainer);
	do {
		usleep(1000);
		explainer_statistics(explainer, &statistics);
	} while (statistics.waiting > 0 && clock_monotonic_ms() < late);
	assert_int_equal(statistics.waiting, 0);
	assert_int_equal(statistics.dropped_hits, 0);
	explainer_free(explainer);
	metrics_free(metrics);
}

/* --- actions that are known ----------------------------------------------- */

static void
wait_until_explained(struct explainer *explainer)
{
	uint64_t noted, explained;

	do {
		explainer_progress(explainer, &noted, &explained);
	} while (explained < noted);
}

/* A hit of action `number`, of //app in that build. */
static void
note_hit_of(struct explainer *explainer, unsigned number, const char *build)
{
	struct action_key key = {.instance = STR("")};
	char metadata[64];
	int len = snprintf(metadata, sizeof(metadata), "\x1a%c%s\x32\x05//app",
	    (int)strlen(build), build);

	digest_compute(DIGEST_SHA256, &number, sizeof(number), &key.action);
	explainer_note_hit(explainer, &key, explainer_expect(explainer, &key),
	    (struct str){metadata, (size_t)len});
}

static bool
knows(struct explainer *explainer, unsigned number)
{
	struct digest action;
	bool result;

	digest_compute(DIGEST_SHA256, &number, sizeof(number), &action);
	return history_knows(
	    explainer_history(explainer), STR(""), &action, &result);
}

static void
assert_last_build(struct explainer *explainer, const char *build)
{
	struct arena arena;

	arena_init(&arena, 1 << 20);
	assert_true(
	    str_equal(history_last_invocation(
			  explainer_history(explainer), STR(""), &arena),
		str_from(build)));
	arena_clear(&arena);
}

static void
hits_of_known_actions_count_for_their_build(void **state)
{
	static const char *const builds[] = {"one", "two", "three"};
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct explainer_statistics statistics;

	explainer_start(explainer, NULL);
	for (size_t i = 0; i < 9; i++) {
		const char *build = builds[i % 3];

		for (unsigned number = 0; number < 100; number++)
			note_hit_of(explainer, number, build);
		wait_until_explained(explainer);
		assert_last_build(explainer, build);
	}
	for (unsigned number = 0; number < 100; number++)
		assert_true(knows(explainer, number));
	explainer_statistics(explainer, &statistics);
	assert_int_equal(statistics.dropped_hits, 0);
	explainer_free(explainer);
	metrics_free(metrics);
}

static void
one_that_was_forgotten_is_told_again(void **state)
{
	/* More than the history has, by some that are lost. */
	enum { OTHERS = 51000, FIRST = 50 };
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct explainer_statistics before, after;
	size_t known = 0;

	explainer_start(explainer, NULL);
	for (unsigned i = 0; i < FIRST; i++)
		note_hit_of(explainer, i, "one");
	wait_until_explained(explainer);
	for (unsigned i = 0; i < OTHERS; i++)
		note_hit_of(explainer, 1000 + i, "two");
	wait_until_explained(explainer);
	explainer_statistics(explainer, &before);
	for (unsigned i = 0; i < FIRST; i++) {
		assert_false(knows(explainer, i));
		note_hit_of(explainer, i, "three");
	}
	wait_until_explained(explainer);
	for (unsigned i = 0; i < FIRST; i++)
		known += knows(explainer, i);
	/* Of most it was not told what they are for, since they were known. */
	assert_in_range(known, 0, FIRST - 10);
	explainer_statistics(explainer, &after);
	assert_int_equal(
	    after.dropped_hits - before.dropped_hits, FIRST - known);
	for (unsigned i = 0; i < FIRST; i++)
		note_hit_of(explainer, i, "four");
	wait_until_explained(explainer);
	for (unsigned i = 0; i < FIRST; i++)
		assert_true(knows(explainer, i));
	explainer_free(explainer);
	metrics_free(metrics);
}

/* --- waiting ---------------------------------------------------------------
 */

static void
a_question_does_not_wait_for_others(void **state)
{
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct explainer_statistics statistics;
	uint64_t noted, explained;

	explainer_start(explainer, NULL);
	note_misses(explainer);
	do {
		explainer_progress(explainer, &noted, &explained);
		assert_int_equal(noted, MISSES);
	} while (explained < noted);
	explainer_statistics(explainer, &statistics);
	assert_int_equal(statistics.misses[EXPLAIN_FIRST_SEEN], MISSES);
	assert_int_equal(statistics.waiting, 0);
	assert_int_equal(statistics.dropped, 0);
	assert_int_equal(count_remembered(explainer), MISSES);
	explainer_free(explainer);
	metrics_free(metrics);
}

/* An action of an invocation of that number, with so long a target that some
 * thousands fill the queue. */
static void
note_large(
    struct explainer *explainer, enum explainer_event event, unsigned number)
{
	enum { TARGET_LEN = 0xf * 128 + 0x50 };
	struct action_key key = {.instance = STR("")};
	char metadata[32 + TARGET_LEN];
	size_t used;

	/* The target begins with the number, too. */
	memset(metadata, 't', sizeof(metadata));
	used = (size_t)snprintf(metadata, sizeof(metadata),
	    "\x1a\x06%06u\x32\xd0\x0f%06u", number, number);
	metadata[used] = 't';
	used -= 6;
	digest_compute(DIGEST_SHA256, &number, sizeof(number), &key.action);
	explainer_note(
	    explainer, event, &key, (struct str){metadata, used + TARGET_LEN});
}

static bool
remembers(struct explainer *explainer, struct str invocation)
{
	struct history_miss miss;
	struct arena arena;
	size_t count;

	arena_init(&arena, 1 << 20);
	count = history_list_misses(explainer_history(explainer), STR(""),
	    invocation, &arena, &miss, 1);
	arena_clear(&arena);
	return count > 0;
}

static void
when_too_many_wait_the_oldest_are_dropped_and_counted(void **state)
{
	enum { NOTES = 16000 };
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct explainer_statistics statistics;
	uint64_t noted, explained;

	for (uint32_t i = 0; i < NOTES; i++)
		note_large(explainer, EXPLAINER_EXECUTES, i);
	explainer_statistics(explainer, &statistics);
	assert_in_range(statistics.dropped, 1, NOTES / 2);
	assert_int_equal(statistics.dropped + statistics.waiting, NOTES);
	explainer_start(explainer, NULL);
	do {
		explainer_progress(explainer, &noted, &explained);
	} while (explained < noted);
	assert_int_equal(noted, NOTES);
	assert_false(remembers(explainer, STR("000000")));
	assert_true(remembers(explainer, STR("015999")));
	explainer_statistics(explainer, &statistics);
	assert_int_equal(
	    statistics.misses[EXPLAIN_FIRST_SEEN] + statistics.dropped, NOTES);
	assert_int_equal(statistics.waiting, 0);
	explainer_free(explainer);
	metrics_free(metrics);
}

static void
hits_do_not_drop_misses(void **state)
{
	enum { HITS = 16000 };
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);
	struct explainer_statistics statistics;

	note_misses(explainer);
	for (unsigned i = 0; i < HITS; i++)
		note_large(explainer, EXPLAINER_HIT, i);
	explainer_statistics(explainer, &statistics);
	assert_int_equal(statistics.dropped, 0);
	assert_in_range(statistics.dropped_hits, 1, HITS - 1);
	explainer_free(explainer);
	metrics_free(metrics);
}

static void
one_that_was_never_started_ends(void **state)
{
	struct fixture *f = *state;
	struct metrics *metrics = metrics_new();
	struct explainer *explainer = explainer_new(f->store, metrics);

	note_misses(explainer);
	explainer_free(explainer);
	metrics_free(metrics);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		what_was_noted_before_the_end_is_explained, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		so_are_hits_of_threads_that_have_ended, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		hits_are_looked_at_though_nobody_asks, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		instances_that_are_left_out_are_not_remembered, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		hits_of_known_actions_count_for_their_build, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		one_that_was_forgotten_is_told_again, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(a_question_does_not_wait_for_others,
		fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		when_too_many_wait_the_oldest_are_dropped_and_counted,
		fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		hits_do_not_drop_misses, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(one_that_was_never_started_ends,
		fixture_setup, fixture_teardown),
	};

	/* A line for each miss is not what is looked at here. */
	log_set_level(LOG_WARN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
