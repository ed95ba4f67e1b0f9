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
#include "base/processors.h"
#include "base/thread.h"
#include "cas/store.h"
#include "executor/history.h"
#include "frontend/explain_job.h"
#include "frontend/explain_pace.h"
#include "frontend/history_store.h"
#include "frontend/request_metadata.h"

/* Bytes of notes that wait, enough for as many actions as the history holds:
 * when the oldest are dropped for new ones, nothing is lost that would be
 * remembered. Hits, which tell less, may take half of it. */
#define WAITING_MAX (24u << 20)
#define CHUNK_SIZE (64u << 10)
/* That are kept for the next notes: memory that the kernel has yet to give
 * costs a note four times its copy. */
#define SPARE_CHUNKS 64
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
	size_t hits; /* of its notes */
	size_t others;
	_Alignas(8) char bytes[CHUNK_SIZE];
};
STAILQ_HEAD(chunk_list, chunk);

struct note {
	uint64_t action_size; /* of the digest */
	uint32_t size; /* with what follows it: hash, instance, metadata */
	uint32_t instance_len;
	uint16_t metadata_len;
	uint8_t function; /* of the digest */
	bool hit;
	bool miss;
	bool result; /* there is one now */
};

struct explainer {
	struct explain_job_tools tools; /* constant; for the thread */
	pthread_t thread;               /* when started */
	bool started;
	atomic_bool stopping;
	atomic_int_least64_t drain_until_ms; /* when stopping */
	atomic_uint_least64_t misses[EXPLAIN_CAUSES];
	atomic_uint_least64_t dropped; /* but hits */
	atomic_uint_least64_t dropped_hits;
	atomic_uint_least64_t noted;     /* that were queued */
	atomic_uint_least64_t explained; /* of them, done, or dropped */
	atomic_uint_least64_t asked;     /* of them, that somebody waits for */
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
	struct chunk_list spare; /* the one used last first */
	size_t spares;
	bool resting; /* the thread waits for a note */
};

/* --- the thread ----------------------------------------------------------- */

static bool
hurries(const struct explainer *explainer)
{
	return atomic_load(&explainer->stopping) ||
	       atomic_load(&explainer->explained) <
		   atomic_load(&explainer->asked);
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

/* The oldest, which is the thread's from then on. NULL: there is none. */
static struct chunk *
take_chunk(struct explainer *explainer)
{
	struct chunk *chunk;

	pthread_mutex_lock(&explainer->lock);
	chunk = STAILQ_FIRST(&explainer->chunks);
	if (chunk != NULL)
		STAILQ_REMOVE_HEAD(&explainer->chunks, link);
	if (chunk == explainer->last)
		explainer->last = NULL;
	pthread_mutex_unlock(&explainer->lock);
	return chunk;
}

static void
give_back(struct explainer *explainer, struct chunk *chunk)
{
	pthread_mutex_lock(&explainer->lock);
	if (explainer->spares < SPARE_CHUNKS) {
		STAILQ_INSERT_HEAD(&explainer->spare, chunk, link);
		explainer->spares++;
		chunk = NULL;
	}
	pthread_mutex_unlock(&explainer->lock);
	free(chunk);
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

static void
count_dropped(struct explainer *explainer, size_t hits, size_t others)
{
	atomic_fetch_add(&explainer->dropped_hits, hits);
	atomic_fetch_add(&explainer->dropped, others);
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
	enum digest_function function = (enum digest_function)note->function;
	size_t hash_len = digest_hash_length(function);
	const char *hash = (const char *)(note + 1);
	const char *instance = hash + hash_len;
	struct explain_job job = {
	    .miss = note->miss,
	    .result = note->result,
	    .instance = {instance, note->instance_len},
	    .action = {.size = note->action_size, .function = function},
	    .metadata = {instance + note->instance_len, note->metadata_len},
	};

	memcpy(job.action.hash, hash, hash_len);

	if (drain_is_over(explainer))
		count_dropped(explainer, note->hit, !note->hit);
	else
		explain_job_run(&explainer->tools, &job);
}

/* The next ones of the chunk; returns where the others begin. */
static size_t
run_some(struct explainer *explainer, const struct chunk *chunk, size_t at)
{
	size_t first = at, count = 0;

	for (; count < LOOK_NOTES && at < chunk->used; count++) {
		const struct note *note = (const void *)(chunk->bytes + at);

		run_note(explainer, note);
		at += note->size;
	}
	note_done(explainer, count, at - first);
	return at;
}

/* Until nothing waits. */
static void
work_off(struct explainer *explainer, struct explain_pace *pace, int schedstat)
{
	struct explain_clocks now;
	struct chunk *chunk;

	while ((chunk = take_chunk(explainer)) != NULL) {
		for (size_t at = 0; at < chunk->used;) {
			int pause;

			explain_clocks_read(schedstat, &now);
			pause = explain_pace_look(pace, &now);
			if (pause > 0 && !hurries(explainer))
				pause_for(explainer, pause);
			else
				at = run_some(explainer, chunk, at);
		}
		give_back(explainer, chunk);
	}
}

static void *
explain_thread(void *argument)
{
	struct explainer *explainer = argument;
	struct explain_clocks now;
	struct explain_pace pace;
	int schedstat = explain_clocks_open();
	bool last;

	/* So that tools tell what it takes. */
	pthread_setname_np(pthread_self(), "explain");
	explain_pace_init(&pace, processors_available());
	do {
		/* Asked first: what came before the end is worked off. */
		last = atomic_load(&explainer->stopping);
		rest(explainer);
		explain_clocks_read(schedstat, &now);
		explain_pace_begin(&pace, &now);
		pause_for(explainer, GATHER_MS);
		work_off(explainer, &pace, schedstat);
	} while (!last);
	if (schedstat >= 0)
		close(schedstat);
	return NULL;
}

/* --- the queue ------------------------------------------------------------
 */

/* Under the lock, as the next two. Makes room for new notes: NULL when nothing
 * but what is being worked off waits. */
static struct chunk *
drop_oldest(struct explainer *explainer)
{
	struct chunk *chunk = STAILQ_FIRST(&explainer->chunks);
	size_t count;

	if (chunk == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&explainer->chunks, link);
	if (chunk == explainer->last)
		explainer->last = NULL;
	count = chunk->hits + chunk->others;
	explainer->waiting -= count;
	explainer->waiting_bytes -= chunk->used;
	count_dropped(explainer, chunk->hits, chunk->others);
	atomic_fetch_add(&explainer->explained, count);
	return chunk;
}

static struct chunk *
add_chunk(struct explainer *explainer)
{
	struct chunk *chunk = STAILQ_FIRST(&explainer->spare);

	if (explainer->waiting_bytes + CHUNK_SIZE > WAITING_MAX) {
		chunk = drop_oldest(explainer);
	} else if (chunk != NULL) {
		STAILQ_REMOVE_HEAD(&explainer->spare, link);
		explainer->spares--;
	} else {
		chunk = xmalloc(sizeof(*chunk));
	}
	if (chunk == NULL)
		return NULL;
	chunk->used = chunk->hits = chunk->others = 0;
	STAILQ_INSERT_TAIL(&explainer->chunks, chunk, link);
	explainer->last = chunk;
	return chunk;
}

/* Where a note of the size goes; NULL: too many wait. */
static struct note *
reserve(struct explainer *explainer, size_t size, bool hit)
{
	struct chunk *chunk = explainer->last;
	struct note *note;

	if (size > CHUNK_SIZE ||
	    (hit && explainer->waiting_bytes + size > WAITING_MAX / 2))
		return NULL;
	if (chunk == NULL || chunk->used + size > CHUNK_SIZE)
		chunk = add_chunk(explainer);
	if (chunk == NULL)
		return NULL;
	note = (void *)(chunk->bytes + chunk->used);
	chunk->used += size;
	if (hit)
		chunk->hits++;
	else
		chunk->others++;
	explainer->waiting_bytes += size;
	explainer->waiting++;
	return note;
}

/* Only as much of the hash as counts: the fewer bytes, the fewer lines of the
 * cache a call takes from the next ones. */
static void
fill(struct note *note, const struct action_key *key, struct str metadata)
{
	size_t hash_len = digest_hash_length(key->action.function);
	char *texts = (char *)(note + 1);

	note->action_size = key->action.size;
	note->function = (uint8_t)key->action.function;
	note->instance_len = (uint32_t)key->instance.len;
	note->metadata_len = (uint16_t)metadata.len;
	memcpy(texts, key->action.hash, hash_len);
	texts += hash_len;
	if (key->instance.len > 0)
		memcpy(texts, key->instance.data, key->instance.len);
	if (metadata.len > 0)
		memcpy(texts + key->instance.len, metadata.data, metadata.len);
}

static size_t
note_size(const struct action_key *key, struct str metadata)
{
	size_t size = sizeof(struct note) +
		      digest_hash_length(key->action.function) +
		      key->instance.len + metadata.len;

	return (size + 7) / 8 * 8;
}

static void
submit(struct explainer *explainer, const struct action_key *key,
    struct str metadata, const struct note *what)
{
	struct note *note;
	size_t size;
	bool wake;

	if (metadata.len > METADATA_MAX)
		metadata.len = 0;
	size = note_size(key, metadata);
	pthread_mutex_lock(&explainer->lock);
	wake = explainer->resting && STAILQ_EMPTY(&explainer->chunks);
	note = reserve(explainer, size, what->hit);
	if (note != NULL) {
		*note = *what;
		note->size = (uint32_t)size;
		fill(note, key, metadata);
		atomic_fetch_add(&explainer->noted, 1);
	}
	pthread_mutex_unlock(&explainer->lock);
	if (note == NULL)
		count_dropped(explainer, what->hit, !what->hit);
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
	struct note note = {.hit = event == EXPLAINER_HIT,
	    .miss = event == EXPLAINER_EXECUTES,
	    .result = event != EXPLAINER_EXECUTES};
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
		note.miss |= take_look_up(explainer, key);
	submit(explainer, key, request_metadata, &note);
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
	STAILQ_INIT(&explainer->spare);
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
	/* What waits was never begun, since the thread was not started. */
	STAILQ_CONCAT(&explainer->spare, &explainer->chunks);
	while ((chunk = STAILQ_FIRST(&explainer->spare)) != NULL) {
		STAILQ_REMOVE_HEAD(&explainer->spare, link);
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
	/* One who saw fewer of them may come later; the next question mends
	 * that. */
	atomic_store(&explainer->asked, *noted);
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
	statistics->dropped_hits = atomic_load(&explainer->dropped_hits);
	statistics->save_failures = atomic_load(&explainer->save_failures);
	statistics->unsaved = history_count_changes(explainer->tools.history);
	pthread_mutex_lock(&explainer->lock);
	statistics->waiting = explainer->waiting;
	pthread_mutex_unlock(&explainer->lock);
}
