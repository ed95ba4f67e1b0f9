/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C by instruction (SSE4.2) and by table. No state after the first call;
 * any thread. */
#include "cas/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define CRC32C_POLYNOMIAL 0x82f63b78u

static pthread_once_t table_once = PTHREAD_ONCE_INIT;
static uint32_t table[256];

static void
crc32c_fill_table(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^
			      ((crc & 1) != 0 ? CRC32C_POLYNOMIAL : 0);
		table[byte] = crc;
	}
}

uint32_t
crc32c_table(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *next = data;

	pthread_once(&table_once, crc32c_fill_table);
	crc = ~crc;
	while (len-- > 0)
		crc = (crc >> 8) ^ table[(crc ^ *next++) & 0xff];
	return ~crc;
}

#ifdef __x86_64__
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t
crc32c_instruction(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *next = data;
	uint64_t wide = ~crc;

	for (; len >= 8; len -= 8, next += 8) {
		uint64_t word;

		memcpy(&word, next, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	while (len-- > 0)
		crc = _mm_crc32_u8(crc, *next++);
	return ~crc;
}

uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_instruction(crc, data, len);
	return crc32c_table(crc, data, len);
}
#else
uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
	return crc32c_table(crc, data, len);
}
#endif
