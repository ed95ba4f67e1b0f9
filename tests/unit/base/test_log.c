/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines as JSON, and values from elsewhere. One thread. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/log_json.h"

static void
assert_json(const char *fields, const char *wanted)
{
	const struct log_line line = {
	    STR("T"), STR("info"), STR("e"), str_from(fields)};
	char out[1024], whole[1024];
	size_t len = log_json_format(&line, out, sizeof(out));

	snprintf(whole, sizeof(whole),
	    "{\"time\":\"T\",\"level\":\"info\",\"event\":\"e\"%s}", wanted);
	assert_int_equal(len, strlen(whole));
	assert_memory_equal(out, whole, len);
}

static void
fields_become_strings(void **state)
{
	(void)state;
	assert_json("", "");
	assert_json("a=1 b_c=x/y", ",\"a\":\"1\",\"b_c\":\"x/y\"");
	assert_json("a= b=2", ",\"a\":\"\",\"b\":\"2\"");
}

static void
quoted_values_end_at_the_last_quote(void **state)
{
	(void)state;
	assert_json("a=\"x y\" b=2", ",\"a\":\"x y\",\"b\":\"2\"");
	assert_json("a=\"say \"hi\" now\" b=\"\"",
	    ",\"a\":\"say \\\"hi\\\" now\",\"b\":\"\"");
	assert_json("a=\"cut", ",\"a\":\"cut\"");
}

static void
what_is_no_field_is_text(void **state)
{
	(void)state;
	assert_json("just words", ",\"text\":\"just words\"");
	assert_json("a=1 then words", ",\"a\":\"1\",\"text\":\"then words\"");
}

static void
bytes_that_json_forbids_are_replaced(void **state)
{
	(void)state;
	assert_json("a=x\\y", ",\"a\":\"x\\\\y\"");
	assert_json("a=x\ny", ",\"a\":\"x?y\"");
	assert_json("a=caf\xc3\xa9", ",\"a\":\"caf\xc3\xa9\"");
	assert_json("a=caf\xe9", ",\"a\":\"caf?\"");
}

static void
a_field_that_does_not_fit_is_left_out(void **state)
{
	char fields[1024] = "a=1 b=";
	const struct log_line line = {
	    STR("T"), STR("info"), STR("e"), {fields, sizeof(fields)}};
	char out[256];
	size_t len;

	(void)state;
	memset(fields + 6, 'x', sizeof(fields) - 6);
	len = log_json_format(&line, out, sizeof(out));
	assert_true(len <= sizeof(out));
	assert_memory_equal(out + len - 9, ",\"a\":\"1\"}", 9);
}

static void
a_value_cannot_end_its_quotes(void **state)
{
	char value[LOG_VALUE_MAX];
	char text[LOG_VALUE_MAX + 10];

	(void)state;
	assert_string_equal(
	    log_value(STR("x\" status=\"OK"), value), "x' status='OK");
	assert_string_equal(log_value((struct str){NULL, 0}, value), "");
	memset(text, 'x', sizeof(text));
	memcpy(text + LOG_VALUE_MAX - 2, "\xc3\xa9", 2);
	log_value((struct str){text, sizeof(text)}, value);
	assert_int_equal(strlen(value), LOG_VALUE_MAX - 2);
}

static void
a_word_cannot_become_two(void **state)
{
	char value[LOG_VALUE_MAX];

	(void)state;
	assert_string_equal(log_word(STR("/x\" status=OK e=\"/m"), value),
	    "/x'?status=OK?e='/m");
}

static void
formats_have_names(void **state)
{
	bool json;

	(void)state;
	assert_true(log_format_parse(STR("json"), &json) && json);
	assert_true(log_format_parse(STR("text"), &json) && !json);
	assert_false(log_format_parse(STR("xml"), &json));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fields_become_strings),
	    cmocka_unit_test(quoted_values_end_at_the_last_quote),
	    cmocka_unit_test(what_is_no_field_is_text),
	    cmocka_unit_test(bytes_that_json_forbids_are_replaced),
	    cmocka_unit_test(a_field_that_does_not_fit_is_left_out),
	    cmocka_unit_test(a_value_cannot_end_its_quotes),
	    cmocka_unit_test(a_word_cannot_become_two),
	    cmocka_unit_test(formats_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
