/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that works off notes (frontend/note_queue.h), many at a time: what
 * came first is looked at first, so that an action's result is never seen
 * before its miss.
 */
#include "frontend/explainer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "base/processors.h"
#include "base/settings.h"
#include "base/thread.h"
#include "cas/store.h"
#include "executor/history.h"
#include "frontend/action_marks.h"
#include "frontend/explain_job.h"
#include "frontend/explain_pace.h"
#include "frontend/history_store.h"
#include "frontend/note.h"
#include "frontend/note_queue.h"
#include "frontend/request_metadata.h"

/* Bytes of notes that wait, enough for as many actions as the history holds:
 * when the oldest are dropped for new ones, nothing is lost that would be
 * remembered. Hits, which tell less, may take half of it. */
#define WAITING_MAX (24u << 20)
#define HISTORY_ENTRIES 50000
#define HISTORY_BYTES (64u << 20)
/* Powers of two. */
#define LOOK_UP_MARKS 16384u
#define KNOWN_MARKS 131072u
/* How long the first of many waits for the others: the thread wakes up once
 * for all of them. */
#define GATHER_MS 100
/* Without a note; then it looks whether there is one all the same. */
#define REST_MS 1000
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

struct explainer {
	/* What each hit reads; seldom written. */
	struct note_queue *queue;
	struct setting_list left_out; /* instances; constant once started */
	/* What the history has. Hits of an action that it has forgotten are
	 * lost while its mark is there, which the first of them takes when its
	 * turn comes; the next is told again. */
	struct action_marks known;
	struct action_marks_secret secret; /* constant */
	atomic_bool resting;               /* the thread waits for a note */
	char apart[64];

	struct explain_job_tools tools; /* constant; for the thread */
	pthread_t thread;               /* when started */
	bool started;
	atomic_bool stopping;
	atomic_int_least64_t drain_until_ms; /* when stopping */
	atomic_uint_least64_t misses[EXPLAIN_CAUSES];
	/* That were not looked at before the end; hits also of actions that the
	 * history had forgotten. */
	atomic_uint_least64_t lost;
	atomic_uint_least64_t lost_hits;
	atomic_uint_least64_t asked; /* notes that somebody waits for */
	/* What was looked for in vain. One that is forgotten is no miss. */
	struct action_marks look_ups;

	pthread_mutex_t saving; /* one thread saves at a time */
	bool save_fails;        /* at the last time; under saving */
	atomic_uint_least64_t save_failures;

	pthread_mutex_t lock; /* for waiting alone */
	pthread_cond_t wake;  /* the thread: a note, a question, the end */
};

/* --- the thread ----------------------------------------------------------- */

static bool
hurries(const struct explainer *explainer)
{
	struct note_counts counts;

	if (atomic_load(&explainer->stopping))
		return true;
	note_queue_count(explainer->queue, &counts);
	return counts.done < atomic_load(&explainer->asked);
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

/* There may be something to do. */
static bool
is_due(const struct explainer *explainer)
{
	struct note_counts counts;

	note_queue_count(explainer->queue, &counts);
	return counts.done < counts.noted || atomic_load(&explainer->stopping);
}

static void
rest(struct explainer *explainer)
{
	pthread_mutex_lock(&explainer->lock);
	/* First: whoever notes what is not seen now sees that. */
	atomic_store(&explainer->resting, true);
	while (!is_due(explainer)) {
		condition_wait_for(&explainer->wake, &explainer->lock, REST_MS);
		atomic_store(&explainer->resting, true);
	}
	atomic_store(&explainer->resting, false);
	pthread_mutex_unlock(&explainer->lock);
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
	struct explain_job job = {.miss = note->miss,
	    .result = note->result,
	    .known = note->hit == A_KNOWN_HIT};
	struct action_key key;
	uint64_t mark;

	if (drain_is_over(explainer)) {
		atomic_fetch_add(note->hit != NOT_A_HIT ? &explainer->lost_hits
							: &explainer->lost,
		    1);
		return;
	}
	note_read(note, &key, &job.texts);
	job.instance = key.instance;
	job.action = key.action;
	mark = action_mark(&explainer->secret, &key);
	if (explain_job_run(&explainer->tools, &job)) {
		action_marks_put(&explainer->known, mark);
		return;
	}
	(void)action_marks_take(&explainer->known, mark);
	atomic_fetch_add(&explainer->lost_hits, 1);
}

/* The next ones. False: none waits any more. */
static bool
run_some(struct explainer *explainer)
{
	const struct note *note;
	size_t count = 0;

	while (count < LOOK_NOTES &&
	       (note = note_queue_next(explainer->queue)) != NULL) {
		run_note(explainer, note);
		count++;
	}
	note_queue_done(explainer->queue, count);
	return count == LOOK_NOTES;
}

static void
work_off(struct explainer *explainer, struct explain_pace *pace, int schedstat)
{
	struct explain_clocks now;
	bool more = true;

	while (more) {
		int pause;

		explain_clocks_read(schedstat, &now);
		pause = explain_pace_look(pace, &now);
		if (pause > 0 && !hurries(explainer))
			pause_for(explainer, pause);
		else
			more = run_some(explainer);
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

/* --- noting --------------------------------------------------------------- */

/* One of all who see it rest. */
static __attribute__((noinline)) void
wake_resting(struct explainer *explainer)
{
	if (!atomic_exchange(&explainer->resting, false))
		return;
	pthread_mutex_lock(&explainer->lock);
	pthread_cond_signal(&explainer->wake);
	pthread_mutex_unlock(&explainer->lock);
}

static void
read_texts(struct str request_metadata, struct note_texts *texts)
{
	struct request_metadata metadata;

	request_metadata_parse(request_metadata, &metadata);
	*texts = (struct note_texts){.invocation = metadata.tool_invocation_id,
	    .mnemonic = metadata.action_mnemonic,
	    .target = metadata.target_id};
}

/* Of an action that is not remembered, or of a new build. Apart from what runs
 * at all other hits. */
static __attribute__((noinline)) void
note_new_hit(struct explainer *explainer, const struct action_key *key,
    bool known, struct str request_metadata)
{
	const struct note note = {
	    .result = true, .hit = known ? A_KNOWN_HIT : A_HIT};
	struct note_texts texts;

	read_texts(request_metadata, &texts);
	if (known)
		texts.mnemonic = texts.target = STR("");
	note_queue_add_hit(explainer->queue, &note, key, &texts);
}

bool
explainer_leaves_out(const struct explainer *explainer, struct str instance)
{
	return setting_list_has(&explainer->left_out, instance);
}

uint64_t
explainer_expect(
    const struct explainer *explainer, const struct action_key *key)
{
	uint64_t mark;

	if (explainer == NULL || explainer_leaves_out(explainer, key->instance))
		return 0;
	mark = action_mark(&explainer->secret, key);
	action_marks_expect(&explainer->known, mark);
	return mark;
}

/* Whether the thread rests is asked without a fence, which would cost more than
 * the note. So one that comes in the moment in which the thread goes to rest
 * may be seen by neither; then the next one is, or REST_MS pass. Nobody waits
 * for hits but those who ask. */
void
explainer_note_hit(struct explainer *explainer, const struct action_key *key,
    uint64_t expected, struct str request_metadata)
{
	bool known;

	if (expected == 0)
		return;
	known = action_marks_has(&explainer->known, expected);
	if (!known || !note_queue_add_known(explainer->queue, key,
			  request_metadata_invocation(request_metadata)))
		note_new_hit(explainer, key, known, request_metadata);
	if (atomic_load_explicit(&explainer->resting, memory_order_relaxed))
		wake_resting(explainer);
}

void
explainer_note(struct explainer *explainer, enum explainer_event event,
    const struct action_key *key, struct str request_metadata)
{
	struct note note = {.miss = event == EXPLAINER_EXECUTES,
	    .result = event != EXPLAINER_EXECUTES};
	struct note_texts texts;
	uint64_t mark = explainer_expect(explainer, key);

	if (mark == 0)
		return;
	if (event == EXPLAINER_NO_RESULT) {
		action_marks_put(&explainer->look_ups, mark);
		return;
	}
	if (event == EXPLAINER_HIT) {
		explainer_note_hit(explainer, key, mark, request_metadata);
		return;
	}
	if (event == EXPLAINER_UPDATED || event == EXPLAINER_EXECUTES)
		note.miss |= action_marks_take(&explainer->look_ups, mark);
	read_texts(request_metadata, &texts);
	note_queue_add(explainer->queue, &note, key, &texts);
	if (atomic_load(&explainer->resting))
		wake_resting(explainer);
}

/* --- keeping -------------------------------------------------------------- */

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

/* --- life ----------------------------------------------------------------- */

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
	explainer->queue = note_queue_new(WAITING_MAX);
	action_marks_secret_init(&explainer->secret);
	action_marks_init(&explainer->known, KNOWN_MARKS);
	action_marks_init(&explainer->look_ups, LOOK_UP_MARKS);
	return explainer;
}

void
explainer_leave_out(
    struct explainer *explainer, const struct setting_list *instances)
{
	explainer->left_out = *instances;
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
	uint64_t lost;

	atomic_store(
	    &explainer->drain_until_ms, clock_monotonic_ms() + DRAIN_MS);
	atomic_store(&explainer->stopping, true);
	wake_up(explainer);
	if (explainer->started)
		pthread_join(explainer->thread, NULL);
	lost = atomic_load(&explainer->lost);
	if (lost > 0)
		log_warn("misses_not_explained",
		    "notes=%" PRIu64 " remedy=\"the server was stopped while "
		    "they waited; later builds may see these actions as new\"",
		    lost);
}

void
explainer_free(struct explainer *explainer)
{
	if (explainer == NULL)
		return;
	drain(explainer);
	/* What waits was never begun, since the thread was not started. */
	note_queue_free(explainer->queue);
	action_marks_clear(&explainer->known);
	action_marks_clear(&explainer->look_ups);
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
	struct note_counts counts;

	note_queue_count(explainer->queue, &counts);
	*explained = counts.done;
	*noted = counts.noted;
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
	struct note_counts counts;

	if (explainer == NULL)
		return;
	for (size_t i = 0; i < EXPLAIN_CAUSES; i++)
		statistics->misses[i] = atomic_load(&explainer->misses[i]);
	note_queue_count(explainer->queue, &counts);
	statistics->dropped = counts.dropped + atomic_load(&explainer->lost);
	statistics->dropped_hits =
	    counts.dropped_hits + atomic_load(&explainer->lost_hits);
	statistics->waiting = counts.noted - counts.done;
	statistics->save_failures = atomic_load(&explainer->save_failures);
	statistics->unsaved = history_count_changes(explainer->tools.history);
}
