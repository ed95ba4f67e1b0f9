/* SPDX-License-Identifier: Apache-2.0 */
/* Digests: known answers, parsing, order; lists of digests. One thread. */
#include "cas/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "cas/digest_list.h"

static const struct {
	enum digest_function function;
	const char *hash; /* of "abc", FIPS 180-4 examples */
} known[] = {
    {DIGEST_SHA256, "ba7816bf8f01cfea414140de5dae2223"
		    "b00361a396177a9cb410ff61f20015ad"},
    {DIGEST_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
    {DIGEST_SHA384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"
		    "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"},
    {DIGEST_SHA512, "ddaf35a193617abacc417349ae204131"
		    "12e6fa4e89a97ea20a9eeee64b55d39a"
		    "2192992a274fc1a836ba3c23a3feebbd"
		    "454d4423643ce80e2a9ac94fa54ca49f"},
};

static void
each_function_gives_the_published_hash(void **state)
{
	const struct iovec abc[] = {{"ab", 2}, {"", 0}, {"c", 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct digest digest, parsed, again;
		struct digest_hasher *hasher;
		struct error err;
		char text[DIGEST_TEXT_MAX];

		digest_compute(known[i].function, "abc", 3, &digest);
		assert_string_equal(
		    digest_format_hash(&digest, text), known[i].hash);
		assert_int_equal(digest_parse(DIGEST_UNKNOWN,
				     str_from(known[i].hash), 3, &parsed, &err),
		    0);
		assert_true(digest_equal(&digest, &parsed));
		hasher = digest_hasher_new(known[i].function);
		digest_hasher_update(hasher, "nonsense", 8);
		digest_hasher_reset(hasher);
		digest_hasher_update(hasher, "a", 1);
		digest_hasher_update(hasher, "bc", 2);
		digest_hasher_finish(hasher, &again);
		digest_hasher_free(hasher);
		assert_true(digest_equal(&digest, &again));
		digest_compute_parts(known[i].function, abc, 3, &again);
		assert_true(digest_equal(&digest, &again));
	}
}

static void
text_form_round_trips(void **state)
{
	struct digest digest, parsed;
	struct error err;
	char text[DIGEST_TEXT_MAX];

	(void)state;
	digest_compute(DIGEST_SHA512, "abc", 3, &digest);
	digest_format(&digest, text);
	assert_int_equal(
	    digest_parse_text(DIGEST_SHA512, str_from(text), &parsed, &err), 0);
	assert_true(digest_equal(&digest, &parsed));
	assert_int_equal(
	    digest_parse_text(DIGEST_SHA256, str_from(text), &parsed, &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

static void
bad_digests_are_refused_with_a_reason(void **state)
{
	static const struct {
		const char *hash;
		int64_t size;
		const char *reason;
	} bad[] = {
	    {"ba7816bf", 3, "8 characters"},
	    {"BA7816BF8F01CFEA414140DE5DAE2223"
	     "B00361A396177A9CB410FF61F20015AD",
		3, "lower-case"},
	    {"ba7816bf8f01cfea414140de5dae2223"
	     "b00361a396177a9cb410ff61f20015ag",
		3, "character 64"},
	    {"ba7816bf8f01cfea414140de5dae2223"
	     "b00361a396177a9cb410ff61f20015ad",
		-1, "negative"},
	    {"ba7816bf8f01cfea414140de5dae2223"
	     "b00361a396177a9cb410ff61f20015ad",
		0, "size is 0"},
	    {"e3b0c44298fc1c149afbf4c8996fb924"
	     "27ae41e4649b934ca495991b7852b855",
		7, "empty blob"},
	};
	struct digest digest;
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
		    digest_parse(DIGEST_UNKNOWN, str_from(bad[i].hash),
			bad[i].size, &digest, &err),
		    -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(err.text, bad[i].reason));
	}
	assert_int_equal(digest_parse((enum digest_function)9,
			     str_from(bad[1].hash), 3, &digest, &err),
	    -1);
	assert_non_null(strstr(err.text, "function 9"));
}

static void
digests_of_different_functions_or_sizes_differ(void **state)
{
	struct digest a, b;

	(void)state;
	digest_empty(DIGEST_SHA1, &a);
	digest_empty(DIGEST_SHA256, &b);
	assert_false(digest_equal(&a, &b));
	assert_true(digest_is_empty(&a));
	assert_int_not_equal(digest_compare(&a, &b), 0);
	b = a;
	b.size = 1;
	assert_false(digest_equal(&a, &b));
	assert_true(digest_compare(&a, &b) < 0);
}

static void
function_names_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_int_equal(digest_function_parse(str_from(
				     digest_function_name(known[i].function))),
		    known[i].function);
	assert_int_equal(digest_function_parse(STR("md5")), DIGEST_UNKNOWN);
	assert_int_equal(digest_function_parse(STR("")), DIGEST_UNKNOWN);
	assert_int_equal(digest_function_from_hex_length(0), DIGEST_UNKNOWN);
	assert_int_equal(digest_hash_length((enum digest_function) - 1), 0);
}

static void
a_list_keeps_its_limit_and_drops_duplicates(void **state)
{
	struct digest_list list;
	struct digest a, b;

	(void)state;
	digest_compute(DIGEST_SHA256, "a", 1, &a);
	digest_compute(DIGEST_SHA256, "b", 1, &b);
	digest_list_init(&list, 3);
	digest_list_unique(&list);
	assert_int_equal(list.count, 0);
	assert_int_equal(digest_list_add(&list, &a), 0);
	assert_int_equal(digest_list_add(&list, &b), 0);
	assert_int_equal(digest_list_add(&list, &a), 0);
	assert_int_equal(digest_list_add(&list, &b), -1);
	digest_list_unique(&list);
	assert_int_equal(list.count, 2);
	assert_true(digest_compare(&list.items[0], &list.items[1]) < 0);
	digest_list_clear(&list);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_function_gives_the_published_hash),
	    cmocka_unit_test(text_form_round_trips),
	    cmocka_unit_test(bad_digests_are_refused_with_a_reason),
	    cmocka_unit_test(digests_of_different_functions_or_sizes_differ),
	    cmocka_unit_test(function_names_round_trip),
	    cmocka_unit_test(a_list_keeps_its_limit_and_drops_duplicates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
