/* SPDX-License-Identifier: Apache-2.0 */
/* Processors that a control group leaves. */
#include "base/processors.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
a_quota_is_whole_processors(void **state)
{
	(void)state;
	assert_int_equal(processors_of_quota(STR("400000 100000\n")), 4);
	assert_int_equal(processors_of_quota(STR("250000 100000\n")), 2);
	assert_int_equal(processors_of_quota(STR("50000 100000\n")), 1);
}

static void
no_quota_is_no_limit(void **state)
{
	(void)state;
	assert_int_equal(processors_of_quota(STR("max 100000\n")), 0);
	assert_int_equal(processors_of_quota(STR("-1\n100000\n")), 0);
	assert_int_equal(processors_of_quota(STR("100000 0\n")), 0);
	assert_int_equal(processors_of_quota(STR("100000")), 0);
	assert_int_equal(processors_of_quota(STR("")), 0);
	assert_int_equal(processors_of_quota(STR("9223372036854775807 1")), 0);
}

static void
what_it_is_bound_to_counts(void **state)
{
	cpu_set_t before, one;
	size_t first = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_in_range(
	    processors_available(), 1, (uintmax_t)CPU_COUNT(&before));
	while (!CPU_ISSET(first, &before))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(processors_available(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_quota_is_whole_processors),
	    cmocka_unit_test(no_quota_is_no_limit),
	    cmocka_unit_test(what_it_is_bound_to_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
