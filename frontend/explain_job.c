/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the action, looks for its like, compares, and tells. */
#include "frontend/explain_job.h"

#include <stdio.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cas/closure.h"
#include "cas/collector.h"
#include "cas/names.h"
#include "cas/store.h"
#include "cas/toolchain_root.h"
#include "executor/history.h"
#include "protos/binary.h"

/* Of an instance's names, for the metric. */
#define NAMES_LOOKED_AT 256

/* Enough for cause and summary; who wants more asks. */
static const struct explain_limits limits = {
    .changes = 4, .directories = 2000, .bytes = 64u << 20, .first_only = true};

/* What is read of an action for the history. */
struct reading {
	struct closure_source source;
	struct explain_action action;
	struct str *outputs; /* of its command */
	size_t output_count;
	struct history_subjects subjects;
	struct toolchain_roots roots;
};

static void
list_outputs(struct reading *reading)
{
	const Reapi__Command *command = reading->action.command;
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

	reading->outputs = arena_zalloc(
	    &reading->action.arena, total + 1, sizeof(*reading->outputs));
	if (reading->outputs == NULL)
		return;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (size_t j = 0; j < lists[i].count; j++)
			reading->outputs[reading->output_count++] =
			    binary_str(lists[i].items[j]);
	}
}

/* What cannot be read leaves less to tell. */
static void
reading_init(struct reading *reading, const struct explain_job_tools *tools,
    const struct digest *digest)
{
	const struct explain_action *action = &reading->action;
	struct error ignored;

	reading->outputs = NULL;
	reading->output_count = 0;
	reading->source =
	    closure_source_of_store(tools->store, digest->function);
	if (explain_action_read(
		&reading->action, &reading->source, digest, &ignored) < 0)
		snprintf(reading->action.note, sizeof(reading->action.note),
		    "%.255s", ignored.text);
	if (action->command != NULL)
		list_outputs(reading);
	/* A malformed one was refused, or is none of ours. */
	if (action->action == NULL ||
	    toolchain_roots_read(&reading->roots,
		toolchain_roots_platform(action->action, action->command),
		digest->function, &ignored) < 0)
		reading->roots.count = 0;
}

static void
compare(const struct explain_job_tools *tools,
    const struct history_action *action, const struct reading *reading,
    struct history_miss *miss, char summary[static HISTORY_TEXT_MAX])
{
	struct explanation explanation;
	struct error err;

	miss->has_previous = history_previous(tools->history, action,
				 &reading->subjects, &miss->previous) > 0;
	if (!miss->has_previous) {
		miss->cause = EXPLAIN_FIRST_SEEN;
		return;
	}
	if (explain_action_against(&explanation, &reading->action,
		&reading->source, &limits, &miss->previous, &err) < 0)
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
count_by_toolchain(const struct explain_job_tools *tools, struct str instance,
    const struct toolchain_roots *roots, enum explain_cause cause)
{
	const struct name_key start = {instance, STR("")};
	struct naming naming = {.roots = roots};
	const char *values[] = {"none", explain_cause_name(cause)};
	struct error ignored;

	if (roots->count > 0) {
		(void)names_list(tools->store, &start, NAMES_LOOKED_AT,
		    name_root, &naming, &ignored);
		values[0] = naming.name[0] != '\0' ? naming.name : "unnamed";
	}
	metric_add(metric_series(tools->by_toolchain, values), 1);
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
tell_eviction(const struct explain_job_tools *tools,
    const struct history_action *action, char summary[static HISTORY_TEXT_MAX])
{
	static const char *const reasons[] = {
	    [COLLECTION_BY_SIZE] = "by size: the store was near max-size",
	    [COLLECTION_BY_WISH] = "by toolroot gc, to make room",
	    [COLLECTION_BY_AGE] = "by toolroot gc, for its age"};
	int64_t used_ns = history_last_use(
	    tools->history, action->use.instance, &action->use.action);
	struct collection_event event;
	char ages[2][32];

	if (tools->collector == NULL ||
	    !collector_find_past(tools->collector, used_ns, &event) ||
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
explain_miss(const struct explain_job_tools *tools,
    const struct history_action *action, const struct reading *reading)
{
	char summary[HISTORY_TEXT_MAX] = "";
	struct history_miss miss = {
	    .action = action->use.action,
	    .time_ns = action->use.now_ns,
	    .invocation = action->use.invocation,
	};
	bool result;

	if (history_knows(tools->history, action->use.instance,
		&action->use.action, &result)) {
		miss.cause = result ? EXPLAIN_EVICTED : EXPLAIN_UNCACHED;
		if (result)
			tell_eviction(tools, action, summary);
	} else {
		compare(tools, action, reading, &miss, summary);
	}
	miss.summary = str_from(summary);
	history_add(tools->history, action, &reading->subjects);
	history_put_miss(tools->history, action->use.instance, &miss);
	atomic_fetch_add(&tools->misses[miss.cause], 1);
	count_by_toolchain(
	    tools, action->use.instance, &reading->roots, miss.cause);
	log_miss(action, &miss);
}

bool
explain_job_run(
    const struct explain_job_tools *tools, const struct explain_job *job)
{
	struct history_action action = {
	    .use = {.instance = job->instance,
		.action = job->action,
		.invocation = job->texts.invocation,
		.now_ns = clock_wall_ns(),
		.result = job->result},
	    .target = job->texts.target,
	    .mnemonic = job->texts.mnemonic,
	};
	struct reading reading;

	if (!job->miss && history_use(tools->history, &action.use))
		return true;
	if (job->known)
		return false;
	reading_init(&reading, tools, &job->action);
	action.outputs = reading.outputs;
	action.output_count = reading.output_count;
	history_subjects_of(&action, &reading.subjects);
	if (job->miss)
		explain_miss(tools, &action, &reading);
	else
		history_add(tools->history, &action, &reading.subjects);
	explain_action_clear(&reading.action);
	return true;
}
