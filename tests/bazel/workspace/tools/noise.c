/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes so many KiB of bytes that look random, hence do not compress, and
 * are the same on each run.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int
main(int argc, char **argv)
{
	uint64_t block[128], state = 88172645463325252u;
	long kib = argc == 2 ? atol(argv[1]) : 0;

	for (long i = 0; i < kib; i++) {
		for (int j = 0; j < 128; j++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			block[j] = state;
		}
		if (fwrite(block, sizeof(block), 1, stdout) != 1)
			return 1;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
