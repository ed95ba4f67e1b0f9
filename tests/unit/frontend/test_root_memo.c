/* SPDX-License-Identifier: Apache-2.0 */
/* Which trees were found whole lately. */
#include "frontend/root_memo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct digest
digest_of(int number)
{
	struct digest digest;

	digest_compute(DIGEST_SHA256, &number, sizeof(number), &digest);
	return digest;
}

static void
what_was_added_is_remembered_for_its_time(void **state)
{
	struct digest a = digest_of(1);
	struct digest b = digest_of(2);
	struct root_memo memo;

	(void)state;
	root_memo_init(&memo);
	assert_false(root_memo_has(&memo, &a, 0));
	root_memo_add(&memo, &a, 1000);
	assert_true(root_memo_has(&memo, &a, 1000 + ROOT_MEMO_MS - 1));
	assert_false(root_memo_has(&memo, &a, 1000 + ROOT_MEMO_MS));
	assert_false(root_memo_has(&memo, &b, 1000));
	root_memo_add(&memo, &a, 5000);
	assert_true(root_memo_has(&memo, &a, 5000 + ROOT_MEMO_MS - 1));
	assert_int_equal(memo.count, 1);
	root_memo_clear(&memo);
}

static void
the_oldest_makes_room(void **state)
{
	struct root_memo memo;
	struct digest first = digest_of(0);
	struct digest last = digest_of(ROOT_MEMO_MAX);

	(void)state;
	root_memo_init(&memo);
	for (int i = 0; i <= ROOT_MEMO_MAX; i++) {
		struct digest digest = digest_of(i);

		root_memo_add(&memo, &digest, i);
	}
	assert_int_equal(memo.count, ROOT_MEMO_MAX);
	assert_false(root_memo_has(&memo, &first, ROOT_MEMO_MAX));
	assert_true(root_memo_has(&memo, &last, ROOT_MEMO_MAX));
	root_memo_clear(&memo);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_added_is_remembered_for_its_time),
	    cmocka_unit_test(the_oldest_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
