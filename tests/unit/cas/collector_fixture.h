/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the collector share: a wall clock that they move (this
 * program's clock_gettime stands before the C library's), action results made
 * from digests, and collections that fail the test when they fail.
 */
#ifndef TOOLROOT_TESTS_UNIT_CAS_COLLECTOR_FIXTURE_H
#define TOOLROOT_TESTS_UNIT_CAS_COLLECTOR_FIXTURE_H

#include "store_fixture.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/arena.h"
#include "cas/collector.h"
#include "cas/digest_message.h"
#include "cas/index_job.h"

#define MINUTE_MS ((int64_t)60000)
#define HOUR_MS (60 * MINUTE_MS)

static atomic_int_least64_t clock_offset_ms;
static atomic_int_least64_t monotonic_offset_s;

int clock_gettime(clockid_t id, struct timespec *now);

int
clock_gettime(clockid_t id, struct timespec *now)
{
	int64_t offset = atomic_load(&clock_offset_ms);

	if (syscall(SYS_clock_gettime, id, now) != 0)
		return -1;
	if (id == CLOCK_REALTIME) {
		now->tv_sec += offset / 1000;
		now->tv_nsec += offset % 1000 * 1000000;
		if (now->tv_nsec >= 1000000000) {
			now->tv_nsec -= 1000000000;
			now->tv_sec++;
		}
	}
	if (id == CLOCK_MONOTONIC)
		now->tv_sec += atomic_load(&monotonic_offset_s);
	return 0;
}

/* What was written before has its epoch then. */
static inline void
time_passes(struct fixture *fixture, int64_t ms)
{
	struct error err;

	if (index_job_settle(fixture->store, &err) < 0)
		fail_msg("settle: %s", err.text);
	atomic_fetch_add(&clock_offset_ms, ms);
}

static inline struct collector *
open_collector(struct fixture *fixture, int64_t min_age_ms)
{
	const struct collector_options options = {
	    .store = fixture->store, .min_age_ms = min_age_ms};
	struct error err;
	struct collector *collector = collector_new(&options, &err);

	if (collector == NULL)
		fail_msg("collector_new: %s", err.text);
	return collector;
}

/* One collection with a collector of its own. */
static inline struct collection_report
collect(struct fixture *fixture, int64_t min_age_ms,
    const struct collection_wish *wish)
{
	struct collector *collector = open_collector(fixture, min_age_ms);
	struct collection_report report;
	struct error err;

	if (collector_collect(collector, wish, &report, &err) < 0)
		fail_msg("collect: %s", err.text);
	collector_free(collector);
	return report;
}

/* Down to so many bytes. */
static inline struct collection_report
collect_to(struct fixture *fixture, int64_t min_age_ms, uint64_t target)
{
	const struct collection_wish wish = {
	    .run = true, .sized = true, .target_size = target};

	return collect(fixture, min_age_ms, &wish);
}

static inline struct action_key
action_numbered(uint64_t seed)
{
	return (struct action_key){STR("main"), digest_of(seed, 40)};
}

/* A result that names count blobs, with its provenance. */
static inline int
put_action_at(struct store *store, const struct action_key *key,
    const struct digest *blobs, size_t count,
    const struct provenance *provenance, struct error *err)
{
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
	Reapi__OutputFile *files = xcalloc(count + 1, sizeof(*files));
	Reapi__OutputFile **list = xcalloc(count + 1, sizeof(*list));
	Reapi__Digest *digests = xcalloc(count + 1, sizeof(*digests));
	char(*texts)[DIGEST_TEXT_MAX] = xcalloc(count + 1, sizeof(*texts));
	size_t length;
	uint8_t *bytes;
	int rc;

	for (size_t i = 0; i < count; i++) {
		reapi__output_file__init(&files[i]);
		digest_to_message(&blobs[i], texts[i], &digests[i]);
		files[i].path =
		    (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "a"};
		files[i].digest = &digests[i];
		list[i] = &files[i];
	}
	result.output_files = list;
	result.n_output_files = count;
	length = reapi__action_result__get_packed_size(&result);
	bytes = xmalloc(length + 1);
	reapi__action_result__pack(&result, bytes);
	rc = store_put_action(
	    store, key, (struct str){(char *)bytes, length}, provenance, err);
	free(bytes);
	free(texts);
	free(digests);
	free(list);
	free(files);
	return rc;
}

static inline int
put_action_from(struct store *store, uint64_t seed, const struct digest *blobs,
    size_t count, const struct provenance *provenance, struct error *err)
{
	struct action_key key = action_numbered(seed);

	return put_action_at(store, &key, blobs, count, provenance, err);
}

static inline int
put_action_naming(struct store *store, uint64_t seed,
    const struct digest *blobs, size_t count, struct error *err)
{
	return put_action_from(store, seed, blobs, count, NULL, err);
}

static inline bool
has_action_at(struct store *store, const struct action_key *key)
{
	struct arena arena;
	struct str result;
	struct error err = {0};
	int rc;

	arena_init(&arena, 1 << 20);
	rc = store_get_action(store, key, &arena, &result, &err);
	arena_clear(&arena);
	if (rc < 0)
		fail_msg("get_action: %s", err.text);
	return rc == 1;
}

static inline bool
has_action(struct store *store, uint64_t seed)
{
	struct action_key key = action_numbered(seed);

	return has_action_at(store, &key);
}

static inline uint64_t
bytes_of(struct store *store)
{
	struct store_usage usage;

	store_usage(store, &usage);
	return usage.bytes;
}

#endif
