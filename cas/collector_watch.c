/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the collector's thread does: it looks at the store and at each instance
 * that has a quota, and collects where use is above the high mark or a write
 * was refused. The store comes first, and again before each instance. What
 * could not be relieved is left alone for a while, by itself, and for longer as
 * long as its use does not change, so that instances at their quotas keep
 * nobody from room; until a pin or a toolchain's name goes. One thread.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/collector_internal.h"
#include "cas/owners.h"

/* After a collection that could not reach its target, or failed. */
#define BACK_OFF_MS 30000
/* And again, if nothing has changed: each time twice as long, up to the grain
 * of ages, within which nothing grows older. */
#define BACK_OFF_MAX_MS ((int64_t)EPOCH_GRAIN * 60000)

/* Since when nothing is tried, and for how long; monotonic, ms. */
struct watch_pause {
	int64_t since;
	int64_t ms;      /* 0: it does not pause */
	uint64_t bytes;  /* in use then */
	uint64_t let_go; /* store.let_go then */
};

struct watch_pauses {
	struct watch_pause refused; /* what was refused does not fit */
	struct watch_pause all;
};

struct collector_watch {
	struct collector *collector;
	const struct collector_options *options;
	struct watch_pauses *pauses; /* by owner; the first is the store's */
	size_t count;
};

/* The store, or an instance with a quota. */
struct watched {
	uint16_t owner;      /* 0: the store */
	struct str instance; /* data NULL: the store */
	uint64_t bytes;
	uint64_t limit;
};

struct collector_watch *
collector_watch_new(
    struct collector *collector, const struct collector_options *options)
{
	struct collector_watch *watch = xcalloc(1, sizeof(*watch));

	watch->collector = collector;
	watch->options = options;
	return watch;
}

void
collector_watch_free(struct collector_watch *watch)
{
	if (watch == NULL)
		return;
	free(watch->pauses);
	free(watch);
}

static struct watch_pauses *
watch_pauses(struct collector_watch *watch, uint16_t owner)
{
	watch->pauses =
	    xgrow(watch->pauses, &watch->count, owner, sizeof(*watch->pauses));
	return &watch->pauses[owner];
}

static uint64_t
watch_let_go(const struct collector_watch *watch)
{
	return atomic_load(&watch->options->store->let_go);
}

static bool
watch_pause_lasts(const struct collector_watch *watch,
    const struct watch_pause *pause, uint64_t bytes)
{
	int64_t ms = pause->ms;

	if (pause->let_go != watch_let_go(watch))
		return false;
	if (ms > BACK_OFF_MS && bytes != pause->bytes)
		ms = BACK_OFF_MS;
	return ms > 0 && clock_monotonic_ms() < pause->since + ms;
}

static void
watch_pause_begin(struct watch_pause *pause, uint64_t bytes, uint64_t let_go)
{
	int64_t ms = BACK_OFF_MS;

	if (pause->ms > 0 && bytes == pause->bytes)
		ms = 2 * pause->ms < BACK_OFF_MAX_MS ? 2 * pause->ms
						     : BACK_OFF_MAX_MS;
	*pause = (struct watch_pause){clock_monotonic_ms(), ms, bytes, let_go};
}

static uint64_t
watch_low(const struct collector_watch *watch, const struct watched *watched)
{
	return collection_percent(watched->limit, watch->options->low_percent);
}

/* Tells refused writes why, if it fell short. */
static void
watch_note(struct collector_watch *watch, const struct watched *watched,
    const struct collection_report *report)
{
	const struct shortage shortage = {
	    report->short_of ? report->min_age_ms : -1, report->oldest_age_ms,
	    report->floor_bytes};

	store_set_shortage(watch->options->store, watched->owner, &shortage);
}

static int
watch_collect(struct collector_watch *watch, const struct collection_wish *wish,
    struct collection_report *report)
{
	struct error err;
	int rc = collector_collect(watch->collector, wish, report, &err);

	if (rc < 0 && err.code != ERROR_ABORTED)
		log_error("collection_failed", "error=\"%s\"", err.text);
	return rc;
}

/* Sets the wish so that a write that was refused fits. False when no write was,
 * or when all that may go would not be enough: then nothing goes in vain. */
static bool
watch_wants_room(struct collector_watch *watch, const struct watched *watched,
    struct collection_wish *wish)
{
	struct watch_pause *pause =
	    &watch_pauses(watch, watched->owner)->refused;
	struct collection_wish plan = {
	    .sized = true, .instance = watched->instance};
	/* Before the collection: what goes meanwhile it may not have seen. */
	uint64_t let_go = watch_let_go(watch);
	struct collection_report report;
	uint64_t room;

	if (watch_pause_lasts(watch, pause, watched->bytes) ||
	    !store_take_refused(watch->options->store, watched->owner, &room) ||
	    room > watched->limit)
		return false;
	plan.target_size = watched->limit - room;
	if (plan.target_size > watch_low(watch, watched))
		plan.target_size = watch_low(watch, watched);
	/* It fits by now, or only open uploads are in its way. */
	if (watched->bytes <= plan.target_size)
		return false;
	if (watch_collect(watch, &plan, &report) < 0)
		return false;
	if (report.short_of) {
		watch_note(watch, watched, &report);
		watch_pause_begin(pause, watched->bytes, let_go);
		return false;
	}
	pause->ms = 0;
	*wish = plan;
	wish->run = true;
	return true;
}

static bool
watch_above_high(
    const struct collector_watch *watch, const struct watched *watched)
{
	return watched->bytes >
	       collection_percent(watched->limit, watch->options->high_percent);
}

static void
watch_log(const struct watched *watched, const struct collection_report *report)
{
	struct str name = watched->instance;

	if (name.len > 200)
		name.len = 200;
	log_info("collection",
	    "%s%.*s%sbefore=%" PRIu64 " after=%" PRIu64 " blobs=%" PRIu64
	    " results=%" PRIu64 " moved=%" PRIu64 " youngest_age_s=%" PRId64,
	    name.data != NULL ? "instance=\"" : "", (int)name.len,
	    name.data != NULL ? name.data : "", name.data != NULL ? "\" " : "",
	    report->bytes_before, report->bytes_after, report->blobs,
	    report->results, report->moved_bytes,
	    report->youngest_age_ms < 0 ? -1 : report->youngest_age_ms / 1000);
	if (report->short_of)
		log_warn("collection_short",
		    "after=%" PRIu64 " limit=%" PRIu64 " reason=\"all else is "
		    "younger than min-age, pinned or kept by floors; raise "
		    "%s\"",
		    report->bytes_after, report->max_bytes,
		    name.data != NULL ? "the instance-quota" : "--max-size");
}

static void
watch_relieve(struct collector_watch *watch, const struct watched *watched)
{
	struct watch_pause *pause = &watch_pauses(watch, watched->owner)->all;
	struct collection_wish wish = {
	    .run = true, .instance = watched->instance};
	uint64_t let_go = watch_let_go(watch);
	struct collection_report report;

	if (watch_pause_lasts(watch, pause, watched->bytes))
		return;
	/* A write that did not fit says more than the mark. */
	if (!watch_wants_room(watch, watched, &wish) &&
	    !watch_above_high(watch, watched))
		return;
	if (watch_collect(watch, &wish, &report) < 0) {
		watch_pause_begin(pause, watched->bytes, let_go);
		return;
	}
	watch_note(watch, watched, &report);
	watch_log(watched, &report);
	if (report.short_of)
		watch_pause_begin(pause, report.bytes_after, let_go);
	else
		pause->ms = 0;
}

static void
watch_store(struct collector_watch *watch)
{
	struct watched watched = {.owner = 0};
	struct collection_extent extent;
	struct error err;

	/* Fails for instances alone. */
	if (collection_extent(
		watch->options->store, watched.instance, &extent, &err) < 0)
		return;
	watched.bytes = extent.bytes;
	watched.limit = extent.max_bytes;
	watch_relieve(watch, &watched);
}

static void
watch_owners(struct collector_watch *watch)
{
	struct owner_list owners;
	struct error err;

	if (store_owners(watch->options->store, &owners, &err) < 0) {
		log_error("collection_failed", "error=\"%s\"", err.text);
		return;
	}
	for (size_t i = 0; i < owners.count; i++) {
		const struct owner_report *owner = &owners.items[i];
		const struct watched watched = {owner->number, owner->instance,
		    store_collected_use(
			owner->bytes, owner->uploading, owner->quota),
		    owner->quota};

		if (!owner->named || owner->quota == 0)
			continue;
		watch_store(watch);
		watch_relieve(watch, &watched);
	}
	owner_list_clear(&owners);
}

void
collector_watch_run(struct collector_watch *watch)
{
	watch_store(watch);
	if (store_has_quotas(watch->options->store))
		watch_owners(watch);
}
