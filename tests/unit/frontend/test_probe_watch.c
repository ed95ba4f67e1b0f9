/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that does not answer is seen, and told of once. */
#include "frontend/probe_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define START 1000

static void
a_probe_that_does_not_come_back_is_late(void **state)
{
	struct probe_watch watch = {.told = false};

	(void)state;
	assert_false(probe_watch_late(&watch, START));
	probe_watch_begin(&watch, START);
	assert_false(probe_watch_late(&watch, START + PROBE_LATE_MS));
	assert_true(probe_watch_late(&watch, START + PROBE_LATE_MS + 1));
	assert_false(probe_watch_end(&watch));
	assert_false(probe_watch_late(&watch, START + 2 * PROBE_LATE_MS));
}

static void
it_is_told_once_and_so_is_its_coming_back(void **state)
{
	const int64_t late = START + PROBE_LATE_MS + 1;
	struct probe_watch watch = {.told = false};

	(void)state;
	probe_watch_begin(&watch, START);
	assert_false(probe_watch_tell(&watch, START + 1));
	assert_true(probe_watch_tell(&watch, late));
	assert_false(probe_watch_tell(&watch, late + 1));
	assert_true(probe_watch_end(&watch));
	assert_false(probe_watch_end(&watch));
	probe_watch_begin(&watch, late);
	assert_false(probe_watch_tell(&watch, late + 1));
	assert_true(probe_watch_tell(&watch, late + PROBE_LATE_MS + 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_probe_that_does_not_come_back_is_late),
	    cmocka_unit_test(it_is_told_once_and_so_is_its_coming_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
