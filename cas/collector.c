/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One collection at a time, asked for by a caller or by the thread that watches
 * the high mark.
 */
#include "cas/collector.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/collector_internal.h"
#include "cas/index_job.h"

/* How often the thread looks at the store's size. */
#define WATCH_MS 200
/* Rounds of one collection: what goes leaves holes in segments, and moving what
 * is left takes entries of its own. */
#define ROUNDS_MAX 8

struct collector {
	struct collector_options options;
	atomic_bool stopping;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	bool busy;
	struct collector_statistics statistics;
	struct collection_past past;   /* the lock's */
	struct collection_meter meter; /* no lock's */
};

/* --- one collection ------------------------------------------------------- */

uint64_t
collection_percent(uint64_t bytes, unsigned percent)
{
	return bytes / 100 * percent + bytes % 100 * percent / 100;
}

static int
collection_target(const struct collector *collector,
    const struct collection_wish *wish, const struct collection_extent *extent,
    uint64_t *target, struct error *err)
{
	*target = UINT64_MAX;
	if (wish->sized)
		*target = wish->target_size;
	/* With an age given, the size is not asked about. */
	else if (wish->max_age_ms == 0 && extent->max_bytes > 0)
		*target = collection_percent(
		    extent->max_bytes, collector->options.low_percent);
	else if (wish->max_age_ms == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the instance \"%.*s\" has no quota; say by --max-age, "
		    "--max-size or --free what is to go",
		    wish->instance.len > 200 ? 200 : (int)wish->instance.len,
		    wish->instance.data);
	return 0;
}

static void
collection_set_limit(struct collection *collection)
{
	uint64_t age = (uint64_t)(collection->min_age_ms + 59999) / 60000;

	collection->now = (uint32_t)((uint64_t)clock_wall_ns() / 60000000000u);
	collection->limited_out = age + EPOCH_GRAIN > collection->now;
	if (collection->limited_out)
		return;
	collection->limit = collection->now - (uint32_t)age - EPOCH_GRAIN;
	/* Epochs are multiples of the grain. */
	collection->limit -= collection->limit % EPOCH_GRAIN;
}

static int64_t
collection_age_ms(const struct collection *collection, uint32_t epoch)
{
	if (epoch > collection->now)
		return 0;
	return (int64_t)(collection->now - epoch) * 60000;
}

void
collection_begin(const struct collection *collection,
    enum collection_phase phase, uint64_t total)
{
	struct collection_meter *meter = collection->meter;

	atomic_store(&meter->done, 0);
	atomic_store(&meter->total, total);
	atomic_store(&meter->phase, (unsigned)phase);
}

void
collection_advance(const struct collection *collection, uint64_t steps)
{
	const struct collection_report *report = collection->report;

	atomic_fetch_add(&collection->meter->done, steps);
	atomic_store(&collection->meter->dropped,
	    report->blob_bytes + report->result_bytes);
}

uint64_t
collection_entries(const struct collection *collection)
{
	struct store_usage usage;

	store_usage(collection->store, &usage);
	return usage.blobs + usage.action_results;
}

void
collector_progress(
    struct collector *collector, struct collection_progress *progress)
{
	struct collection_meter *meter = &collector->meter;

	progress->phase = (enum collection_phase)atomic_load(&meter->phase);
	progress->done = atomic_load(&meter->done);
	progress->total = atomic_load(&meter->total);
	progress->dropped_bytes = atomic_load(&meter->dropped);
	/* Entries are counted by the batch, and come and go meanwhile. */
	if (progress->done > progress->total)
		progress->done = progress->total;
}

/* Removes results and blobs. *removed: whether anything went. */
static int
collection_round(struct collection *collection, uint64_t needed, bool *removed,
    struct error *err)
{
	struct collection_report *report = collection->report;
	uint64_t before = report->blobs + report->results;

	if (collection_survey(collection, needed, err) < 0 ||
	    collection_sweep(collection, err) < 0)
		return -1;
	*removed = report->blobs + report->results > before;
	return 0;
}

/* Space in segments is nobody's: who collects one instance leaves it to what is
 * mostly dead. */
static uint64_t
collection_segments_target(const struct collection *collection, uint64_t target)
{
	return collection->wish->instance.data == NULL ? target : UINT64_MAX;
}

static int
collection_run(
    struct collection *collection, uint64_t target, struct error *err)
{
	const struct str instance = collection->wish->instance;
	uint64_t segments = collection_segments_target(collection, target);
	struct collection_extent usage;
	bool removed = true;

	/* What is dead already needs nobody's age. */
	if (collection_reclaim(collection, segments, err) < 0 ||
	    collection_extent(collection->store, instance, &usage, err) < 0)
		return -1;
	for (int round = 0; removed && round < ROUNDS_MAX; round++) {
		uint64_t needed = 0;

		if (usage.bytes > target)
			needed = usage.bytes - target;
		/* What went before was not enough to empty segments. */
		needed <<= round;
		/* After the first round only size is left to be reached. */
		if (round > 0 && needed == 0)
			break;
		if (collection_round(collection, needed, &removed, err) < 0 ||
		    collection_reclaim(collection, segments, err) < 0 ||
		    collection_extent(
			collection->store, instance, &usage, err) < 0)
			return -1;
	}
	collection->report->bytes_after = usage.bytes;
	collection->report->short_of = usage.bytes > target && !removed;
	return 0;
}

static int
collection_plan(
    struct collection *collection, uint64_t target, struct error *err)
{
	struct collection_report *report = collection->report;
	uint64_t dead = 0, needed = 0, gone;
	bool removed;

	if (collection->wish->instance.data == NULL &&
	    collection_dead_bytes(collection, &dead, err) < 0)
		return -1;
	if (report->bytes_before > target)
		needed = report->bytes_before - target;
	needed = needed > dead ? needed - dead : 0;
	if (collection_round(collection, needed, &removed, err) < 0)
		return -1;
	gone = report->blob_bytes + report->result_bytes + dead;
	report->bytes_after =
	    report->bytes_before > gone ? report->bytes_before - gone : 0;
	report->short_of = report->bytes_after > target;
	return 0;
}

static void
collection_conclude(struct collection *collection)
{
	struct collection_report *report = collection->report;

	report->youngest_age_ms = -1;
	if (collection->youngest != 0)
		report->youngest_age_ms =
		    collection_age_ms(collection, collection->youngest);
	report->oldest_age_ms = -1;
	if (collection->oldest != UINT32_MAX)
		report->oldest_age_ms =
		    collection_age_ms(collection, collection->oldest);
}

static int
collector_collect_alone(struct collector *collector,
    const struct collection_wish *wish, struct collection_report *report,
    struct error *err)
{
	struct store *store = collector->options.store;
	struct collection collection = {.store = store,
	    .stopping = &collector->stopping,
	    .meter = &collector->meter,
	    .wish = wish,
	    .report = report,
	    .min_age_ms = collector->options.min_age_ms,
	    .oldest = UINT32_MAX};
	struct collection_extent extent;
	uint64_t target;
	int rc;

	memset(report, 0, sizeof(*report));
	if (collection_find_instance(&collection, err) < 0 ||
	    collection_extent(store, wish->instance, &extent, err) < 0 ||
	    collection_target(collector, wish, &extent, &target, err) < 0)
		return -1;
	report->bytes_before = extent.bytes;
	report->max_bytes = extent.max_bytes;
	report->min_age_ms = collector->options.min_age_ms;
	atomic_store(&collector->meter.dropped, 0);
	collection_begin(&collection, COLLECTION_ROOTS, 0);
	/* The limit first: what roots find from now on is younger. */
	collection_set_limit(&collection);
	keep_init(&collection.keep, store);
	rc = index_job_settle(store, err);
	if (rc == 0)
		rc = collection_roots(&collection, &collector->options, err);
	if (rc == 0)
		rc = wish->run ? collection_run(&collection, target, err)
			       : collection_plan(&collection, target, err);
	keep_clear(&collection.keep);
	collection_classes_clear(&collection);
	collection_advance(&collection, 0);
	collection_begin(&collection, COLLECTION_ENDED, 0);
	if (rc < 0)
		error_prefix(err, "collection");
	else
		collection_conclude(&collection);
	return rc;
}

/* --- taking turns --------------------------------------------------------- */

static void
collector_count(
    struct collector *collector, const struct collection_report *report, int rc)
{
	struct collector_statistics *statistics = &collector->statistics;

	statistics->collections++;
	statistics->failures += rc < 0;
	statistics->blobs += report->blobs;
	statistics->results += report->results;
	statistics->bytes += report->blob_bytes + report->result_bytes;
	statistics->moved_bytes += report->moved_bytes;
	if (rc == 0 && report->youngest_age_ms >= 0)
		statistics->youngest_age_s =
		    (uint64_t)report->youngest_age_ms / 1000;
}

static void
collector_remember(struct collector *collector,
    const struct collection_wish *wish, const struct collection_report *report)
{
	const struct collection_event event = {
	    .time_ns = clock_wall_ns(),
	    .youngest_age_ms = report->youngest_age_ms,
	    .reason = wish->max_age_ms > 0 ? COLLECTION_BY_AGE
		      : wish->sized        ? COLLECTION_BY_WISH
					   : COLLECTION_BY_SIZE,
	};
	struct collection_past past;
	struct error err;

	pthread_mutex_lock(&collector->lock);
	past = collector->past;
	pthread_mutex_unlock(&collector->lock);
	/* One collection at a time: nobody else adds. */
	if (collection_past_add(&past, collector->options.store, &event, &err) <
	    0)
		log_warn("collection_not_remembered", "error=\"%s\"", err.text);
	pthread_mutex_lock(&collector->lock);
	collector->past = past;
	pthread_mutex_unlock(&collector->lock);
}

bool
collector_find_past(struct collector *collector, int64_t used_ns,
    struct collection_event *event)
{
	bool found;

	pthread_mutex_lock(&collector->lock);
	found = collection_past_find(&collector->past, used_ns, event);
	pthread_mutex_unlock(&collector->lock);
	return found;
}

int
collector_collect(struct collector *collector,
    const struct collection_wish *wish, struct collection_report *report,
    struct error *err)
{
	int rc;

	pthread_mutex_lock(&collector->lock);
	while (collector->busy)
		pthread_cond_wait(&collector->changed, &collector->lock);
	collector->busy = true;
	pthread_mutex_unlock(&collector->lock);
	rc = collector_collect_alone(collector, wish, report, err);
	if (rc == 0 && wish->run && report->youngest_age_ms >= 0)
		collector_remember(collector, wish, report);
	pthread_mutex_lock(&collector->lock);
	collector->busy = false;
	if (wish->run)
		collector_count(collector, report, rc);
	pthread_cond_broadcast(&collector->changed);
	pthread_mutex_unlock(&collector->lock);
	return rc;
}

void
collector_statistics(
    struct collector *collector, struct collector_statistics *statistics)
{
	pthread_mutex_lock(&collector->lock);
	*statistics = collector->statistics;
	pthread_mutex_unlock(&collector->lock);
}

/* --- the thread ----------------------------------------------------------- */

/* Sleeps so long, or until the end. */
static void
collector_sleep(struct collector *collector, int64_t ms)
{
	int64_t until_ns = clock_monotonic_ns() + ms * 1000000;

	pthread_mutex_lock(&collector->lock);
	while (!atomic_load(&collector->stopping) &&
	       condition_wait_until(
		   &collector->changed, &collector->lock, until_ns))
		continue;
	pthread_mutex_unlock(&collector->lock);
}

static void *
collector_thread(void *cookie)
{
	struct collector *collector = cookie;
	struct collector_watch *watch;
	struct error err;

	if (collection_remove_strays(collector->options.store, &err) < 0)
		log_error("segment_strays", "error=\"%s\"", err.text);
	watch = collector_watch_new(collector, &collector->options);
	while (!atomic_load(&collector->stopping)) {
		collector_watch_run(watch);
		collector_sleep(collector, WATCH_MS);
	}
	collector_watch_free(watch);
	return NULL;
}

static void
collector_release(struct collector *collector)
{
	pthread_cond_destroy(&collector->changed);
	pthread_mutex_destroy(&collector->lock);
	free(collector);
}

struct collector *
collector_new(const struct collector_options *options, struct error *err)
{
	struct collector *collector;
	int rc;

	if (store_check_writable(options->store, err) < 0)
		return NULL;
	collector = xcalloc(1, sizeof(*collector));
	collector->options = *options;
	if (collector->options.high_percent == 0)
		collector->options.high_percent = COLLECTOR_HIGH_PERCENT;
	if (collector->options.low_percent == 0)
		collector->options.low_percent = COLLECTOR_LOW_PERCENT;
	pthread_mutex_init(&collector->lock, NULL);
	condition_init(&collector->changed);
	collection_past_load(&collector->past, options->store);
	if (!options->watch)
		return collector;
	rc = pthread_create(
	    &collector->thread, NULL, collector_thread, collector);
	if (rc != 0) {
		error_set_errno(err, rc, "start the collector's thread");
		collector_release(collector);
		return NULL;
	}
	collector->started = true;
	return collector;
}

void
collector_stop(struct collector *collector)
{
	pthread_mutex_lock(&collector->lock);
	atomic_store(&collector->stopping, true);
	pthread_cond_broadcast(&collector->changed);
	pthread_mutex_unlock(&collector->lock);
}

void
collector_free(struct collector *collector)
{
	if (collector == NULL)
		return;
	collector_stop(collector);
	pthread_mutex_lock(&collector->lock);
	while (collector->busy)
		pthread_cond_wait(&collector->changed, &collector->lock);
	pthread_mutex_unlock(&collector->lock);
	if (collector->started)
		pthread_join(collector->thread, NULL);
	collector_release(collector);
}
