/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrub: a thread that reads the whole store again and again, slowly, and
 * compares every blob with its digest. What is bad is dropped, counted
 * (store_usage) and logged; results that name it are found incomplete from then
 * on, and the next build uploads it again. It makes nothing young.
 */
#ifndef TOOLROOT_CAS_SCRUB_H
#define TOOLROOT_CAS_SCRUB_H

#include <stdint.h>

struct error;
struct scrub;
struct store;

/* rate: bytes read in a second, above 0. The store is borrowed. */
struct scrub *scrub_new(struct store *store, uint64_t rate, struct error *err);
/* Waits for the thread. NULL is allowed. */
void scrub_free(struct scrub *scrub);

struct scrub_statistics {
	uint64_t blobs; /* read so far */
	uint64_t bytes;
	uint64_t passes;     /* over the whole store, finished */
	uint64_t pass_blobs; /* read in the pass under way */
};
/* Any thread; all 0 for NULL. */
void scrub_statistics(struct scrub *scrub, struct scrub_statistics *statistics);

#endif
