/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C (Castagnoli, reflected polynomial 0x82f63b78, as in RFC 3720 B.4):
 * what tells a rotten record of a segment from a sound one. Uses the
 * processor's instruction where there is one. Pure; any thread.
 */
#ifndef TOOLROOT_CAS_CRC32C_H
#define TOOLROOT_CAS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from the result over the bytes before; 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same by table: the fallback, exported so that tests compare both. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
