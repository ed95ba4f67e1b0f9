/* SPDX-License-Identifier: Apache-2.0 */
/* What counts as a trace parent. */
#include "frontend/trace_parent.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static bool
valid(const char *text)
{
	return trace_parent_valid(str_from(text));
}

static void
one_of_version_0_has_four_fields(void **state)
{
	(void)state;
	assert_true(valid("00-" TRACE "-" PARENT "-01"));
	assert_true(valid("00-" TRACE "-" PARENT "-ff"));
	assert_false(valid("00-" TRACE "-" PARENT "-01-more"));
	assert_false(valid("00-" TRACE "-" PARENT "-01-"));
	assert_false(valid("00-" TRACE "-" PARENT "-1"));
	assert_false(valid("00-" TRACE "-" PARENT));
	assert_false(valid(""));
}

static void
later_versions_may_have_more(void **state)
{
	(void)state;
	assert_true(valid("cc-" TRACE "-" PARENT "-01"));
	assert_true(valid("cc-" TRACE "-" PARENT "-01-what-will-be"));
	assert_false(valid("cc-" TRACE "-" PARENT "-01.what"));
	assert_false(valid("ff-" TRACE "-" PARENT "-01"));
}

static void
digits_are_hexadecimal_in_lower_case(void **state)
{
	(void)state;
	assert_false(
	    valid("00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01"));
	assert_false(valid("00-" TRACE "-b7ad6b716920333\"-01"));
	assert_false(valid("00-" TRACE "_" PARENT "-01"));
	assert_false(valid("00 " TRACE "-" PARENT "-01"));
}

static void
zeros_name_nothing(void **state)
{
	(void)state;
	assert_false(
	    valid("00-00000000000000000000000000000000-" PARENT "-01"));
	assert_false(valid("00-" TRACE "-0000000000000000-01"));
	assert_true(valid("00-" TRACE "-" PARENT "-00"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_of_version_0_has_four_fields),
	    cmocka_unit_test(later_versions_may_have_more),
	    cmocka_unit_test(digits_are_hexadecimal_in_lower_case),
	    cmocka_unit_test(zeros_name_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
