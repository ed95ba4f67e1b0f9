/* SPDX-License-Identifier: Apache-2.0 */
/* What a set of actions has, and what it forgets. */
#include "frontend/action_marks.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/thread.h"

#define SLOTS 1024u

static const struct action_marks_secret secret = {
    UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xd1b54a32d192ed03)};

static uint64_t
mark_of(const char *instance, unsigned number)
{
	struct action_key key = {.instance = str_from(instance)};

	digest_compute(DIGEST_SHA256, &number, sizeof(number), &key.action);
	return action_mark(&secret, &key);
}

static void
it_has_what_was_put_until_it_is_taken(void **state)
{
	struct action_marks marks;
	uint64_t one = mark_of("", 1);

	(void)state;
	action_marks_init(&marks, SLOTS);
	assert_false(action_marks_has(&marks, one));
	assert_false(action_marks_take(&marks, one));
	action_marks_expect(&marks, one);
	action_marks_put(&marks, one);
	action_marks_put(&marks, one);
	assert_true(action_marks_has(&marks, one));
	assert_false(action_marks_has(&marks, mark_of("", 2)));
	assert_true(action_marks_take(&marks, one));
	assert_false(action_marks_has(&marks, one));
	assert_false(action_marks_take(&marks, one));
	action_marks_clear(&marks);
}

static void
an_action_of_another_instance_is_another(void **state)
{
	struct action_marks marks;

	(void)state;
	action_marks_init(&marks, SLOTS);
	action_marks_put(&marks, mark_of("team", 1));
	assert_true(action_marks_has(&marks, mark_of("team", 1)));
	assert_false(action_marks_has(&marks, mark_of("", 1)));
	assert_false(action_marks_has(&marks, mark_of("mate", 1)));
	action_marks_clear(&marks);
}

static void
it_forgets_and_makes_nothing_up(void **state)
{
	enum { PUT = 4 * SLOTS };
	struct action_marks marks;
	size_t kept = 0, invented = 0;

	(void)state;
	action_marks_init(&marks, SLOTS);
	for (unsigned i = 0; i < PUT; i++)
		action_marks_put(&marks, mark_of("", i));
	for (unsigned i = 0; i < PUT; i++)
		kept += action_marks_has(&marks, mark_of("", i));
	for (unsigned i = PUT; i < 2 * PUT; i++)
		invented += action_marks_has(&marks, mark_of("", i));
	/* Each slot has one, but for those that none fell into. */
	assert_in_range(kept, SLOTS * 9 / 10, SLOTS);
	assert_true(action_marks_has(&marks, mark_of("", PUT - 1)));
	assert_int_equal(invented, 0);
	action_marks_clear(&marks);
}

static void
each_process_has_a_secret_of_its_own(void **state)
{
	struct action_key key = {.instance = STR("team")};
	struct action_marks_secret one, two;

	(void)state;
	action_marks_secret_init(&one);
	action_marks_secret_init(&two);
	assert_int_equal(one.instance & one.digest & 1, 1);
	digest_compute(DIGEST_SHA256, "", 0, &key.action);
	assert_int_not_equal(action_mark(&one, &key), action_mark(&two, &key));
}

/* --- threads -------------------------------------------------------------- */

enum { TAKERS = 4, TAKEN = 20000 };

struct taker {
	struct action_marks *marks;
	pthread_t thread;
	size_t count;
};

static void *
take_all(void *argument)
{
	struct taker *taker = argument;

	for (unsigned i = 0; i < TAKEN; i++)
		taker->count += action_marks_take(taker->marks, mark_of("", i));
	return NULL;
}

static void
of_several_one_takes_it(void **state)
{
	struct taker takers[TAKERS];
	struct action_marks marks;
	size_t put = 0, taken = 0;

	(void)state;
	action_marks_init(&marks, 1u << 20);
	for (unsigned i = 0; i < TAKEN; i++)
		action_marks_put(&marks, mark_of("", i));
	for (unsigned i = 0; i < TAKEN; i++)
		put += action_marks_has(&marks, mark_of("", i));
	for (size_t i = 0; i < TAKERS; i++) {
		takers[i] = (struct taker){.marks = &marks};
		thread_start(&takers[i].thread, take_all, &takers[i]);
	}
	for (size_t i = 0; i < TAKERS; i++) {
		pthread_join(takers[i].thread, NULL);
		taken += takers[i].count;
	}
	assert_int_equal(taken, put);
	action_marks_clear(&marks);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_has_what_was_put_until_it_is_taken),
	    cmocka_unit_test(an_action_of_another_instance_is_another),
	    cmocka_unit_test(it_forgets_and_makes_nothing_up),
	    cmocka_unit_test(each_process_has_a_secret_of_its_own),
	    cmocka_unit_test(of_several_one_takes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
