/* SPDX-License-Identifier: Apache-2.0 */
/* RequestMetadata as clients send them, and as only hostile ones do. */
#include "frontend/request_metadata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "protos/wire.h"

static void
put_text(struct buffer *out, uint32_t number, struct str text)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t len = wire_put_bytes_header(header, number, text.len);

	assert_int_equal(buffer_append(out, header, len), 0);
	assert_int_equal(buffer_append(out, text.data, text.len), 0);
}

static struct request_metadata
parse(const struct buffer *raw)
{
	struct request_metadata metadata;

	request_metadata_parse((struct str){raw->data, raw->len}, &metadata);
	return metadata;
}

#define assert_text(text, expected) assert_true(str_equal(text, STR(expected)))

static void
assert_absent(struct str raw)
{
	struct request_metadata metadata;

	request_metadata_parse(raw, &metadata);
	assert_text(metadata.raw, "");
	assert_text(metadata.action_id, "");
	assert_text(metadata.tool_invocation_id, "");
	assert_text(metadata.correlated_invocations_id, "");
	assert_text(metadata.action_mnemonic, "");
	assert_text(metadata.target_id, "");
	assert_text(request_metadata_tool(&metadata), "");
	assert_text(request_metadata_invocation(raw), "");
}

static void
each_field_is_found(void **state)
{
	struct request_metadata metadata;
	struct buffer raw, tool;

	(void)state;
	buffer_init(&raw, 1 << 16);
	buffer_init(&tool, 1 << 16);
	put_text(&tool, 1, STR("bazel"));
	put_text(&tool, 2, STR("7.4.1"));
	/* In no order, and with one that nobody knows. */
	put_text(&raw, 7, STR("configuration"));
	put_text(&raw, 6, STR("//app:server"));
	put_text(&raw, 5, STR("CppCompile"));
	put_text(&raw, 4, STR("all builds"));
	put_text(&raw, 3, STR("this build"));
	put_text(&raw, 300, STR("new"));
	put_text(&raw, 2, STR("abc"));
	put_text(&raw, 1, (struct str){tool.data, tool.len});
	metadata = parse(&raw);
	assert_int_equal(metadata.raw.len, raw.len);
	assert_text(request_metadata_tool(&metadata), "bazel");
	assert_text(metadata.action_id, "abc");
	assert_text(metadata.tool_invocation_id, "this build");
	assert_text(metadata.correlated_invocations_id, "all builds");
	assert_text(metadata.action_mnemonic, "CppCompile");
	assert_text(metadata.target_id, "//app:server");
	buffer_clear(&tool);
	buffer_clear(&raw);
}

static void
texts_may_be_long_and_empty(void **state)
{
	static const size_t lengths[] = {0, 1, 126, 127, 128, 129, 20000};
	static char text[20000];

	(void)state;
	memset(text, 't', sizeof(text));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct request_metadata metadata;
		struct buffer raw;

		buffer_init(&raw, 1 << 16);
		put_text(&raw, 6, (struct str){text, lengths[i]});
		put_text(&raw, 5, STR("Mnemonic"));
		metadata = parse(&raw);
		assert_int_equal(metadata.target_id.len, lengths[i]);
		assert_memory_equal(metadata.target_id.data, text, lengths[i]);
		assert_text(metadata.action_mnemonic, "Mnemonic");
		buffer_clear(&raw);
	}
}

static void
of_two_the_last_counts_and_other_types_do_not(void **state)
{
	struct request_metadata metadata;
	struct buffer raw;

	(void)state;
	buffer_init(&raw, 1 << 16);
	put_text(&raw, 6, STR("first"));
	put_text(&raw, 6, STR("second"));
	/* Field 6 as a number, and as eight bytes. */
	assert_int_equal(buffer_append(&raw, "\x30\x05", 2), 0);
	assert_int_equal(buffer_append(&raw, "\x31TTTTTTTT", 9), 0);
	metadata = parse(&raw);
	assert_text(metadata.target_id, "second");
	buffer_clear(&raw);
}

static void
the_invocation_alone_is_the_same(void **state)
{
	static const size_t lengths[] = {0, 1, 36, 127, 128, 20000};
	static char text[20000];

	(void)state;
	memset(text, 't', sizeof(text));
	assert_text(request_metadata_invocation((struct str){NULL, 0}), "");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct str long_or_short = {text, lengths[i]};
		struct buffer raw;

		/* What stands before it is long, or it is itself. */
		for (uint32_t field = 2; field <= 3; field++) {
			struct str raw_text, found;

			buffer_init(&raw, 1 << 16);
			put_text(&raw, 1, STR("tool"));
			put_text(&raw, field, long_or_short);
			if (field == 2)
				put_text(&raw, 3, STR("this build"));
			put_text(&raw, 6, STR("//app:server"));
			raw_text = (struct str){raw.data, raw.len};
			found = request_metadata_invocation(raw_text);
			assert_true(
			    str_equal(found, parse(&raw).tool_invocation_id));
			assert_int_equal(
			    found.len, field == 2 ? 10 : lengths[i]);
			buffer_clear(&raw);
		}
	}
}

static void
what_is_malformed_counts_as_absent(void **state)
{
	struct buffer raw;

	(void)state;
	assert_absent((struct str){NULL, 0});
	assert_absent(STR(""));
	/* A tag alone, field 0, a group. */
	assert_absent(STR("\x32"));
	assert_absent(STR("\x02\x01x"));
	assert_absent(STR("\x33\x01x"));
	/* Cut off at any place but between fields. */
	buffer_init(&raw, 1 << 16);
	put_text(&raw, 5, STR("Mnemonic"));
	put_text(&raw, 6, STR("//app:server"));
	for (size_t len = 1; len < raw.len; len++) {
		/* Where nothing is behind it that could be read. */
		char *copy = test_malloc(len);

		memcpy(copy, raw.data, len);
		if (len != 10)
			assert_absent((struct str){copy, len});
		test_free(copy);
	}
	buffer_clear(&raw);
	/* A length that goes beyond the end, and one that wraps around. */
	assert_absent(STR("\x32\x7fx"));
	assert_absent(STR("\x32\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"));
}

static void
a_tool_that_is_malformed_has_no_name(void **state)
{
	struct request_metadata metadata;
	struct buffer raw;

	(void)state;
	buffer_init(&raw, 1 << 16);
	put_text(&raw, 1, STR("\x0a\x7fx"));
	put_text(&raw, 6, STR("//app:server"));
	metadata = parse(&raw);
	assert_text(request_metadata_tool(&metadata), "");
	assert_text(metadata.target_id, "//app:server");
	buffer_clear(&raw);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_field_is_found),
	    cmocka_unit_test(texts_may_be_long_and_empty),
	    cmocka_unit_test(of_two_the_last_counts_and_other_types_do_not),
	    cmocka_unit_test(the_invocation_alone_is_the_same),
	    cmocka_unit_test(what_is_malformed_counts_as_absent),
	    cmocka_unit_test(a_tool_that_is_malformed_has_no_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
