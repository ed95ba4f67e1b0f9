/* SPDX-License-Identifier: Apache-2.0 */
/* WriteRequest read in place, however it is cut into parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "frontend/write_request.h"
#include "protos/wire.h"

struct sample {
	uint8_t bytes[512];
	size_t len;
};

static void
put_varint(struct sample *sample, uint32_t number, uint64_t value)
{
	sample->len +=
	    wire_put_varint_field(sample->bytes + sample->len, number, value);
}

static void
put_bytes(struct sample *sample, uint32_t number, const char *data)
{
	size_t len = strlen(data);

	sample->len +=
	    wire_put_bytes_header(sample->bytes + sample->len, number, len);
	memcpy(sample->bytes + sample->len, data, len);
	sample->len += len;
}

/* Parses the sample cut in two at `cut` and checks all fields. */
static void
assert_parsed(struct sample *sample, size_t cut, const char *data)
{
	struct iovec parts[2] = {
	    {sample->bytes, cut}, {sample->bytes + cut, sample->len - cut}};
	struct write_request request;
	struct iovec out[2];
	size_t left = strlen(data);
	struct error err;

	assert_int_equal(write_request_parse(parts, 2, &request, &err), 0);
	assert_int_equal(request.resource_name.len, 4);
	assert_memory_equal(request.resource_name.data, "name", 4);
	assert_int_equal(request.write_offset, 300);
	assert_true(request.finish_write);
	assert_int_equal(request.data_len, strlen(data));
	for (size_t i = write_request_data(&request, parts, 2, out); i-- > 0;) {
		assert_true(out[i].iov_len > 0 && out[i].iov_len <= left);
		left -= out[i].iov_len;
		assert_memory_equal(
		    out[i].iov_base, data + left, out[i].iov_len);
	}
	assert_int_equal(left, 0);
	free(request.flat);
}

static void
reads_the_usual_order_at_every_cut(void **state)
{
	struct sample sample = {.len = 0};

	(void)state;
	put_bytes(&sample, 1, "name");
	put_varint(&sample, 2, 300);
	put_varint(&sample, 3, 1);
	put_bytes(&sample, 10, "some data");
	for (size_t cut = 0; cut <= sample.len; cut++)
		assert_parsed(&sample, cut, "some data");
}

static void
reads_any_order_at_every_cut(void **state)
{
	struct sample sample = {.len = 0};

	(void)state;
	put_bytes(&sample, 10, "some data");
	put_varint(&sample, 3, 1);
	put_bytes(&sample, 1, "name");
	put_varint(&sample, 2, 300);
	for (size_t cut = 0; cut <= sample.len; cut++)
		assert_parsed(&sample, cut, "some data");
}

static void
the_last_of_two_data_fields_counts(void **state)
{
	struct sample sample = {.len = 0};

	(void)state;
	put_bytes(&sample, 1, "name");
	put_varint(&sample, 2, 300);
	put_bytes(&sample, 10, "first");
	put_varint(&sample, 3, 1);
	put_bytes(&sample, 10, "second");
	for (size_t cut = 0; cut <= sample.len; cut++)
		assert_parsed(&sample, cut, "second");
}

static void
an_empty_message_has_defaults(void **state)
{
	struct write_request request;
	struct error err;

	(void)state;
	assert_int_equal(write_request_parse(NULL, 0, &request, &err), 0);
	assert_int_equal(request.data_len, 0);
	assert_int_equal(request.resource_name.len, 0);
	assert_false(request.finish_write);
}

static void
refuses_what_is_cut_off(void **state)
{
	struct sample sample = {.len = 0};
	struct write_request request;
	struct error err;

	(void)state;
	put_varint(&sample, 2, 300);
	put_bytes(&sample, 10, "some data");
	for (size_t len = 1; len < sample.len; len++) {
		struct iovec part = {sample.bytes, len};

		/* Where a field ends, the rest is a whole message. */
		if (len == 3)
			continue;
		assert_int_equal(
		    write_request_parse(&part, 1, &request, &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
}

static void
a_length_beyond_the_message_is_refused(void **state)
{
	uint8_t bytes[] = {10 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	    0xff, 0xff, 0x7f, 'x'};
	struct iovec part = {bytes, sizeof(bytes)};
	struct write_request request;
	struct error err;

	(void)state;
	assert_int_equal(write_request_parse(&part, 1, &request, &err), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_the_usual_order_at_every_cut),
	    cmocka_unit_test(reads_any_order_at_every_cut),
	    cmocka_unit_test(the_last_of_two_data_fields_counts),
	    cmocka_unit_test(an_empty_message_has_defaults),
	    cmocka_unit_test(refuses_what_is_cut_off),
	    cmocka_unit_test(a_length_beyond_the_message_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
