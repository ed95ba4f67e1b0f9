/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_gc DIR [BLOBS]: fills a store in DIR (which must not be there yet) with
 * small blobs, one in ten of them found lately, and measures a plan and a
 * collection of all the others, and how long the slowest look-up took
 * meanwhile. This program's clock_gettime makes a day pass.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/collector.h"
#include "cas/index_job.h"
#include "cas/store.h"

#define BATCH 10000
#define SIZE 200
#define LOOKS_MAX 1000000
#define DAY_S (24 * 60 * 60)

static atomic_int days;

int clock_gettime(clockid_t id, struct timespec *now);

int
clock_gettime(clockid_t id, struct timespec *now)
{
	if (syscall(SYS_clock_gettime, id, now) != 0)
		return -1;
	if (id == CLOCK_REALTIME)
		now->tv_sec += (time_t)DAY_S * atomic_load(&days);
	return 0;
}

static void
die(const struct error *err)
{
	fprintf(stderr, "bench_gc: %s\n", err->text);
	exit(1);
}

static struct digest
content_of(uint64_t number, char data[SIZE])
{
	struct digest digest;

	memset(data, 0, SIZE);
	snprintf(data, SIZE, "blob %llu", (unsigned long long)number);
	digest_compute(DIGEST_SHA256, data, SIZE, &digest);
	return digest;
}

struct waiting {
	struct store_batch batch; /* first */
	atomic_bool done;
};

static void
batch_done(struct store_batch *batch)
{
	atomic_store(&((struct waiting *)batch)->done, true);
}

static void
fill(struct store *store, uint64_t first, size_t count)
{
	struct store_put *puts = xcalloc(count, sizeof(*puts));
	struct iovec *parts = xcalloc(count, sizeof(*parts));
	char(*data)[SIZE] = xcalloc(count, SIZE);
	struct waiting waiting = {
	    .batch = {.puts = puts, .count = count, .done = batch_done}};

	for (size_t i = 0; i < count; i++) {
		puts[i].digest = content_of(first + i, data[i]);
		parts[i] = (struct iovec){data[i], SIZE};
		puts[i].parts = &parts[i];
		puts[i].part_count = 1;
	}
	store_put_batch(store, &waiting.batch);
	while (!atomic_load(&waiting.done))
		usleep(100);
	for (size_t i = 0; i < count; i++) {
		if (puts[i].error != NULL)
			die(puts[i].error);
	}
	free(data);
	free(parts);
	free(puts);
}

/* One in ten is found, which keeps it. */
static void
touch(struct store *store, uint64_t blobs)
{
	char data[SIZE];
	struct error err;
	bool missing;

	for (uint64_t i = 0; i < blobs; i += 10) {
		struct digest digest = content_of(i, data);

		if (store_find_missing(store, &digest, 1, &missing, &err) < 0)
			die(&err);
	}
}

struct looking {
	struct store *store;
	uint64_t blobs;
	atomic_bool ended;
	uint32_t *took_us;
	size_t count;
};

static void *
look(void *cookie)
{
	struct looking *looking = cookie;
	char data[SIZE];
	struct error err;
	bool missing;

	while (!atomic_load(&looking->ended) && looking->count < LOOKS_MAX) {
		uint64_t number =
		    looking->count * 7919 % (looking->blobs / 10) * 10;
		struct digest digest = content_of(number, data);
		int64_t begun = clock_monotonic_ns();

		if (store_find_missing(
			looking->store, &digest, 1, &missing, &err) < 0)
			die(&err);
		looking->took_us[looking->count++] =
		    (uint32_t)((clock_monotonic_ns() - begun) / 1000);
		usleep(200);
	}
	return NULL;
}

static int
by_value(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static void
print_looks(const char *when, struct looking *looking)
{
	size_t count = looking->count;

	qsort(looking->took_us, count, sizeof(*looking->took_us), by_value);
	printf("%-24s p50 %u us, p99 %u us, slowest %u us of %zu\n", when,
	    looking->took_us[count / 2], looking->took_us[count * 99 / 100],
	    looking->took_us[count - 1], count);
}

/* A collection, with look-ups beside it. */
static void
measure(struct store *store, uint64_t blobs, bool run)
{
	const struct collector_options options = {
	    .store = store, .min_age_ms = COLLECTOR_MIN_AGE_MS};
	const struct collection_wish wish = {.run = run, .sized = true};
	struct looking looking = {.store = store, .blobs = blobs};
	struct collection_report report;
	struct collector *collector;
	struct error err;
	pthread_t thread;
	int64_t begun;
	double seconds;

	collector = collector_new(&options, &err);
	if (collector == NULL)
		die(&err);
	looking.took_us = xcalloc(LOOKS_MAX, sizeof(*looking.took_us));
	if (pthread_create(&thread, NULL, look, &looking) != 0)
		abort();
	begun = clock_monotonic_ns();
	if (collector_collect(collector, &wish, &report, &err) < 0)
		die(&err);
	seconds = (double)(clock_monotonic_ns() - begun) / 1e9;
	atomic_store(&looking.ended, true);
	pthread_join(thread, NULL);
	printf("%-24s %llu blobs in %.2f s: %.0f a minute; %llu segments "
	       "removed, %llu MiB moved\n",
	    run ? "collection" : "plan", (unsigned long long)report.blobs,
	    seconds, (double)report.blobs / seconds * 60,
	    (unsigned long long)report.segments_removed,
	    (unsigned long long)(report.moved_bytes >> 20));
	print_looks("look-ups meanwhile", &looking);
	free(looking.took_us);
	collector_free(collector);
}

int
main(int argc, char **argv)
{
	struct store_options options = {.max_size = (uint64_t)1 << 40};
	uint64_t blobs = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	struct store *store;
	struct error err;

	if (argc < 2 || blobs < BATCH) {
		fprintf(stderr, "usage: bench_gc DIR [BLOBS >= %d]\n", BATCH);
		return 2;
	}
	log_set_level(LOG_WARN);
	options.path = argv[1];
	store = store_open(&options, &err);
	if (store == NULL)
		die(&err);
	for (uint64_t i = 0; i + BATCH <= blobs; i += BATCH)
		fill(store, i, BATCH);
	if (index_job_settle(store, &err) < 0)
		die(&err);
	atomic_store(&days, 1);
	touch(store, blobs);
	measure(store, blobs, false);
	measure(store, blobs, true);
	store_close(store);
	return 0;
}
