/* SPDX-License-Identifier: Apache-2.0 */
/* Messages put together by hand: what is left of them. */
#include "executor/message_difference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Fields 1 of one letter each: a tag, a length, the letter. */
#define A "\x0a\x01"
#define FIELD(letter) A letter

static void
check(struct str before, struct str after, struct str before_left,
    struct str after_left)
{
	message_difference(&before, &after);
	assert_int_equal(before.len, before_left.len);
	assert_memory_equal(before.data, before_left.data, before.len);
	assert_int_equal(after.len, after_left.len);
	assert_memory_equal(after.data, after_left.data, after.len);
}

static void
the_same_on_both_ends_is_cut(void **state)
{
	(void)state;
	check(STR(FIELD("a") FIELD("b") FIELD("c")),
	    STR(FIELD("a") FIELD("x") FIELD("c")), STR(FIELD("b")),
	    STR(FIELD("x")));
	check(STR(FIELD("a") FIELD("c")), STR(FIELD("a") FIELD("b") FIELD("c")),
	    STR(""), STR(FIELD("b")));
	check(STR(FIELD("a") FIELD("b")), STR(FIELD("b")), STR(FIELD("a")),
	    STR(""));
}

static void
equal_messages_leave_nothing(void **state)
{
	(void)state;
	check(STR(FIELD("a") FIELD("b")), STR(FIELD("a") FIELD("b")), STR(""),
	    STR(""));
	check(STR(""), STR(""), STR(""), STR(""));
	check(STR(""), STR(FIELD("a")), STR(""), STR(FIELD("a")));
}

static void
a_field_is_not_torn(void **state)
{
	/* The first ends with the bytes of the second's only field. */
	const struct str outer = STR("\x0a\x05xy" FIELD("b"));

	(void)state;
	check(outer, STR(FIELD("b")), outer, STR(FIELD("b")));
	check(STR("\x0a\x02xy"), STR("\x0a\x02xz"), STR("\x0a\x02xy"),
	    STR("\x0a\x02xz"));
	/* As long as each other, and the same but for a first byte. */
	check(STR("\x0a\x02zy"), STR("\x0a\x02xy"), STR("\x0a\x02zy"),
	    STR("\x0a\x02xy"));
}

static void
what_is_malformed_is_left(void **state)
{
	const struct str cut_off = STR(A);

	(void)state;
	check(cut_off, STR(FIELD("a")), cut_off, STR(FIELD("a")));
	check(STR(FIELD("a") A), STR(FIELD("a") FIELD("b")), cut_off,
	    STR(FIELD("b")));
}

/* Whatever two messages are made of, what was cut is the same of both. */
static void
what_is_cut_is_common(void **state)
{
	char texts[2][3 * 12];

	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		struct str sides[2], left[2];
		size_t start[2], end[2];

		for (int j = 0; j < 2; j++) {
			size_t count = (size_t)random() % 12;

			for (size_t k = 0; k < count; k++) {
				memcpy(texts[j] + 3 * k, A, 2);
				texts[j][3 * k + 2] =
				    (char)('a' + random() % 2);
			}
			sides[j] = left[j] = (struct str){texts[j], 3 * count};
		}
		message_difference(&left[0], &left[1]);
		for (int j = 0; j < 2; j++) {
			start[j] = (size_t)(left[j].data - sides[j].data);
			end[j] = sides[j].len - start[j] - left[j].len;
			assert_int_equal(start[j] % 3, 0);
			assert_int_equal(left[j].len % 3, 0);
		}
		assert_int_equal(start[0], start[1]);
		assert_int_equal(end[0], end[1]);
		assert_memory_equal(texts[0], texts[1], start[0]);
		assert_memory_equal(left[0].data + left[0].len,
		    left[1].data + left[1].len, end[0]);
		if (left[0].len > 0 && left[1].len > 0)
			assert_memory_not_equal(left[0].data, left[1].data, 3);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_same_on_both_ends_is_cut),
	    cmocka_unit_test(equal_messages_leave_nothing),
	    cmocka_unit_test(a_field_is_not_torn),
	    cmocka_unit_test(what_is_malformed_is_left),
	    cmocka_unit_test(what_is_cut_is_common),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
