/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, arenas, buffers and maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/budget.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/str.h"

static void
cutting_a_string_yields_all_pieces(void **state)
{
	struct str rest = STR("a//b");

	(void)state;
	assert_true(str_equal(str_cut(&rest, '/'), STR("a")));
	assert_true(str_equal(str_cut(&rest, '/'), STR("")));
	assert_non_null(rest.data);
	assert_true(str_equal(str_cut(&rest, '/'), STR("b")));
	assert_null(rest.data);
}

static void
numbers_are_digits_within_the_limit(void **state)
{
	uint64_t value;

	(void)state;
	assert_true(
	    str_to_uint64(STR("18446744073709551615"), UINT64_MAX, &value));
	assert_true(value == UINT64_MAX);
	assert_false(
	    str_to_uint64(STR("18446744073709551616"), UINT64_MAX, &value));
	assert_false(str_to_uint64(STR("11"), 10, &value));
	assert_false(str_to_uint64(STR(""), 10, &value));
	assert_false(str_to_uint64(STR("-1"), 10, &value));
	assert_false(str_to_uint64(STR(" 1"), 10, &value));
}

static void
utf8_is_well_formed_or_not(void **state)
{
	char text[19];

	(void)state;
	assert_true(str_is_utf8(STR("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\xb3")));
	assert_false(str_is_utf8(STR("\xc3")));
	assert_false(str_is_utf8(STR("\xc0\xaf")));
	assert_false(str_is_utf8(STR("\xed\xa0\x80")));
	assert_false(str_is_utf8(STR("\xf5\x80\x80\x80")));
	assert_false(str_is_utf8((struct str){"a\0b", 3}));
	for (size_t i = 0; i < sizeof(text); i++) {
		memset(text, i % 2 == 0 ? 1 : 0x7f, sizeof(text));
		assert_true(str_is_utf8((struct str){text, sizeof(text)}));
		text[i] = '\0';
		assert_false(str_is_utf8((struct str){text, sizeof(text)}));
		text[i] = '\x80';
		assert_false(str_is_utf8((struct str){text, sizeof(text)}));
	}
}

static void
an_arena_stops_at_its_cap(void **state)
{
	struct arena arena;
	size_t pieces = 0;

	(void)state;
	arena_init(&arena, 100000);
	while (arena_alloc(&arena, 100) != NULL)
		pieces++;
	assert_in_range(pieces, 800, 1000);
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_zalloc(&arena, SIZE_MAX / 2, 3));
	arena_clear(&arena);
	assert_string_equal(arena_printf(&arena, "%d/%s", 7, "x"), "7/x");
	arena_clear(&arena);
}

static void
a_buffer_refuses_what_passes_its_limit_and_keeps_the_rest(void **state)
{
	struct buffer buffer;

	(void)state;
	buffer_init(&buffer, 10);
	assert_int_equal(buffer_append(&buffer, "12345678", 8), 0);
	assert_int_equal(buffer_append(&buffer, "901", 3), -1);
	assert_int_equal(buffer_printf(&buffer, "%d", 901), -1);
	assert_int_equal(buffer_printf(&buffer, "%d", 90), 0);
	assert_string_equal(buffer.data, "1234567890");
	buffer_clear(&buffer);
}

static void
a_map_agrees_with_a_simple_model(void **state)
{
	enum { KEYS = 500, STEPS = 200000 };
	static char names[KEYS][16];
	bool present[KEYS] = {false};
	struct map map;
	size_t count = 0;
	size_t position = 0;
	size_t seen = 0;

	(void)state;
	map_init(&map);
	srandom(7);
	for (int step = 0; step < STEPS; step++) {
		size_t i = (size_t)random() % KEYS;
		struct str key;

		snprintf(names[i], sizeof(names[i]), "key-%zu", i);
		key = str_from(names[i]);
		assert_ptr_equal(
		    map_get(&map, key), present[i] ? names[i] : NULL);
		if (random() % 2 == 0) {
			map_put(&map, key, names[i]);
			count += !present[i];
			present[i] = true;
		} else {
			assert_ptr_equal(map_remove(&map, key),
			    present[i] ? names[i] : NULL);
			count -= present[i];
			present[i] = false;
		}
		assert_int_equal(map.count, count);
	}
	while (map_next(&map, &position) != NULL)
		seen++;
	assert_int_equal(seen, count);
	map_clear(&map);
}

static void
a_map_that_has_emptied_takes_less_memory(void **state)
{
	static char names[5000][8];
	struct map map;

	(void)state;
	map_init(&map);
	for (size_t i = 0; i < 5000; i++) {
		snprintf(names[i], sizeof(names[i]), "%zu", i);
		map_put(&map, str_from(names[i]), names[i]);
	}
	assert_true(map.capacity >= 5000);
	for (size_t i = 3; i < 5000; i++)
		assert_ptr_equal(
		    map_remove(&map, str_from(names[i])), names[i]);
	assert_in_range(map.capacity, 3, 512);
	for (size_t i = 0; i < 5000; i++)
		assert_ptr_equal(
		    map_get(&map, str_from(names[i])), i < 3 ? names[i] : NULL);
	map_clear(&map);
}

static void
a_budget_is_never_passed(void **state)
{
	struct budget budget;

	(void)state;
	budget_init(&budget, 10);
	assert_true(budget_take(&budget, 10));
	assert_false(budget_take(&budget, 1));
	budget_give(&budget, 4);
	assert_false(budget_take(&budget, 5));
	assert_false(budget_take(&budget, UINT64_MAX));
	assert_true(budget_take(&budget, 4));
}

static void
an_error_keeps_code_and_gains_prefix(void **state)
{
	struct error err;

	(void)state;
	error_set_errno(&err, 28, "write %s", "x");
	error_prefix(&err, "store");
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_string_equal(
	    err.text, "store: write x: No space left on device");
	assert_string_equal(error_code_name(err.code), "RESOURCE_EXHAUSTED");
	assert_string_equal(error_code_name((enum error_code)99), "UNKNOWN");
}

static void
a_copy_of_no_bytes_is_an_empty_text(void **state)
{
	char *copy = xstrndup(NULL, 0);

	(void)state;
	assert_string_equal(copy, "");
	free(copy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_copy_of_no_bytes_is_an_empty_text),
	    cmocka_unit_test(cutting_a_string_yields_all_pieces),
	    cmocka_unit_test(numbers_are_digits_within_the_limit),
	    cmocka_unit_test(utf8_is_well_formed_or_not),
	    cmocka_unit_test(an_arena_stops_at_its_cap),
	    cmocka_unit_test(
		a_buffer_refuses_what_passes_its_limit_and_keeps_the_rest),
	    cmocka_unit_test(a_map_agrees_with_a_simple_model),
	    cmocka_unit_test(a_map_that_has_emptied_takes_less_memory),
	    cmocka_unit_test(a_budget_is_never_passed),
	    cmocka_unit_test(an_error_keeps_code_and_gains_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
