/* SPDX-License-Identifier: Apache-2.0 */
/* Which earlier action is found for which, and what is forgotten. One
 * thread. */
#include "executor/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <toolroot/explain/v1/explain.pb-c.h>

#include "base/arena.h"
#include "base/memory.h"
#include "cas/digest_message.h"

#define HOUR_NS INT64_C(3600000000000)

static struct digest
digest_of(const char *text)
{
	struct digest digest;

	digest_compute(DIGEST_SHA256, text, strlen(text), &digest);
	return digest;
}

static const struct history_limits roomy = {1000, 10u << 20};
static const struct history_limits one_entry = {1, 10u << 20};

/* Adds the action called name, for a target, with one output. */
static struct history_action
action_of(const char *name, const char *target, const struct str *output)
{
	return (struct history_action){
	    .use = {.instance = STR("main"),
		.action = digest_of(name),
		.invocation = STR("first"),
		.now_ns = 1},
	    .target = str_from(target),
	    .mnemonic = STR("CppCompile"),
	    .outputs = output,
	    .output_count = output->len > 0,
	};
}

static void
add(struct history *history, const struct history_action *action)
{
	struct history_subjects subjects;

	history_subjects_of(action, &subjects);
	history_add(history, action, &subjects);
}

static void
assert_previous(struct history *history, const struct history_action *action,
    const char *wanted)
{
	struct history_subjects subjects;
	struct digest previous;
	struct digest digest;
	int found;

	history_subjects_of(action, &subjects);
	found = history_previous(history, action, &subjects, &previous);
	assert_int_equal(found, wanted != NULL);
	if (wanted != NULL) {
		digest = digest_of(wanted);
		assert_true(digest_equal(&previous, &digest));
	}
}

static void
an_action_of_the_same_target_and_outputs_comes_first(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("bin/one.o"), two = STR("bin/two.o");
	struct history_action a = action_of("a", "//x", &one);
	struct history_action b = action_of("b", "//x", &two);
	struct history_action c = action_of("c", "//x", &one);

	(void)state;
	assert_previous(history, &a, NULL);
	add(history, &a);
	add(history, &b);
	assert_previous(history, &c, "a");
	history_free(history);
}

static void
a_neighbour_in_the_same_build_is_no_earlier_action(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str log = STR("test.log"), xml = STR("test.xml");
	struct history_action test = action_of("test", "//x", &log);
	struct history_action report = action_of("report", "//x", &xml);

	(void)state;
	add(history, &test);
	assert_previous(history, &report, NULL);
	report.use.invocation = STR("second");
	assert_previous(history, &report, "test");
	/* Who does not say which build it is may mean another. */
	test.use.invocation = STR("");
	report.use.invocation = STR("");
	add(history, &test);
	assert_previous(history, &report, "test");
	history_free(history);
}

static void
a_changed_output_directory_finds_the_same_file_name(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("fast/one.o"), two = STR("fast/two.o");
	const struct str other = STR("dbg/one.o");
	struct history_action a = action_of("a", "//x", &one);
	struct history_action b = action_of("b", "//x", &two);
	struct history_action c = action_of("c", "//x", &other);

	(void)state;
	add(history, &a);
	add(history, &b);
	/* In the same build it is the same source for another platform. */
	assert_previous(history, &c, NULL);
	c.use.invocation = STR("second");
	assert_previous(history, &c, "a");
	history_free(history);
}

static void
without_metadata_the_outputs_count(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("bin/one.o"), two = STR("bin/two.o");
	struct history_action a = action_of("a", "", &one);
	struct history_action b = action_of("b", "", &one);
	struct history_action c = action_of("c", "", &two);

	(void)state;
	add(history, &a);
	assert_previous(history, &b, "a");
	assert_previous(history, &c, NULL);
	history_free(history);
}

static void
instances_do_not_see_one_another(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("bin/one.o");
	struct history_action a = action_of("a", "//x", &one);
	struct history_action b = action_of("b", "//x", &one);
	bool result;

	(void)state;
	add(history, &a);
	b.use.instance = STR("other");
	assert_previous(history, &b, NULL);
	assert_false(
	    history_knows(history, STR("other"), &a.use.action, &result));
	history_free(history);
}

static void
using_an_old_action_makes_it_the_nearest(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("bin/one.o");
	struct history_action a = action_of("a", "//x", &one);
	struct history_action b = action_of("b", "//x", &one);
	struct history_action c = action_of("c", "//x", &one);

	(void)state;
	add(history, &a);
	add(history, &b);
	assert_previous(history, &c, "b");
	assert_true(history_use(history, &a.use));
	assert_false(history_use(history, &c.use));
	assert_previous(history, &c, "a");
	history_free(history);
}

static void
a_result_is_remembered(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("bin/one.o");
	struct history_action a = action_of("a", "//x", &one);
	bool result = true;

	(void)state;
	add(history, &a);
	assert_true(
	    history_knows(history, a.use.instance, &a.use.action, &result));
	assert_false(result);
	a.use.result = true;
	assert_true(history_use(history, &a.use));
	history_knows(history, a.use.instance, &a.use.action, &result);
	assert_true(result);
	history_free(history);
}

static void
what_was_used_longest_ago_is_forgotten_first(void **state)
{
	const struct history_limits three = {3, 10u << 20};
	struct history *history = history_new(&three);
	const struct str outputs[] = {STR("0"), STR("1"), STR("2"), STR("3")};
	struct history_action list[4];
	bool result;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%zu", i);
		list[i] = action_of(name, name, &outputs[i]);
		list[i].target = outputs[i];
		list[i].use.now_ns += (int64_t)i * HOUR_NS;
		if (i == 3) {
			list[0].use.now_ns = list[3].use.now_ns;
			history_use(history, &list[0].use);
		}
		add(history, &list[i]);
	}
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(history_knows(history, STR("main"),
				     &list[i].use.action, &result),
		    i != 1);
	history_free(history);
}

static void
memory_is_bounded_whatever_the_texts(void **state)
{
	const struct history_limits small = {1000000, 64u << 10};
	struct history *history = history_new(&small);
	char *text = xmalloc(100000);
	size_t known = 0;

	(void)state;
	memset(text, 'x', 100000);
	for (size_t i = 0; i < 2000; i++) {
		const struct str output = STR("out");
		char name[16];
		struct history_action action;
		bool result;

		snprintf(name, sizeof(name), "%zu", i);
		action = action_of(name, "//x", &output);
		action.target = (struct str){text, 100000 - i};
		add(history, &action);
		if (i < 1900)
			continue;
		known += history_knows(
		    history, STR("main"), &action.use.action, &result);
	}
	assert_int_equal(known, 100);
	free(text);
	history_free(history);
}

static void
misses_are_found_by_invocation_target_and_hash(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str one = STR("bin/one.o"), two = STR("bin/two.o");
	struct history_action a = action_of("a", "//x", &one);
	struct history_action b = action_of("b", "//y", &two);
	struct history_miss miss = {.cause = EXPLAIN_SOURCE,
	    .action = digest_of("b"),
	    .previous = digest_of("a"),
	    .has_previous = true,
	    .invocation = STR("second"),
	    .summary = STR("input x.c changed")};
	struct history_miss found[4];
	char hash[DIGEST_TEXT_MAX];
	struct arena arena;

	(void)state;
	arena_init(&arena, 1u << 20);
	add(history, &a);
	b.use.invocation = STR("second");
	add(history, &b);
	history_put_miss(history, STR("main"), &miss);
	assert_int_equal(history_list_misses(history, STR("main"), STR("first"),
			     &arena, found, 4),
	    0);
	assert_int_equal(history_list_misses(history, STR("main"),
			     STR("second"), &arena, found, 4),
	    1);
	assert_true(str_equal(found[0].target, STR("//y")));
	assert_true(str_equal(found[0].summary, STR("input x.c changed")));
	assert_int_equal(history_list_misses(history, STR("main"), STR("//y"),
			     &arena, found, 4),
	    1);
	assert_int_equal(history_list_misses(
			     history, STR("main"), STR(""), &arena, found, 4),
	    1);
	digest_format_hash(&b.use.action, hash);
	assert_int_equal(history_find_miss(history, STR("main"), str_from(hash),
			     &arena, found),
	    1);
	assert_int_equal(found[0].cause, EXPLAIN_SOURCE);
	assert_int_equal(history_find_miss(history, STR("other"),
			     str_from(hash), &arena, found),
	    0);
	assert_true(
	    str_equal(history_last_invocation(history, STR("main"), &arena),
		STR("second")));
	arena_clear(&arena);
	history_free(history);
}

/* All changes of one history, given to another. */
static void
hand_over(struct history *from, struct history *to)
{
	struct history_record changes[32];
	size_t count = history_take_changes(from, changes, 32);

	history_settle_changes(from, true);
	assert_int_equal(history_restore(to, changes, count), count);
	for (size_t i = 0; i < count; i++)
		free((char *)(uintptr_t)changes[i].value.data);
}

static void
what_is_kept_finds_the_same_actions_and_misses_again(void **state)
{
	struct history *history = history_new(&roomy);
	struct history *again = history_new(&roomy);
	const struct str output = STR("out/a.o");
	struct history_action a = action_of("a", "//app:a", &output);
	struct history_action b = action_of("b", "//app:a", &output);
	struct history_miss miss = {.action = digest_of("b"),
	    .previous = digest_of("a"),
	    .has_previous = true,
	    .cause = EXPLAIN_TOOLCHAIN,
	    .time_ns = 1234567890123456789,
	    .invocation = STR("second"),
	    .summary = STR("toolchain /usr/include/stdio.h changed")};
	struct history_miss found;
	struct arena arena;
	bool result;

	(void)state;
	a.use.result = true;
	add(history, &a);
	b.use.now_ns = 2;
	add(history, &b);
	history_put_miss(history, STR("main"), &miss);
	hand_over(history, again);
	/* Nothing has changed since. */
	assert_int_equal(history_count_changes(history), 0);
	assert_int_equal(history_count_changes(again), 0);
	assert_true(history_knows(again, STR("main"), &a.use.action, &result));
	assert_true(result);
	assert_int_equal(
	    history_last_use(again, STR("main"), &b.use.action), 2);
	/* The later of the two is the nearer. */
	a = action_of("c", "//app:a", &output);
	assert_previous(again, &a, "b");
	arena_init(&arena, 1 << 20);
	assert_int_equal(history_list_misses(again, STR("main"), STR("second"),
			     &arena, &found, 1),
	    1);
	assert_int_equal(found.cause, EXPLAIN_TOOLCHAIN);
	assert_int_equal(found.time_ns, miss.time_ns);
	assert_true(str_equal(found.summary, miss.summary));
	assert_true(str_equal(found.target, STR("//app:a")));
	assert_true(digest_equal(&found.previous, &miss.previous));
	arena_clear(&arena);
	history_free(history);
	history_free(again);
}

/* Takes all changes and says whether they were stored; how many. */
static size_t
take(struct history *history, struct history_record changes[static 8],
    bool stored)
{
	size_t count = history_take_changes(history, changes, 8);

	history_settle_changes(history, stored);
	for (size_t i = 0; i < count; i++)
		free((char *)(uintptr_t)changes[i].value.data);
	return count;
}

static void
what_is_forgotten_is_told_to_whoever_keeps_it(void **state)
{
	struct history *history = history_new(&one_entry);
	const struct str output = STR("out");
	struct history_action a = action_of("a", "//a", &output);
	struct history_action b = action_of("b", "//b", &output);
	struct history_record first[8], changes[8];

	(void)state;
	add(history, &a);
	assert_int_equal(take(history, first, true), 1);
	add(history, &b);
	assert_int_equal(take(history, changes, true), 2);
	assert_null(changes[0].value.data);
	assert_int_equal(changes[0].number, first[0].number);
	assert_non_null(changes[1].value.data);
	/* One that was never stored leaves no trace. */
	add(history, &a);
	add(history, &b);
	assert_int_equal(take(history, changes, true), 2);
	history_free(history);
}

static void
what_was_not_stored_is_given_again(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str output = STR("out");
	struct history_action a = action_of("a", "//a", &output);
	struct history_action b = action_of("b", "//b", &output);
	struct history_record changes[8];

	(void)state;
	add(history, &a);
	assert_int_equal(take(history, changes, false), 1);
	assert_int_equal(history_count_changes(history), 1);
	add(history, &b);
	assert_int_equal(take(history, changes, false), 2);
	assert_int_equal(take(history, changes, true), 2);
	assert_int_equal(history_count_changes(history), 0);
	assert_int_equal(take(history, changes, true), 0);
	history_free(history);
}

static void
what_changes_while_it_is_stored_is_given_again(void **state)
{
	struct history *history = history_new(&roomy);
	const struct str output = STR("out");
	struct history_action a = action_of("a", "//a", &output);
	struct history_record changes[8];

	(void)state;
	add(history, &a);
	assert_int_equal(history_take_changes(history, changes, 8), 1);
	free((char *)(uintptr_t)changes[0].value.data);
	a.use.result = true;
	assert_true(history_use(history, &a.use));
	history_settle_changes(history, true);
	assert_int_equal(take(history, changes, true), 1);
	history_free(history);
}

static void
a_removal_that_was_not_stored_is_given_again(void **state)
{
	struct history *history = history_new(&one_entry);
	const struct str output = STR("out");
	struct history_action a = action_of("a", "//a", &output);
	struct history_action b = action_of("b", "//b", &output);
	struct history_record first[8], changes[8];

	(void)state;
	add(history, &a);
	assert_int_equal(take(history, first, true), 1);
	add(history, &b);
	assert_int_equal(take(history, changes, false), 2);
	/* It comes again meanwhile, as another record. */
	add(history, &a);
	assert_int_equal(take(history, changes, true), 2);
	assert_null(changes[0].value.data);
	assert_int_equal(changes[0].number, first[0].number);
	assert_true(changes[1].number > first[0].number);
	assert_int_equal(history_count_changes(history), 0);
	history_free(history);
}

static void
what_is_forgotten_while_it_is_stored_is_removed(void **state)
{
	struct history *history = history_new(&one_entry);
	const struct str output = STR("out");
	struct history_action a = action_of("a", "//a", &output);
	struct history_action b = action_of("b", "//b", &output);
	struct history_record first, changes[8];

	(void)state;
	add(history, &a);
	assert_int_equal(history_take_changes(history, &first, 1), 1);
	free((char *)(uintptr_t)first.value.data);
	add(history, &b);
	history_settle_changes(history, true);
	assert_int_equal(take(history, changes, true), 2);
	assert_null(changes[0].value.data);
	assert_int_equal(changes[0].number, first.number);
	history_free(history);
}

static void
a_malformed_record_is_passed_over(void **state)
{
	const struct history_record records[] = {
	    {7, STR("\xff\xff\xff")}, {9, STR("")}};
	struct history *history = history_new(&roomy);
	const struct str output = STR("out");
	struct history_action a = action_of("a", "//a", &output);
	struct history_record changes[8];

	(void)state;
	assert_int_equal(history_restore(history, records, 2), 0);
	add(history, &a);
	/* Their records go, and their numbers are not given again. */
	assert_int_equal(take(history, changes, true), 3);
	assert_int_equal(changes[0].number, 7);
	assert_null(changes[0].value.data);
	assert_int_equal(changes[1].number, 9);
	assert_null(changes[1].value.data);
	assert_int_equal(changes[2].number, 10);
	history_free(history);
}

/* A record of action "a" with this use, and a miss at this time. */
static size_t
restore_times(
    struct history *history, int64_t used_ns, int64_t seconds, int32_t nanos)
{
	Explainapi__RememberedAction message =
	    EXPLAINAPI__REMEMBERED_ACTION__INIT;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Explainapi__Miss miss = EXPLAINAPI__MISS__INIT;
	struct digest action = digest_of("a");
	char text[DIGEST_TEXT_MAX];
	Reapi__Digest digest;
	uint8_t bytes[512];
	struct str value = {(const char *)bytes, 0};

	digest_to_message(&action, text, &digest);
	message.action_digest = &digest;
	message.digest_function = (Reapi__DigestFunction__Value)action.function;
	message.used_ns = used_ns;
	time.seconds = seconds;
	time.nanos = nanos;
	miss.time = &time;
	message.miss = &miss;
	value.len = explainapi__remembered_action__get_packed_size(&message);
	assert_true(value.len <= sizeof(bytes));
	explainapi__remembered_action__pack(&message, bytes);
	return history_restore(history, &(struct history_record){1, value}, 1);
}

static size_t
count_misses(struct history *history)
{
	char hash[DIGEST_TEXT_MAX];
	struct digest action = digest_of("a");
	struct history_miss miss;
	struct arena arena;
	int found;

	digest_format_hash(&action, hash);
	arena_init(&arena, 1u << 20);
	found =
	    history_find_miss(history, STR(""), str_from(hash), &arena, &miss);
	arena_clear(&arena);
	return (size_t)found;
}

static void
times_that_make_no_sense_are_passed_over(void **state)
{
	static const struct {
		int64_t used_ns, seconds;
		int32_t nanos;
		size_t restored, misses;
	} cases[] = {{5, 6, 7, 1, 1}, {-1, 6, 7, 0, 0}, {INT64_MAX, 6, 7, 0, 0},
	    {5, -1, 7, 1, 0}, {5, INT64_MAX, 7, 1, 0}, {5, 6, -1, 1, 0},
	    {5, 6, 1000000000, 1, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct history *history = history_new(&roomy);

		assert_int_equal(restore_times(history, cases[i].used_ns,
				     cases[i].seconds, cases[i].nanos),
		    cases[i].restored);
		assert_int_equal(count_misses(history), cases[i].misses);
		history_free(history);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		an_action_of_the_same_target_and_outputs_comes_first),
	    cmocka_unit_test(
		a_neighbour_in_the_same_build_is_no_earlier_action),
	    cmocka_unit_test(
		a_changed_output_directory_finds_the_same_file_name),
	    cmocka_unit_test(without_metadata_the_outputs_count),
	    cmocka_unit_test(instances_do_not_see_one_another),
	    cmocka_unit_test(using_an_old_action_makes_it_the_nearest),
	    cmocka_unit_test(a_result_is_remembered),
	    cmocka_unit_test(what_was_used_longest_ago_is_forgotten_first),
	    cmocka_unit_test(memory_is_bounded_whatever_the_texts),
	    cmocka_unit_test(misses_are_found_by_invocation_target_and_hash),
	    cmocka_unit_test(
		what_is_kept_finds_the_same_actions_and_misses_again),
	    cmocka_unit_test(what_is_forgotten_is_told_to_whoever_keeps_it),
	    cmocka_unit_test(what_was_not_stored_is_given_again),
	    cmocka_unit_test(what_changes_while_it_is_stored_is_given_again),
	    cmocka_unit_test(a_removal_that_was_not_stored_is_given_again),
	    cmocka_unit_test(what_is_forgotten_while_it_is_stored_is_removed),
	    cmocka_unit_test(a_malformed_record_is_passed_over),
	    cmocka_unit_test(times_that_make_no_sense_are_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
