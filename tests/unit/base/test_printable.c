/* SPDX-License-Identifier: Apache-2.0 */
/* What a terminal would obey does not reach it. */
#include "base/printable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static void
assert_made(const char *text, enum printable kind, const char *wanted)
{
	char copy[256];

	assert_true(strlen(text) < sizeof(copy));
	strcpy(copy, text);
	printable_make(copy, strlen(copy), kind);
	assert_string_equal(copy, wanted);
}

static void
text_stays_as_it_is(void **state)
{
	(void)state;
	assert_made("", PRINTABLE_LINE, "");
	assert_made("a \\ \" ~", PRINTABLE_LINE, "a \\ \" ~");
	assert_made("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\xb3", PRINTABLE_LINE,
	    "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\xb3");
	/* The first after the controls: a no-break space. */
	assert_made("\xc2\xa0", PRINTABLE_LINE, "\xc2\xa0");
}

static void
controls_are_replaced_those_of_8_bits_too(void **state)
{
	(void)state;
	assert_made("\x1b[2J\x07\x7f", PRINTABLE_LINES, "?[2J??");
	assert_made("\xc2\x9b"
		    "31m\xc2\x80",
	    PRINTABLE_LINES, "??31m??");
}

static void
newlines_stay_where_lines_are_wanted(void **state)
{
	(void)state;
	assert_made("a\n\tb\r\n", PRINTABLE_LINES, "a\n\tb?\n");
	assert_made("a\n\tb\r\n", PRINTABLE_LINE, "a??b??");
	/* U+2028 */
	assert_made("a\xe2\x80\xa8", PRINTABLE_LINES, "a???");
}

static void
marks_that_turn_the_direction_are_replaced(void **state)
{
	(void)state;
	/* U+202E, U+2066, U+200F, U+061C */
	assert_made("\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8f\xd8\x9c",
	    PRINTABLE_LINES, "???????????");
}

static void
bytes_that_are_no_utf8_are_replaced_alone(void **state)
{
	(void)state;
	assert_made("a\xff\xc3\xbc", PRINTABLE_LINE, "a?\xc3\xbc");
	assert_made("cut \xe2\x82", PRINTABLE_LINE, "cut ??");
	assert_made("\xc0\xaf", PRINTABLE_LINE, "??");
}

static void
a_nul_is_replaced(void **state)
{
	char text[] = "a\0b";

	(void)state;
	printable_make(text, 3, PRINTABLE_LINE);
	assert_string_equal(text, "a?b");
}

static void
a_line_is_made_of_a_copy(void **state)
{
	char *line = printable_line(STR("a\nb"));

	(void)state;
	assert_string_equal(line, "a?b");
	free(line);
	line = printable_line((struct str){NULL, 0});
	assert_string_equal(line, "");
	free(line);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_stays_as_it_is),
	    cmocka_unit_test(controls_are_replaced_those_of_8_bits_too),
	    cmocka_unit_test(newlines_stay_where_lines_are_wanted),
	    cmocka_unit_test(marks_that_turn_the_direction_are_replaced),
	    cmocka_unit_test(bytes_that_are_no_utf8_are_replaced_alone),
	    cmocka_unit_test(a_nul_is_replaced),
	    cmocka_unit_test(a_line_is_made_of_a_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
