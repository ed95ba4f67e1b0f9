/* SPDX-License-Identifier: Apache-2.0 */
/* Unified differences, as diff -u has them, and the sequence difference below
 * them. One thread. */
#include "client/text_diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/sequence_diff.h"

static void
assert_diff(const char *before, const char *after, const char *wanted)
{
	struct buffer out;

	buffer_init(&out, 1 << 20);
	assert_int_equal(
	    text_diff_unified(str_from(before), str_from(after), &out), 0);
	assert_string_equal(out.len > 0 ? out.data : "", wanted);
	buffer_clear(&out);
}

static void
equal_texts_differ_in_nothing(void **state)
{
	(void)state;
	assert_diff("", "", "");
	assert_diff("a\nb\n", "a\nb\n", "");
}

static void
a_changed_line_has_three_lines_around(void **state)
{
	(void)state;
	assert_diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n",
	    "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
	    "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
}

static void
distant_changes_are_hunks_of_their_own(void **state)
{
	(void)state;
	assert_diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n",
	    "one\n2\n3\n4\n5\n6\n7\n8\nnine\n",
	    "@@ -1,4 +1,4 @@\n-1\n+one\n 2\n 3\n 4\n"
	    "@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+nine\n");
}

static void
near_changes_share_a_hunk(void **state)
{
	(void)state;
	assert_diff("1\n2\n3\n4\n5\n", "one\n2\n3\n4\nfive\n",
	    "@@ -1,5 +1,5 @@\n-1\n+one\n 2\n 3\n 4\n-5\n+five\n");
}

static void
an_empty_side_names_line_0(void **state)
{
	(void)state;
	assert_diff("", "a\n", "@@ -0,0 +1,1 @@\n+a\n");
	assert_diff("a\n", "", "@@ -1,1 +0,0 @@\n-a\n");
}

static void
a_missing_newline_is_told(void **state)
{
	(void)state;
	assert_diff("a", "a\n",
	    "@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n");
}

static void
a_full_buffer_is_an_error(void **state)
{
	struct buffer out;

	(void)state;
	buffer_init(&out, 20);
	assert_int_equal(
	    text_diff_unified(STR("a\nb\nc\n"), STR("x\ny\nz\n"), &out), -1);
	buffer_clear(&out);
}

/* Applies the steps to before; must give after. */
static void
assert_steps_lead(const struct sequence *before, const struct sequence *after)
{
	size_t count, i = 0, j = 0;
	struct sequence_step *steps = sequence_diff(before, after, &count);

	for (size_t k = 0; k < count; k++) {
		const struct sequence_step *step = &steps[k];

		if (step->edit != SEQUENCE_ADD)
			assert_int_equal(step->before, i++);
		if (step->edit != SEQUENCE_REMOVE)
			assert_int_equal(step->after, j++);
		if (step->edit == SEQUENCE_KEEP)
			assert_true(str_equal(before->items[step->before],
			    after->items[step->after]));
	}
	assert_int_equal(i, before->count);
	assert_int_equal(j, after->count);
	free(steps);
}

static void
steps_lead_from_one_sequence_to_the_other(void **state)
{
	static const char letters[] = "abc";
	struct str a[12], b[12];

	(void)state;
	srandom(7);
	for (int round = 0; round < 2000; round++) {
		const struct sequence before = {a, (size_t)random() % 12};
		const struct sequence after = {b, (size_t)random() % 12};

		for (size_t i = 0; i < 12; i++) {
			a[i] = (struct str){&letters[random() % 3], 1};
			b[i] = (struct str){&letters[random() % 3], 1};
		}
		assert_steps_lead(&before, &after);
	}
}

static void
past_the_bound_everything_is_replaced(void **state)
{
	size_t count = 5000;
	struct str *a = xcalloc(count, sizeof(*a));
	struct str *b = xcalloc(count, sizeof(*b));
	const struct sequence before = {a, count}, after = {b, count};

	(void)state;
	for (size_t i = 0; i < count; i++) {
		a[i] = i == 0 ? STR("start") : STR("x");
		b[i] = i == 0 ? STR("start") : STR("y");
	}
	assert_steps_lead(&before, &after);
	free(a);
	free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equal_texts_differ_in_nothing),
	    cmocka_unit_test(a_changed_line_has_three_lines_around),
	    cmocka_unit_test(distant_changes_are_hunks_of_their_own),
	    cmocka_unit_test(near_changes_share_a_hunk),
	    cmocka_unit_test(an_empty_side_names_line_0),
	    cmocka_unit_test(a_missing_newline_is_told),
	    cmocka_unit_test(a_full_buffer_is_an_error),
	    cmocka_unit_test(steps_lead_from_one_sequence_to_the_other),
	    cmocka_unit_test(past_the_bound_everything_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
