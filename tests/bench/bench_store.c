/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rates of the store beside the bare disk, in one run: durable batches of 1,000
 * blobs of 1 KiB against appending and syncing 1 MiB, in turns; small blobs one
 * by one with 64 in flight; look-ups and reads with so many blobs in the store;
 * opening it again. One thread beside the store's.
 *
 *   bench_store [directory [blobs]]
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"
#include "tests/bench/put_and_wait.h"

#define BATCH 1000
#define BLOB 1024
#define FIND 10000
#define ROUNDS 50
#define SINGLES 20000
#define IN_FLIGHT 64
#define REST_SECONDS 3

struct bench {
	char *path;
	struct store *store;
	uint64_t blobs;
	char *content; /* BATCH blobs */
	int bare;      /* a file to compare with */
	struct digest digests[FIND];
};

static void
bench_fail(const struct error *err)
{
	fprintf(stderr, "bench_store: %s\n", err->text);
	exit(1);
}

/* The content of blob number. */
static void
bench_fill(char *content, uint64_t number)
{
	uint64_t state = number * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < BLOB; i += 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(content + i, &state, 8);
	}
}

static void
bench_digest(uint64_t number, struct digest *digest)
{
	char content[BLOB];

	bench_fill(content, number);
	digest_compute(DIGEST_SHA256, content, BLOB, digest);
}

/* Puts BATCH blobs from number first on; the time until they are durable. */
static int64_t
bench_put(struct bench *bench, uint64_t first)
{
	struct store_put *puts = xcalloc(BATCH, sizeof(*puts));
	struct iovec *parts = xcalloc(BATCH, sizeof(*parts));
	int64_t start;

	for (size_t i = 0; i < BATCH; i++) {
		char *content = bench->content + i * BLOB;

		bench_fill(content, first + i);
		parts[i] = (struct iovec){content, BLOB};
		puts[i].parts = &parts[i];
		puts[i].part_count = 1;
		digest_compute(DIGEST_SHA256, content, BLOB, &puts[i].digest);
	}
	start = clock_monotonic_ns();
	put_and_wait(bench->store, puts, BATCH);
	start = clock_monotonic_ns() - start;
	for (size_t i = 0; i < BATCH; i++) {
		if (puts[i].error != NULL)
			bench_fail(puts[i].error);
	}
	free(parts);
	free(puts);
	return start;
}

static int
bench_order(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

static double
bench_median_ms(int64_t *times, size_t count)
{
	qsort(times, count, sizeof(*times), bench_order);
	return (double)times[count / 2] / 1e6;
}

/* Appending len bytes and syncing them: what no store can beat. */
static int64_t
bench_bare(struct bench *bench, size_t len)
{
	int64_t start = clock_monotonic_ns();
	struct error err;

	if (file_write(bench->bare, bench->content, len, &err) < 0 ||
	    file_sync(bench->bare, &err) < 0)
		bench_fail(&err);
	return clock_monotonic_ns() - start;
}

static void
bench_open_bare(struct bench *bench)
{
	char *path = xasprintf("%s/bare", bench->path);

	bench->bare =
	    open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	/* Gone when the bench is. */
	if (bench->bare == -1 || unlink(path) == -1) {
		perror(path);
		exit(1);
	}
	free(path);
}

static void
bench_batches(struct bench *bench, uint64_t first)
{
	int64_t times[ROUNDS], bare_times[ROUNDS];
	double bare, ours;

	/* In turns: other work on the disk hits both. */
	for (size_t i = 0; i < ROUNDS; i++) {
		bare_times[i] = bench_bare(bench, BATCH * BLOB);
		times[i] = bench_put(bench, first + i * BATCH);
	}
	ours = bench_median_ms(times, ROUNDS);
	bare = bench_median_ms(bare_times, ROUNDS);
	printf("batch of 1000 x 1 KiB, durable, %" PRIu64
	       " blobs in the store: %.2f ms p50, %.2f ms p90; bare append of "
	       "1 MiB + fdatasync: %.2f ms p50, %.2f ms p90; ratio %.1f\n",
	    first, ours, (double)times[ROUNDS * 9 / 10] / 1e6, bare,
	    (double)bare_times[ROUNDS * 9 / 10] / 1e6, ours / bare);
}

/* --- one by one, many in flight ------------------------------------------- */

struct single {
	struct store_batch batch;
	struct singles *singles;
	struct store_put put;
	struct iovec part;
	char content[BLOB];
	int64_t start;
	struct single *next_free;
};

struct singles {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct single *free;
	size_t finished;
	int64_t times[SINGLES];
};

static void
single_done(struct store_batch *batch)
{
	struct single *single = (struct single *)batch;
	struct singles *singles = single->singles;

	if (single->put.error != NULL)
		bench_fail(single->put.error);
	pthread_mutex_lock(&singles->lock);
	singles->times[singles->finished++] =
	    clock_monotonic_ns() - single->start;
	single->next_free = singles->free;
	singles->free = single;
	pthread_cond_signal(&singles->changed);
	pthread_mutex_unlock(&singles->lock);
}

static struct single *
singles_take(struct singles *singles)
{
	struct single *single;

	pthread_mutex_lock(&singles->lock);
	while (singles->free == NULL)
		pthread_cond_wait(&singles->changed, &singles->lock);
	single = singles->free;
	singles->free = single->next_free;
	pthread_mutex_unlock(&singles->lock);
	return single;
}

static void
bench_singles(struct bench *bench, uint64_t first)
{
	static struct singles singles = {.lock = PTHREAD_MUTEX_INITIALIZER,
	    .changed = PTHREAD_COND_INITIALIZER};
	struct single *all = xcalloc(IN_FLIGHT, sizeof(*all));
	int64_t begun, took, bare[ROUNDS];

	singles.finished = 0;
	singles.free = NULL;
	for (size_t i = 0; i < ROUNDS; i++)
		bare[i] = bench_bare(bench, BLOB);
	for (size_t i = 0; i < IN_FLIGHT; i++) {
		all[i].singles = &singles;
		all[i].next_free = singles.free;
		singles.free = &all[i];
	}
	begun = clock_monotonic_ns();
	for (uint64_t i = 0; i < SINGLES; i++) {
		struct single *single = singles_take(&singles);

		bench_fill(single->content, first + i);
		single->part = (struct iovec){single->content, BLOB};
		single->put =
		    (struct store_put){.parts = &single->part, .part_count = 1};
		digest_compute(
		    DIGEST_SHA256, single->content, BLOB, &single->put.digest);
		single->batch = (struct store_batch){
		    .puts = &single->put, .count = 1, .done = single_done};
		single->start = clock_monotonic_ns();
		store_put_batch(bench->store, &single->batch);
	}
	for (size_t i = 0; i < IN_FLIGHT; i++)
		singles_take(&singles);
	took = clock_monotonic_ns() - begun;
	printf("1 KiB one by one, durable, %d in flight: %.2f ms p50, ",
	    IN_FLIGHT, bench_median_ms(singles.times, SINGLES));
	printf("%.2f ms p99, %.1f k/s; bare append of 1 KiB + fdatasync: "
	       "%.2f ms\n",
	    (double)singles.times[SINGLES / 100 * 99] / 1e6,
	    SINGLES / (double)took * 1e6, bench_median_ms(bare, ROUNDS));
	free(all);
}

/* --- action results --------------------------------------------------------*/

static void
bench_actions(struct bench *bench)
{
	int64_t times[ROUNDS * 4];
	struct error err;

	for (uint64_t i = 0; i < ROUNDS * 4; i++) {
		struct action_key key = {.instance = STR("bench")};

		bench_digest(UINT64_MAX - i, &key.action);
		times[i] = clock_monotonic_ns();
		if (store_put_action(bench->store, &key, STR(""), NULL, &err) <
		    0)
			bench_fail(&err);
		times[i] = clock_monotonic_ns() - times[i];
	}
	printf("an action result, durable: %.2f ms p50, ",
	    bench_median_ms(times, ROUNDS * 4));
	printf("%.2f ms p90\n", (double)times[ROUNDS * 4 / 10 * 9] / 1e6);
}

/* --- looking up and reading ------------------------------------------------*/

static void
bench_find(struct bench *bench)
{
	bool *missing = xcalloc(FIND, sizeof(*missing));
	int64_t times[ROUNDS];
	struct error err;
	size_t absent = 0;

	for (size_t i = 0; i < FIND; i++)
		bench_digest(
		    i % 2 == 0 ? i * (bench->blobs / FIND) : UINT64_MAX - i,
		    &bench->digests[i]);
	for (size_t i = 0; i < ROUNDS; i++) {
		times[i] = clock_monotonic_ns();
		if (store_find_missing(
			bench->store, bench->digests, FIND, missing, &err) < 0)
			bench_fail(&err);
		times[i] = clock_monotonic_ns() - times[i];
	}
	for (size_t i = 0; i < FIND; i++)
		absent += missing[i] ? 1 : 0;
	printf("find missing of %d digests (%zu absent): %.2f ms p50, "
	       "%.2f M digests/s\n",
	    FIND, absent, bench_median_ms(times, ROUNDS),
	    FIND / bench_median_ms(times, ROUNDS) / 1e3);
	free(missing);
}

static void
bench_get(struct bench *bench)
{
	struct buffer content;
	int64_t start = clock_monotonic_ns(), open_time;
	struct error err;
	struct blob *blob;

	for (size_t i = 0; i < FIND; i += 2) {
		if (store_open_blob(
			bench->store, &bench->digests[i], &blob, &err) != 1)
			bench_fail(&err);
		blob_free(blob);
	}
	open_time = clock_monotonic_ns() - start;
	buffer_init(&content, BLOB);
	start = clock_monotonic_ns();
	for (size_t i = 0; i < FIND; i += 2) {
		buffer_reset(&content);
		if (store_read(
			bench->store, &bench->digests[i], &content, &err) != 1)
			bench_fail(&err);
	}
	start = clock_monotonic_ns() - start;
	buffer_clear(&content);
	printf("open a blob: %.0f k/s; open, read and check 1 KiB: %.0f k/s\n",
	    FIND / 2 / (double)open_time * 1e6, FIND / 2 / (double)start * 1e6);
}

static void
bench_memory(const char *when)
{
	struct buffer text;
	struct error err;
	const char *line;

	buffer_init(&text, 1 << 16);
	if (file_read_all("/proc/self/status", &text, &err) < 0)
		bench_fail(&err);
	for (size_t i = 0; i < 2; i++) {
		line = strstr(text.data, i == 0 ? "RssAnon" : "RssFile");
		if (line != NULL)
			printf(
			    "%s: %.*s\n", when, (int)strcspn(line, "\n"), line);
	}
	buffer_clear(&text);
}

static void
bench_open(struct bench *bench)
{
	const struct store_options options = {
	    .path = bench->path, .max_size = (uint64_t)1 << 40};
	int64_t start = clock_monotonic_ns();
	struct error err;
	struct store_usage usage;

	bench->store = store_open(&options, &err);
	if (bench->store == NULL)
		bench_fail(&err);
	store_usage(bench->store, &usage);
	printf("open with %" PRIu64 " blobs, %" PRIu64 " MiB: %.2f ms\n",
	    usage.blobs, usage.bytes >> 20,
	    (double)(clock_monotonic_ns() - start) / 1e6);
}

int
main(int argc, char **argv)
{
	static struct bench bench;
	char path[] = "/tmp/toolroot-bench-XXXXXX";
	struct error err;
	int64_t start;
	uint64_t filled;

	setvbuf(stdout, NULL, _IOLBF, 0);
	bench.path = argc > 1 ? argv[1] : mkdtemp(path);
	bench.blobs = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	bench.content = xmalloc(BATCH * BLOB);
	bench_open(&bench);
	bench_open_bare(&bench);
	bench_batches(&bench, 0);
	bench_singles(&bench, (uint64_t)1 << 40);
	bench_actions(&bench);
	start = clock_monotonic_ns();
	for (filled = ROUNDS * BATCH; filled < bench.blobs; filled += BATCH)
		bench_put(&bench, filled);
	printf("filling to %" PRIu64 " blobs: %.0f k/s\n", filled,
	    (double)(filled - ROUNDS * BATCH) * 1e6 /
		(double)(clock_monotonic_ns() - start + 1));
	/* What the index lags behind is measured by the filling. */
	sleep(REST_SECONDS);
	bench_batches(&bench, filled);
	bench_singles(&bench, (uint64_t)1 << 41);
	bench_actions(&bench);
	bench_find(&bench);
	bench_get(&bench);
	bench_memory("after all");
	store_close(bench.store);
	bench_open(&bench);
	bench_memory("opened again");
	bench_find(&bench);
	store_close(bench.store);
	file_close(&bench.bare);
	if (argc < 2 && file_remove_tree(bench.path, &err) < 0)
		bench_fail(&err);
	free(bench.content);
	return 0;
}
