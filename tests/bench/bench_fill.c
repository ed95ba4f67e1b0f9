/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_fill DIR BLOBS: makes a store in DIR of so many small blobs (see
 * old_blobs.h) that nobody has used for a day: this program's clock_gettime is
 * a day behind. For tests/bench/run, which starts a server on it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/index_job.h"
#include "cas/store.h"
#include "cas/waiter.h"
#include "tests/bench/old_blobs.h"

#define BATCH 10000
#define DAY_S (24 * 60 * 60)

int clock_gettime(clockid_t id, struct timespec *now);

int
clock_gettime(clockid_t id, struct timespec *now)
{
	if (syscall(SYS_clock_gettime, id, now) != 0)
		return -1;
	if (id == CLOCK_REALTIME)
		now->tv_sec -= DAY_S;
	return 0;
}

static void
die(const struct error *err)
{
	fprintf(stderr, "bench_fill: %s\n", err->text);
	exit(1);
}

struct filling {
	struct store_batch batch; /* first: done gets its address */
	struct waiter waiter;
	struct store_put puts[BATCH];
	struct iovec parts[BATCH];
	char data[BATCH][OLD_BLOB_SIZE];
};

static void
batch_done(struct store_batch *batch)
{
	waiter_finish(&((struct filling *)batch)->waiter);
}

static void
put_batch(struct store *store, struct filling *filling, uint64_t first)
{
	for (size_t i = 0; i < BATCH; i++) {
		filling->parts[i] =
		    (struct iovec){filling->data[i], OLD_BLOB_SIZE};
		filling->puts[i] = (struct store_put){
		    .digest = old_blob(first + i, filling->data[i]),
		    .parts = &filling->parts[i],
		    .part_count = 1};
	}
	filling->batch = (struct store_batch){
	    .puts = filling->puts, .count = BATCH, .done = batch_done};
	waiter_init(&filling->waiter);
	store_put_batch(store, &filling->batch);
	waiter_wait(&filling->waiter);
	for (size_t i = 0; i < BATCH; i++) {
		if (filling->puts[i].error != NULL)
			die(filling->puts[i].error);
	}
}

int
main(int argc, char **argv)
{
	static struct filling filling;
	struct store_options options = {.max_size = (uint64_t)1 << 40};
	uint64_t blobs = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	int64_t began = clock_monotonic_ns();
	struct store *store;
	struct error err;

	if (blobs < BATCH) {
		fprintf(stderr, "usage: bench_fill DIR BLOBS (>= %d)\n", BATCH);
		return 2;
	}
	log_set_level(LOG_WARN);
	options.path = argv[1];
	store = store_open(&options, &err);
	if (store == NULL)
		die(&err);
	for (uint64_t i = 0; i + BATCH <= blobs; i += BATCH)
		put_batch(store, &filling, i);
	if (index_job_settle(store, &err) < 0)
		die(&err);
	store_close(store);
	printf("rate %.0f\n",
	    (double)blobs * 1e9 / (double)(clock_monotonic_ns() - began));
	return 0;
}
