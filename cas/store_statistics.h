/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a store, counted in one pass over its index: sizes, ages, how
 * much compression saves, how full the segments are. For a store opened either
 * way; a server may write meanwhile. Blocks; any thread.
 */
#ifndef TOOLROOT_CAS_STORE_STATISTICS_H
#define TOOLROOT_CAS_STORE_STATISTICS_H

#include <stdint.h>

struct error;
struct store;

/* Sizes: below 1 KiB, 16 KiB, 128 KiB, 1 MiB, 16 MiB, 128 MiB, and above. */
#define STATISTICS_SIZES 7
extern const uint64_t statistics_size_limits[STATISTICS_SIZES - 1];
/* Ages in minutes: below 1 h, 3 h, 12 h, 1 d, 3 d, 7 d, 30 d, and above. */
#define STATISTICS_AGES 8
extern const uint32_t statistics_age_limits[STATISTICS_AGES - 1];

#define STATISTICS_LIVE 10

struct statistics_share {
	uint64_t count;
	uint64_t bytes; /* as kept */
};

struct store_statistics {
	uint64_t blobs;
	uint64_t size_bytes;   /* what the digests say */
	uint64_t stored_bytes; /* what is kept */
	uint64_t large_blobs;
	uint64_t large_bytes;
	uint64_t compressed_blobs;
	uint64_t compressed_size_bytes;
	uint64_t compressed_stored_bytes;
	struct statistics_share sizes[STATISTICS_SIZES];
	struct statistics_share ages[STATISTICS_AGES];
	uint64_t results;
	uint64_t result_bytes;
	uint64_t segments;
	uint64_t segment_bytes;
	uint64_t segment_live_bytes;
	/* Segments by how much of them is used: below 10 %, 20 %, and so on. */
	struct statistics_share live[STATISTICS_LIVE];
	/* What results name, each time that they name it, and once. */
	uint64_t named;
	uint64_t named_bytes;
	uint64_t distinct;
	uint64_t distinct_bytes;
};

int store_statistics(struct store *store, struct store_statistics *statistics,
    struct error *err);

#endif
