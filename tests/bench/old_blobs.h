/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blobs that bench_fill puts into a store, by number, so that others can
 * ask for them. Static, as all that benches share.
 */
#ifndef TOOLROOT_TESTS_BENCH_OLD_BLOBS_H
#define TOOLROOT_TESTS_BENCH_OLD_BLOBS_H

#include <stdio.h>
#include <string.h>

#include "cas/digest.h"

#define OLD_BLOB_SIZE 100

static inline struct digest
old_blob(uint64_t number, char data[static OLD_BLOB_SIZE])
{
	struct digest digest;

	memset(data, 0, OLD_BLOB_SIZE);
	snprintf(
	    data, OLD_BLOB_SIZE, "old blob %llu", (unsigned long long)number);
	digest_compute(DIGEST_SHA256, data, OLD_BLOB_SIZE, &digest);
	return digest;
}

#endif
