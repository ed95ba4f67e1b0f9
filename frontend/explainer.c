/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of jobs that one task of the pool works off, in the order in which
 * they came: that an action's result was stored is then never seen before its
 * miss.
 */
#include "frontend/explainer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "base/thread_pool.h"
#include "cas/closure.h"
#include "cas/collector.h"
#include "cas/digest_message.h"
#include "cas/names.h"
#include "cas/store.h"
#include "cas/toolchain_root.h"
#include "executor/history.h"
#include "frontend/history_store.h"
#include "frontend/request_metadata.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"

#define WAITING_MAX 1000
#define HISTORY_ENTRIES 50000
#define HISTORY_BYTES (64u << 20)
#define METADATA_MAX 8192
#define COMMAND_MAX (16u << 20)
#define READ_ARENA (96u << 20)
/* Powers of two; one 8-byte word each. */
#define RECENT_SLOTS 16384u

/* Of an instance's names, for the metric. */
#define NAMES_LOOKED_AT 256

static const struct metric_definition by_toolchain_definition = {
    .name = "toolroot_action_misses_by_toolchain_total",
    .help = "The same by the name of the action's toolchain: none (it asks "
	    "for no tree), unnamed (no name stands for its trees), or other "
	    "(too many names).",
    .type = METRIC_COUNTER,
    .labels = {"toolchain", "cause"},
    .max_series = 500,
};

/* Enough for cause and summary; who wants more asks. */
static const struct explain_limits background_limits = {
    .changes = 4, .directories = 2000, .bytes = 64u << 20};

struct job {
	STAILQ_ENTRY(job) link;
	bool miss;
	bool result; /* there is one now */
	struct str instance;
	struct digest action;
	struct str metadata;
	char texts[]; /* what instance and metadata point into */
};

struct explainer {
	struct store *store; /* constant */
	struct thread_pool *pool;
	struct history *history;
	struct collector *collector; /* constant; or NULL */
	pthread_mutex_t saving;      /* one thread saves at a time */
	struct metric_family *by_toolchain;
	struct task task;
	atomic_bool stopping;
	atomic_uint_least64_t misses[EXPLAIN_CAUSES];
	atomic_uint_least64_t dropped;
	/* Fingerprints of hits that were noted, an action and an invocation
	 * each, so that a hit that comes again costs next to nothing; and of
	 * actions that were looked for in vain. One that is overwritten is
	 * noted again, or no miss. */
	_Atomic uint64_t hits[RECENT_SLOTS];
	_Atomic uint64_t look_ups[RECENT_SLOTS];

	pthread_mutex_t lock; /* guards what follows */
	STAILQ_HEAD(, job) jobs;
	size_t waiting;
	bool running; /* the task is queued or runs */
};

/* --- jobs -----------------------------------------------------------------
 */

/* What is read of an action for the history. */
struct reading {
	struct arena arena;
	struct buffer content;
	struct str *outputs;
	size_t output_count;
	struct toolchain_roots roots;
};

/* NULL when it is absent or malformed: then there is less to tell. */
static void *
read_message(struct explainer *explainer, struct reading *reading,
    const struct digest *digest, const ProtobufCMessageDescriptor *descriptor)
{
	struct error ignored;

	buffer_reset(&reading->content);
	if (digest->size > reading->content.limit ||
	    store_read(explainer->store, digest, &reading->content, &ignored) !=
		1)
		return NULL;
	return protos_unpack(&reading->arena, descriptor,
	    buffer_str(&reading->content), &ignored);
}

static void
list_outputs(struct reading *reading, const Reapi__Command *command)
{
	const struct {
		const ProtobufCBinaryData *items;
		size_t count;
	} lists[] = {
	    {command->output_paths, command->n_output_paths},
	    {command->output_files, command->n_output_files},
	    {command->output_directories, command->n_output_directories},
	};
	size_t total = command->n_output_paths + command->n_output_files +
		       command->n_output_directories;

	reading->outputs =
	    arena_zalloc(&reading->arena, total + 1, sizeof(*reading->outputs));
	if (reading->outputs == NULL)
		return;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (size_t j = 0; j < lists[i].count; j++)
			reading->outputs[reading->output_count++] =
			    binary_str(lists[i].items[j]);
	}
}

static void
read_outputs(struct explainer *explainer, struct reading *reading,
    const struct digest *digest)
{
	const Reapi__Command *command = NULL;
	const Reapi__Action *action;
	struct digest command_digest;
	struct error ignored;

	action = read_message(
	    explainer, reading, digest, &reapi__action__descriptor);
	if (action != NULL &&
	    digest_from_message(digest->function, action->command_digest,
		&command_digest, &ignored) == 0)
		command = read_message(explainer, reading, &command_digest,
		    &reapi__command__descriptor);
	if (command != NULL)
		list_outputs(reading, command);
	/* A malformed one was refused, or is none of ours. */
	if (action == NULL || toolchain_roots_read(&reading->roots,
				  toolchain_roots_platform(action, command),
				  digest->function, &ignored) < 0)
		reading->roots.count = 0;
}

static void
compare(struct explainer *explainer, const struct history_action *action,
    struct history_miss *miss, char summary[static HISTORY_TEXT_MAX])
{
	const struct closure_source source = closure_source_of_store(
	    explainer->store, action->use.action.function);
	struct explanation explanation;
	struct error err;

	miss->has_previous =
	    history_previous(explainer->history, action, &miss->previous) > 0;
	if (!miss->has_previous) {
		miss->cause = EXPLAIN_FIRST_SEEN;
		return;
	}
	if (explain_actions(&explanation, &source, &background_limits,
		&miss->previous, &action->use.action, &err) < 0)
		snprintf(summary, HISTORY_TEXT_MAX, "%s", err.text);
	else
		explanation_summary(&explanation, summary, HISTORY_TEXT_MAX);
	miss->cause = explanation.cause;
	explanation_clear(&explanation);
}

static void
log_miss(const struct history_action *action, const struct history_miss *miss)
{
	char texts[2][DIGEST_TEXT_MAX], values[4][LOG_VALUE_MAX];

	if (!log_is_written(LOG_INFO))
		return;
	log_info("action_miss",
	    "cause=%s action=%s previous=%s target=\"%s\" mnemonic=\"%s\" "
	    "invocation=\"%s\" summary=\"%s\"",
	    explain_cause_name(miss->cause),
	    digest_format(&miss->action, texts[0]),
	    miss->has_previous ? digest_format(&miss->previous, texts[1]) : "",
	    log_value(action->target, values[0]),
	    log_value(action->mnemonic, values[1]),
	    log_value(miss->invocation, values[2]),
	    log_value(miss->summary, values[3]));
}

struct naming {
	const struct toolchain_roots *roots;
	char name[NAMES_NAME_MAX + 1]; /* "": not found yet */
};

/* names_visit_fn. */
static int
name_root(void *cookie, struct str name, const struct name_entry *entry,
    struct error *err)
{
	struct naming *naming = cookie;

	(void)err;
	for (size_t i = 0; i < naming->roots->count; i++) {
		if (naming->name[0] == '\0' &&
		    digest_equal(&naming->roots->items[i].digest, &entry->root))
			snprintf(naming->name, sizeof(naming->name), "%.*s",
			    STR_ARG(name));
	}
	return 0;
}

/* The first name that stands for one of the action's trees. */
static void
count_by_toolchain(struct explainer *explainer, struct str instance,
    const struct toolchain_roots *roots, enum explain_cause cause)
{
	const struct name_key start = {instance, STR("")};
	struct naming naming = {.roots = roots};
	const char *values[] = {"none", explain_cause_name(cause)};
	struct error ignored;

	if (roots->count > 0) {
		(void)names_list(explainer->store, &start, NAMES_LOOKED_AT,
		    name_root, &naming, &ignored);
		values[0] = naming.name[0] != '\0' ? naming.name : "unnamed";
	}
	metric_add(metric_series(explainer->by_toolchain, values), 1);
}

/* "3 h 5 min". */
static const char *
format_age(int64_t ns, char text[static 32])
{
	int64_t minutes = ns / 60000000000;

	if (minutes < 60)
		snprintf(text, 32, "%lld min", (long long)minutes);
	else if (minutes < 48 * 60)
		snprintf(text, 32, "%lld h %lld min", (long long)minutes / 60,
		    (long long)minutes % 60);
	else
		snprintf(text, 32, "%lld d %lld h", (long long)minutes / 1440,
		    (long long)minutes / 60 % 24);
	return text;
}

/* When it went, and why, as far as collections tell. */
static void
tell_eviction(struct explainer *explainer, const struct history_action *action,
    char summary[static HISTORY_TEXT_MAX])
{
	static const char *const reasons[] = {
	    [COLLECTION_BY_SIZE] = "by size: the store was near max-size",
	    [COLLECTION_BY_WISH] = "by toolroot gc, to make room",
	    [COLLECTION_BY_AGE] = "by toolroot gc, for its age"};
	int64_t used_ns = history_last_use(
	    explainer->history, action->use.instance, &action->use.action);
	struct collection_event event;
	char ages[2][32];

	if (explainer->collector == NULL ||
	    !collector_find_past(explainer->collector, used_ns, &event) ||
	    event.reason < COLLECTION_BY_SIZE ||
	    event.reason > COLLECTION_BY_AGE) {
		snprintf(summary, HISTORY_TEXT_MAX,
		    "removed by hand, or dropped since it was damaged: no "
		    "collection since its last use would have taken it");
		return;
	}
	snprintf(summary, HISTORY_TEXT_MAX,
	    "evicted %s ago %s; it had not been used for %s",
	    format_age(action->use.now_ns - event.time_ns, ages[0]),
	    reasons[event.reason],
	    format_age(event.time_ns - used_ns, ages[1]));
}

static void
explain_miss(struct explainer *explainer, const struct history_action *action,
    const struct toolchain_roots *roots)
{
	char summary[HISTORY_TEXT_MAX] = "";
	struct history_miss miss = {
	    .action = action->use.action,
	    .time_ns = action->use.now_ns,
	    .invocation = action->use.invocation,
	};
	bool result;

	if (history_knows(explainer->history, action->use.instance,
		&action->use.action, &result)) {
		miss.cause = result ? EXPLAIN_EVICTED : EXPLAIN_UNCACHED;
		if (result)
			tell_eviction(explainer, action, summary);
	} else {
		compare(explainer, action, &miss, summary);
	}
	miss.summary = str_from(summary);
	history_add(explainer->history, action);
	history_put_miss(explainer->history, action->use.instance, &miss);
	atomic_fetch_add(&explainer->misses[miss.cause], 1);
	count_by_toolchain(explainer, action->use.instance, roots, miss.cause);
	log_miss(action, &miss);
}

static void
job_run(struct explainer *explainer, const struct job *job)
{
	struct reading reading = {.output_count = 0};
	struct request_metadata metadata;
	struct history_action action = {
	    .use = {.instance = job->instance,
		.action = job->action,
		.now_ns = clock_wall_ns(),
		.result = job->result},
	};

	request_metadata_parse(job->metadata, &metadata);
	action.use.invocation = metadata.tool_invocation_id;
	action.target = metadata.target_id;
	action.mnemonic = metadata.action_mnemonic;
	if (!job->miss && history_use(explainer->history, &action.use))
		return;
	arena_init(&reading.arena, READ_ARENA);
	buffer_init(&reading.content, COMMAND_MAX);
	read_outputs(explainer, &reading, &job->action);
	action.outputs = reading.outputs;
	action.output_count = reading.output_count;
	if (job->miss)
		explain_miss(explainer, &action, &reading.roots);
	else
		history_add(explainer->history, &action);
	buffer_clear(&reading.content);
	arena_clear(&reading.arena);
}

/* --- the queue ------------------------------------------------------------
 */

static struct job *
next_job(struct explainer *explainer)
{
	struct job *job;

	pthread_mutex_lock(&explainer->lock);
	job = STAILQ_FIRST(&explainer->jobs);
	if (job != NULL) {
		STAILQ_REMOVE_HEAD(&explainer->jobs, link);
		explainer->waiting--;
	} else {
		explainer->running = false;
	}
	pthread_mutex_unlock(&explainer->lock);
	return job;
}

static void
jobs_run(struct task *task)
{
	struct explainer *explainer =
	    (struct explainer *)(void *)((char *)task -
					 offsetof(struct explainer, task));
	struct job *job;

	while ((job = next_job(explainer)) != NULL) {
		if (!atomic_load(&explainer->stopping))
			job_run(explainer, job);
		free(job);
	}
}

static struct job *
job_new(const struct action_key *key, struct str metadata)
{
	struct job *job;

	if (metadata.len > METADATA_MAX)
		metadata.len = 0;
	job = xmalloc(sizeof(*job) + key->instance.len + metadata.len);
	*job = (struct job){
	    .instance = {job->texts, key->instance.len},
	    .action = key->action,
	    .metadata = {job->texts + key->instance.len, metadata.len},
	};
	if (key->instance.len > 0)
		memcpy(job->texts, key->instance.data, key->instance.len);
	if (metadata.len > 0)
		memcpy(job->texts + key->instance.len, metadata.data,
		    metadata.len);
	return job;
}

static void
submit(struct explainer *explainer, struct job *job)
{
	bool full, start = false;

	pthread_mutex_lock(&explainer->lock);
	full = explainer->waiting >= WAITING_MAX;
	if (!full) {
		STAILQ_INSERT_TAIL(&explainer->jobs, job, link);
		explainer->waiting++;
		start = !explainer->running;
		explainer->running = true;
	}
	pthread_mutex_unlock(&explainer->lock);
	if (full) {
		atomic_fetch_add(&explainer->dropped, 1);
		free(job);
	}
	if (start)
		thread_pool_submit(explainer->pool, &explainer->task);
}

/* --- noting ---------------------------------------------------------------
 */

/* The hash is random enough; never 0, which stands for none. */
static uint64_t
fingerprint(const struct action_key *key, struct str salt)
{
	/* FNV-1a, as nothing hangs on a collision but a note. */
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint64_t digest;

	for (size_t i = 0; i < key->instance.len; i++)
		hash = (hash ^ (uint8_t)key->instance.data[i]) *
		       UINT64_C(0x100000001b3);
	for (size_t i = 0; i < salt.len; i++)
		hash = (hash ^ (uint8_t)salt.data[i]) * UINT64_C(0x100000001b3);
	memcpy(&digest, key->action.hash, sizeof(digest));
	return (hash ^ digest) | 1;
}

static void
note_hit(struct explainer *explainer, const struct action_key *key,
    struct str metadata)
{
	struct request_metadata parsed;
	struct history_use use = {
	    .instance = key->instance, .action = key->action, .result = true};
	uint64_t print;
	struct job *job;

	request_metadata_parse(metadata, &parsed);
	print = fingerprint(key, parsed.tool_invocation_id);
	if (atomic_exchange_explicit(&explainer->hits[print / 2 % RECENT_SLOTS],
		print, memory_order_relaxed) == print)
		return;
	use.invocation = parsed.tool_invocation_id;
	use.now_ns = clock_wall_ns();
	if (history_use(explainer->history, &use))
		return;
	job = job_new(key, metadata);
	job->result = true;
	submit(explainer, job);
}

/* Whether it was looked for in vain since this was asked last. */
static bool
take_look_up(struct explainer *explainer, const struct action_key *key)
{
	uint64_t print = fingerprint(key, STR(""));

	return atomic_compare_exchange_strong(
	    &explainer->look_ups[print / 2 % RECENT_SLOTS], &print, 0);
}

void
explainer_note(struct explainer *explainer, enum explainer_event event,
    const struct action_key *key, struct str request_metadata)
{
	struct job *job;
	uint64_t print;

	if (explainer == NULL || atomic_load(&explainer->stopping))
		return;
	if (event == EXPLAINER_HIT) {
		note_hit(explainer, key, request_metadata);
		return;
	}
	if (event == EXPLAINER_NO_RESULT) {
		print = fingerprint(key, STR(""));
		atomic_store_explicit(
		    &explainer->look_ups[print / 2 % RECENT_SLOTS], print,
		    memory_order_relaxed);
		return;
	}
	job = job_new(key, request_metadata);
	job->result = event != EXPLAINER_EXECUTES;
	if (event != EXPLAINER_STORED)
		job->miss = take_look_up(explainer, key);
	if (event == EXPLAINER_EXECUTES)
		job->miss = true;
	submit(explainer, job);
}

/* --- life -----------------------------------------------------------------
 */

struct explainer *
explainer_new(
    struct store *store, struct thread_pool *pool, struct metrics *metrics)
{
	const struct history_limits limits = {HISTORY_ENTRIES, HISTORY_BYTES};
	struct explainer *explainer = xcalloc(1, sizeof(*explainer));
	struct error err;

	explainer->store = store;
	explainer->pool = pool;
	explainer->history = history_new(&limits);
	pthread_mutex_init(&explainer->saving, NULL);
	if (history_store_load(store, explainer->history, &err) < 0)
		log_warn("history_not_loaded", "error=\"%s\"", err.text);
	explainer->by_toolchain =
	    metrics_register(metrics, &by_toolchain_definition);
	/* So that rates are right from the first miss on. */
	for (int i = 0; i < EXPLAIN_CAUSES; i++)
		(void)metric_series(explainer->by_toolchain,
		    (const char *[]){
			"none", explain_cause_name((enum explain_cause)i)});
	explainer->task.run = jobs_run;
	pthread_mutex_init(&explainer->lock, NULL);
	STAILQ_INIT(&explainer->jobs);
	return explainer;
}

void
explainer_ask_collector(
    struct explainer *explainer, struct collector *collector)
{
	if (explainer != NULL)
		explainer->collector = collector;
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
	rc = history_store_save(explainer->store, explainer->history, &err);
	pthread_mutex_unlock(&explainer->saving);
	if (rc < 0)
		log_warn("history_not_saved", "error=\"%s\"", err.text);
}

void
explainer_stop(struct explainer *explainer)
{
	if (explainer != NULL)
		atomic_store(&explainer->stopping, true);
}

void
explainer_free(struct explainer *explainer)
{
	if (explainer == NULL)
		return;
	explainer_save(explainer);
	history_free(explainer->history);
	pthread_mutex_destroy(&explainer->saving);
	pthread_mutex_destroy(&explainer->lock);
	free(explainer);
}

struct history *
explainer_history(struct explainer *explainer)
{
	return explainer != NULL ? explainer->history : NULL;
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
	pthread_mutex_lock(&explainer->lock);
	statistics->waiting = explainer->waiting;
	pthread_mutex_unlock(&explainer->lock);
}
