/* SPDX-License-Identifier: Apache-2.0 */
/* What a mistyped word may have meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/nearest_word.h"

static const char *
nearest(const char *word)
{
	static const char *const candidates[] = {"serve", "server", "store",
	    "max-size", "max-blob-size", "log-level", "gc"};
	struct nearest_word search = {.word = str_from(word)};

	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++)
		nearest_word_offer(&search, candidates[i]);
	return search.nearest;
}

static void
a_letter_more_less_or_other_is_found(void **state)
{
	(void)state;
	assert_string_equal(nearest("max-sizes"), "max-size");
	assert_string_equal(nearest("maxsize"), "max-size");
	assert_string_equal(nearest("max_size"), "max-size");
	assert_string_equal(nearest("stor"), "store");
}

static void
the_nearest_of_several_is_taken(void **state)
{
	(void)state;
	assert_string_equal(nearest("serv"), "serve");
	assert_string_equal(nearest("serverr"), "server");
}

static void
a_beginning_is_enough(void **state)
{
	(void)state;
	assert_string_equal(nearest("max-blob"), "max-blob-size");
	assert_string_equal(nearest("log"), "log-level");
}

static void
what_is_like_nothing_finds_nothing(void **state)
{
	char longest[200];

	(void)state;
	assert_null(nearest("frobnicate"));
	assert_null(nearest(""));
	assert_null(nearest("xy"));
	for (size_t i = 0; i < sizeof(longest); i++)
		longest[i] = 's';
	longest[sizeof(longest) - 1] = '\0';
	assert_null(nearest(longest));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_letter_more_less_or_other_is_found),
	    cmocka_unit_test(the_nearest_of_several_is_taken),
	    cmocka_unit_test(a_beginning_is_enough),
	    cmocka_unit_test(what_is_like_nothing_finds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
