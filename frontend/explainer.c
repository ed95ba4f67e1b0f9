/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of notes that one thread works off, many at a time and in the order
 * in which they came: that an action's result was stored is then never seen
 * before its miss.
 */
#include "frontend/explainer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cas/store.h"
#include "executor/history.h"
#include "frontend/explain_job.h"
#include "frontend/explain_pace.h"
#include "frontend/history_store.h"
#include "frontend/request_metadata.h"

/* Bytes of notes that wait; hits, which tell less, may take half of it. */
#define WAITING_MAX (16u << 20)
#define CHUNK_SIZE (64u << 10)
#define HISTORY_ENTRIES 50000
#define HISTORY_BYTES (64u << 20)
#define METADATA_MAX 8192
/* Powers of two; one 8-byte word each. */
#define RECENT_SLOTS 16384u
/* How long the first of many waits for the others: the thread wakes up once
 * for all of them. */
#define GATHER_MS 100
/* Notes between two looks at the clocks. */
#define LOOK_NOTES 16
/* How long a question makes the thread hurry. */
#define HURRY_MS 1000
/* What may be explained at the end. */
#define DRAIN_MS 2000

static const struct metric_definition by_toolchain_definition = {
    .name = "toolroot_action_misses_by_toolchain_total",
    .help = "The same by the name of the action's toolchain: none (it asks "
	    "for no tree), unnamed (no name stands for its trees), or other "
	    "(too many names).",
    .type = METRIC_COUNTER,
    .labels = {"toolchain", "cause"},
    .max_series = 500,
};

/* Notes one behind the other, so that one costs hardly more than its copy. */
struct chunk {
	STAILQ_ENTRY(chunk) link;
	size_t used;
	_Alignas(8) char bytes[CHUNK_SIZE];
};
STAILQ_HEAD(chunk_list, chunk);

struct note {
	uint32_t size; /* with what follows it: instance, metadata */
	uint32_t instance_len;
	uint32_t metadata_len;
	bool miss;
	bool result; /* there is one now */
	struct digest action;
};

struct explainer {
	struct explain_job_tools tools; /* constant; for the thread */
	pthread_t thread;               /* when started */
	bool started;
	atomic_bool stopping;
	atomic_int_least64_t drain_until_ms; /* when stopping */
	atomic_uint_least64_t misses[EXPLAIN_CAUSES];
	atomic_uint_least64_t dropped;
	atomic_uint_least64_t noted;     /* that were queued */
	atomic_uint_least64_t explained; /* of them, done */
	atomic_int_least64_t hurry_until_ms;
	/* Fingerprints of actions that were looked for in vain. One that is
	 * overwritten is no miss. */
	_Atomic uint64_t look_ups[RECENT_SLOTS];

	pthread_mutex_t saving; /* one thread saves at a time */
	bool save_fails;        /* at the last time; under saving */
	atomic_uint_least64_t save_failures;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;  /* the thread: a note, a question, the end */
	struct chunk_list chunks;
	struct chunk *last; /* of them; NULL when there is none */
	size_t waiting;     /* what is being worked off counts too */
	size_t waiting_bytes;
	bool resting; /* the thread waits for a note */
};

/* --- the thread ----------------------------------------------------------- */

static bool
hurries(const struct explainer *explainer)
{
	return atomic_load(&explainer->stopping) ||
	       clock_monotonic_ms() < atomic_load(&explainer->hurry_until_ms);
}

/* Unless there is a question, or it is the end. */
static void
pause_for(struct explainer *explainer, int ms)
{
	int64_t until_ns = clock_monotonic_ns() + (int64_t)ms * 1000000;

	pthread_mutex_lock(&explainer->lock);
	while (!hurries(explainer) && condition_wait_until(&explainer->wake,
					  &explainer->lock, until_ns))
		continue;
	pthread_mutex_unlock(&explainer->lock);
}

static void
rest(struct explainer *explainer)
{
	pthread_mutex_lock(&explainer->lock);
	explainer->resting = true;
	while (STAILQ_EMPTY(&explainer->chunks) &&
	       !atomic_load(&explainer->stopping))
		pthread_cond_wait(&explainer->wake, &explainer->lock);
	explainer->resting = false;
	pthread_mutex_unlock(&explainer->lock);
}

/* What is being worked off. */
struct work {
	struct chunk_list chunks;
	size_t at; /* in the first */
};

/* False: there is none. */
static bool
take_chunks(struct explainer *explainer, struct work *work)
{
	work->at = 0;
	STAILQ_INIT(&work->chunks);
	pthread_mutex_lock(&explainer->lock);
	STAILQ_CONCAT(&work->chunks, &explainer->chunks);
	explainer->last = NULL;
	pthread_mutex_unlock(&explainer->lock);
	return !STAILQ_EMPTY(&work->chunks);
}

/* Some are done. */
static void
note_done(struct explainer *explainer, size_t count, size_t bytes)
{
	pthread_mutex_lock(&explainer->lock);
	explainer->waiting -= count;
	explainer->waiting_bytes -= bytes;
	pthread_mutex_unlock(&explainer->lock);
	atomic_fetch_add(&explainer->explained, count);
}

static bool
drain_is_over(const struct explainer *explainer)
{
	return atomic_load(&explainer->stopping) &&
	       clock_monotonic_ms() >= atomic_load(&explainer->drain_until_ms);
}

static void
run_note(struct explainer *explainer, const struct note *note)
{
	const char *texts = (const char *)(note + 1);
	const struct explain_job job = {
	    .miss = note->miss,
	    .result = note->result,
	    .instance = {texts, note->instance_len},
	    .action = note->action,
	    .metadata = {texts + note->instance_len, note->metadata_len},
	};

	if (drain_is_over(explainer))
		atomic_fetch_add(&explainer->dropped, 1);
	else
		explain_job_run(&explainer->tools, &job);
}

/* The next ones of the first chunk. */
static void
run_some(struct explainer *explainer, struct work *work)
{
	struct chunk *chunk = STAILQ_FIRST(&work->chunks);
	size_t first = work->at, count = 0;

	for (; count < LOOK_NOTES && work->at < chunk->used; count++) {
		const struct note *note =
		    (const void *)(chunk->bytes + work->at);

		run_note(explainer, note);
		work->at += note->size;
	}
	note_done(explainer, count, work->at - first);
	if (work->at < chunk->used)
		return;
	STAILQ_REMOVE_HEAD(&work->chunks, link);
	work->at = 0;
	free(chunk);
}

/* Until nothing waits. */
static void
work_off(struct explainer *explainer, struct explain_pace *pace)
{
	struct explain_clocks now;
	struct work work;

	while (take_chunks(explainer, &work)) {
		while (!STAILQ_EMPTY(&work.chunks)) {
			int pause;

			explain_clocks_read(&now);
			pause = explain_pace_look(pace, &now);
			if (pause > 0 && !hurries(explainer))
				pause_for(explainer, pause);
			else
				run_some(explainer, &work);
		}
	}
}

static void *
explain_thread(void *argument)
{
	struct explainer *explainer = argument;
	struct explain_clocks now;
	struct explain_pace pace;
	bool last;

	/* So that tools tell what it takes. */
	pthread_setname_np(pthread_self(), "explain");
	explain_pace_init(&pace, sysconf(_SC_NPROCESSORS_ONLN));
	do {
		/* Asked first: what came before the end is worked off. */
		last = atomic_load(&explainer->stopping);
		rest(explainer);
		explain_clocks_read(&now);
		explain_pace_begin(&pace, &now);
		pause_for(explainer, GATHER_MS);
		work_off(explainer, &pace);
	} while (!last);
	return NULL;
}

/* --- the queue ------------------------------------------------------------
 */

/* Where a note of the size goes; NULL: too many wait. Under the lock. */
static struct note *
reserve(struct explainer *explainer, size_t size, size_t limit)
{
	struct chunk *chunk = explainer->last;
	struct note *note;

	if (size > CHUNK_SIZE || explainer->waiting_bytes + size > limit)
		return NULL;
	if (chunk == NULL || chunk->used + size > CHUNK_SIZE) {
		chunk = xmalloc(sizeof(*chunk));
		chunk->used = 0;
		STAILQ_INSERT_TAIL(&explainer->chunks, chunk, link);
		explainer->last = chunk;
	}
	note = (void *)(chunk->bytes + chunk->used);
	chunk->used += size;
	explainer->waiting_bytes += size;
	explainer->waiting++;
	return note;
}

static void
fill(struct note *note, const struct action_key *key, struct str metadata)
{
	char *texts = (char *)(note + 1);

	note->instance_len = (uint32_t)key->instance.len;
	note->metadata_len = (uint32_t)metadata.len;
	note->action = key->action;
	if (key->instance.len > 0)
		memcpy(texts, key->instance.data, key->instance.len);
	if (metadata.len > 0)
		memcpy(texts + key->instance.len, metadata.data, metadata.len);
}

static void
submit(struct explainer *explainer, const struct action_key *key,
    struct str metadata, bool miss, bool result, size_t limit)
{
	struct note *note;
	size_t size;
	bool wake;

	if (metadata.len > METADATA_MAX)
		metadata.len = 0;
	size = (sizeof(*note) + key->instance.len + metadata.len + 7) / 8 * 8;
	pthread_mutex_lock(&explainer->lock);
	wake = explainer->resting && STAILQ_EMPTY(&explainer->chunks);
	note = reserve(explainer, size, limit);
	if (note != NULL) {
		note->size = (uint32_t)size;
		note->miss = miss;
		note->result = result;
		fill(note, key, metadata);
		atomic_fetch_add(&explainer->noted, 1);
	}
	pthread_mutex_unlock(&explainer->lock);
	if (note == NULL)
		atomic_fetch_add(&explainer->dropped, 1);
	else if (wake)
		pthread_cond_signal(&explainer->wake);
}

/* --- noting ---------------------------------------------------------------
 */

/* The hash is random enough; never 0, which stands for none. */
static uint64_t
fingerprint(const struct action_key *key)
{
	/* FNV-1a, as nothing hangs on a collision but a note. */
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint64_t digest;

	for (size_t i = 0; i < key->instance.len; i++)
		hash = (hash ^ (uint8_t)key->instance.data[i]) *
		       UINT64_C(0x100000001b3);
	memcpy(&digest, key->action.hash, sizeof(digest));
	return (hash ^ digest) | 1;
}

/* Whether it was looked for in vain since this was asked last. */
static bool
take_look_up(struct explainer *explainer, const struct action_key *key)
{
	uint64_t print = fingerprint(key);

	return atomic_compare_exchange_strong(
	    &explainer->look_ups[print / 2 % RECENT_SLOTS], &print, 0);
}

void
explainer_note(struct explainer *explainer, enum explainer_event event,
    const struct action_key *key, struct str request_metadata)
{
	bool miss = event == EXPLAINER_EXECUTES;
	uint64_t print;

	if (explainer == NULL)
		return;
	if (event == EXPLAINER_NO_RESULT) {
		print = fingerprint(key);
		atomic_store_explicit(
		    &explainer->look_ups[print / 2 % RECENT_SLOTS], print,
		    memory_order_relaxed);
		return;
	}
	if (event == EXPLAINER_UPDATED || event == EXPLAINER_EXECUTES)
		miss |= take_look_up(explainer, key);
	submit(explainer, key, request_metadata, miss,
	    event != EXPLAINER_EXECUTES,
	    event == EXPLAINER_HIT ? WAITING_MAX / 2 : WAITING_MAX);
}

/* --- keeping --------------------------------------------------------------
 */

/* Told when it begins to fail and when it is well again, not each time. */
static void
tell_saving(struct explainer *explainer, bool fails, const struct error *err)
{
	if (fails)
		atomic_fetch_add(&explainer->save_failures, 1);
	if (fails && !explainer->save_fails)
		log_warn("history_not_saved",
		    "error=\"%s\" changes=%zu remedy=\"kept in memory and "
		    "tried again\"",
		    err->text, history_count_changes(explainer->tools.history));
	else if (explainer->save_fails && !fails)
		log_info("history_saved", "remedy=\"none needed\"");
	explainer->save_fails = fails;
}

void
explainer_save(struct explainer *explainer)
{
	struct error err;
	int rc;

	if (explainer == NULL)
		return;
	/* The exception to "no lock across I/O": it is there for this alone. */
	pthread_mutex_lock(&explainer->saving);
	rc = history_store_save(
	    explainer->tools.store, explainer->tools.history, &err);
	tell_saving(explainer, rc < 0, &err);
	pthread_mutex_unlock(&explainer->saving);
}

/* --- life -----------------------------------------------------------------
 */

static void
locks_init(struct explainer *explainer)
{
	pthread_mutex_init(&explainer->saving, NULL);
	pthread_mutex_init(&explainer->lock, NULL);
	condition_init(&explainer->wake);
}

struct explainer *
explainer_new(struct store *store, struct metrics *metrics)
{
	const struct history_limits limits = {HISTORY_ENTRIES, HISTORY_BYTES};
	struct explainer *explainer = xcalloc(1, sizeof(*explainer));
	struct error err;

	explainer->tools = (struct explain_job_tools){
	    .store = store,
	    .history = history_new(&limits),
	    .by_toolchain = metrics_register(metrics, &by_toolchain_definition),
	    .misses = explainer->misses,
	};
	if (history_store_load(store, explainer->tools.history, &err) < 0)
		log_warn("history_not_loaded", "error=\"%s\"", err.text);
	/* So that rates are right from the first miss on. */
	for (int i = 0; i < EXPLAIN_CAUSES; i++)
		(void)metric_series(explainer->tools.by_toolchain,
		    (const char *[]){
			"none", explain_cause_name((enum explain_cause)i)});
	locks_init(explainer);
	STAILQ_INIT(&explainer->chunks);
	return explainer;
}

void
explainer_start(struct explainer *explainer, struct collector *collector)
{
	if (explainer == NULL)
		return;
	explainer->tools.collector = collector;
	thread_start(&explainer->thread, explain_thread, explainer);
	explainer->started = true;
}

static void
wake_up(struct explainer *explainer)
{
	pthread_mutex_lock(&explainer->lock);
	pthread_cond_broadcast(&explainer->wake);
	pthread_mutex_unlock(&explainer->lock);
}

/* The thread has worked off what waits when it ends. */
static void
drain(struct explainer *explainer)
{
	uint64_t before = atomic_load(&explainer->dropped), lost;

	atomic_store(
	    &explainer->drain_until_ms, clock_monotonic_ms() + DRAIN_MS);
	atomic_store(&explainer->stopping, true);
	wake_up(explainer);
	if (explainer->started)
		pthread_join(explainer->thread, NULL);
	lost = atomic_load(&explainer->dropped) - before;
	if (lost > 0)
		log_warn("misses_not_explained",
		    "notes=%" PRIu64 " remedy=\"the server was stopped while "
		    "they waited; later builds may see these actions as new\"",
		    lost);
}

void
explainer_free(struct explainer *explainer)
{
	struct chunk *chunk;

	if (explainer == NULL)
		return;
	drain(explainer);
	/* The thread was never started. */
	while ((chunk = STAILQ_FIRST(&explainer->chunks)) != NULL) {
		STAILQ_REMOVE_HEAD(&explainer->chunks, link);
		free(chunk);
	}
	explainer_save(explainer);
	history_free(explainer->tools.history);
	pthread_cond_destroy(&explainer->wake);
	pthread_mutex_destroy(&explainer->saving);
	pthread_mutex_destroy(&explainer->lock);
	free(explainer);
}

struct history *
explainer_history(struct explainer *explainer)
{
	return explainer != NULL ? explainer->tools.history : NULL;
}

void
explainer_progress(
    struct explainer *explainer, uint64_t *noted, uint64_t *explained)
{
	/* In this order: explained is never the greater. */
	*explained = atomic_load(&explainer->explained);
	*noted = atomic_load(&explainer->noted);
	if (*explained == *noted)
		return;
	atomic_store(
	    &explainer->hurry_until_ms, clock_monotonic_ms() + HURRY_MS);
	wake_up(explainer);
}

void
explainer_statistics(
    struct explainer *explainer, struct explainer_statistics *statistics)
{
	if (explainer == NULL)
		return;
	for (size_t i = 0; i < EXPLAIN_CAUSES; i++)
		statistics->misses[i] = atomic_load(&explainer->misses[i]);
	statistics->dropped = atomic_load(&explainer->dropped);
	statistics->save_failures = atomic_load(&explainer->save_failures);
	statistics->unsaved = history_count_changes(explainer->tools.history);
	pthread_mutex_lock(&explainer->lock);
	statistics->waiting = explainer->waiting;
	pthread_mutex_unlock(&explainer->lock);
}
