/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C: known answers of RFC 3720 B.4, and both implementations compared. */
#include "cas/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void
published_answers_come_out(void **state)
{
	uint8_t zeros[32] = {0}, ones[32], rising[32];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (size_t i = 0; i < 32; i++)
		rising[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aau);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43u);
	assert_int_equal(crc32c(0, rising, 32), 0x46dd794eu);
	assert_int_equal(crc32c_table(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void
pieces_give_the_same_as_the_whole(void **state)
{
	uint8_t data[300];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 5);
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		uint32_t whole = crc32c_table(0, data, sizeof(data));
		uint32_t crc = crc32c(0, data, cut);

		assert_int_equal(
		    crc32c(crc, data + cut, sizeof(data) - cut), whole);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_answers_come_out),
	    cmocka_unit_test(pieces_give_the_same_as_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
