/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON array of rows under a lock, and sums. */
#include "client/cargo_summary.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_strings.h"
#include "client/toolchain_progress.h"

#define CAUSES_SHOWN 10
#define CRATES_SHOWN 5

/* Crates that stayed here for the same cause. */
struct cause {
	char *text; /* owned */
	uint64_t count;
	struct cargo_strings crates; /* the first CRATES_SHOWN */
};

struct cargo_summary {
	/* Guards all below. */
	pthread_mutex_t lock;
	uint64_t counts[3]; /* by outcome */
	int64_t saved_ms;
	uint64_t up;
	uint64_t down;
	const char *status;
	json_t *rows;
	struct cause *causes;
	size_t cause_count;
	struct cargo_strings notes;
};

static const char *const outcome_names[] = {"hit", "remote", "local"};

struct cargo_summary *
cargo_summary_new(void)
{
	struct cargo_summary *summary = xcalloc(1, sizeof(*summary));

	pthread_mutex_init(&summary->lock, NULL);
	summary->rows = json_array();
	return summary;
}

void
cargo_summary_free(struct cargo_summary *summary)
{
	json_decref(summary->rows);
	for (size_t i = 0; i < summary->cause_count; i++) {
		free(summary->causes[i].text);
		cargo_strings_clear(&summary->causes[i].crates);
	}
	free(summary->causes);
	cargo_strings_clear(&summary->notes);
	pthread_mutex_destroy(&summary->lock);
	free(summary);
}

/* Under the lock. */
static void
add_cause(struct cargo_summary *summary, const struct cargo_summary_row *row,
    const char *text)
{
	const char *package = row->package != NULL && *row->package != '\0'
				  ? row->package
				  : row->crate;
	struct cause *cause = NULL;

	for (size_t i = 0; i < summary->cause_count && cause == NULL; i++) {
		if (strcmp(summary->causes[i].text, text) == 0)
			cause = &summary->causes[i];
	}
	if (cause == NULL) {
		summary->causes = xreallocarray(summary->causes,
		    summary->cause_count + 1, sizeof(*summary->causes));
		cause = &summary->causes[summary->cause_count++];
		*cause = (struct cause){.text = xstrdup(text)};
	}
	if (cause->count++ < CRATES_SHOWN)
		cargo_strings_take(
		    &cause->crates, xasprintf("%s (%s)", package, row->type));
}

void
cargo_summary_add(
    struct cargo_summary *summary, const struct cargo_summary_row *row)
{
	const char *cause = row->cause != NULL ? row->cause : "";
	json_t *json = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "crate",
	    row->crate, "package", row->package != NULL ? row->package : "",
	    "type", row->type, "outcome", outcome_names[row->outcome], "cause",
	    cause, "action", row->action, "wall_ms", (json_int_t)row->wall_ms,
	    "metadata_ms", (json_int_t)row->metadata_ms, "executed_ms",
	    (json_int_t)row->executed_ms, "up", (json_int_t)row->up, "down",
	    (json_int_t)row->down);

	pthread_mutex_lock(&summary->lock);
	summary->counts[row->outcome]++;
	summary->up += row->up;
	summary->down += row->down;
	if (row->outcome == CARGO_OUTCOME_HIT &&
	    row->executed_ms > row->wall_ms)
		summary->saved_ms += row->executed_ms - row->wall_ms;
	if (row->outcome == CARGO_OUTCOME_LOCAL)
		add_cause(summary, row, cause);
	/* A text that is no UTF-8 makes no row; it still counts. */
	if (json != NULL)
		json_array_append_new(summary->rows, json);
	pthread_mutex_unlock(&summary->lock);
}

void
cargo_summary_note(struct cargo_summary *summary, const char *text)
{
	pthread_mutex_lock(&summary->lock);
	if (!cargo_strings_have(&summary->notes, text))
		cargo_strings_add(&summary->notes, text);
	pthread_mutex_unlock(&summary->lock);
}

struct cargo_summary_counts
cargo_summary_count(struct cargo_summary *summary)
{
	struct cargo_summary_counts counts;

	pthread_mutex_lock(&summary->lock);
	counts.hits = summary->counts[CARGO_OUTCOME_HIT];
	counts.remote = summary->counts[CARGO_OUTCOME_REMOTE];
	counts.local = summary->counts[CARGO_OUTCOME_LOCAL];
	pthread_mutex_unlock(&summary->lock);
	return counts;
}

void
cargo_summary_set_status(struct cargo_summary *summary, const char *text)
{
	pthread_mutex_lock(&summary->lock);
	summary->status = text;
	pthread_mutex_unlock(&summary->lock);
}

const char *
cargo_summary_status(struct cargo_summary *summary)
{
	const char *status;

	pthread_mutex_lock(&summary->lock);
	status = summary->status;
	pthread_mutex_unlock(&summary->lock);
	return status;
}

/* The cause stands in the line when it is the only one. */
static void
print_line(const struct cargo_summary *summary, uint64_t all)
{
	const uint64_t *counts = summary->counts;
	char up[TOOLCHAIN_SIZE_MAX], down[TOOLCHAIN_SIZE_MAX];

	fprintf(stderr,
	    "toolroot: %llu crate%s: %llu hit%s, %llu remote, %llu local",
	    (unsigned long long)all, all == 1 ? "" : "s",
	    (unsigned long long)counts[0], counts[0] == 1 ? "" : "s",
	    (unsigned long long)counts[1], (unsigned long long)counts[2]);
	if (summary->cause_count == 1)
		fprintf(stderr, " (%s)", summary->causes[0].text);
	fprintf(stderr, ", %.1f s saved, %s up, %s down\n",
	    (double)summary->saved_ms / 1000,
	    toolchain_progress_size(summary->up, up),
	    toolchain_progress_size(summary->down, down));
}

static void
print_cause(const struct cause *cause)
{
	fputs("toolroot:   local: ", stderr);
	for (size_t i = 0; i < cause->crates.count; i++)
		fprintf(
		    stderr, "%s%s", i > 0 ? ", " : "", cause->crates.items[i]);
	if (cause->count > cause->crates.count)
		fprintf(stderr, " and %llu more",
		    (unsigned long long)(cause->count - cause->crates.count));
	fprintf(stderr, ": %s\n", cause->text);
}

void
cargo_summary_print(struct cargo_summary *summary)
{
	const uint64_t *counts = summary->counts;
	uint64_t all = counts[0] + counts[1] + counts[2];

	for (size_t i = 0; i < summary->notes.count; i++)
		fprintf(stderr, "toolroot: %s\n", summary->notes.items[i]);
	if (all == 0)
		return;
	print_line(summary, all);
	if (summary->cause_count == 1 && summary->causes[0].count == all)
		return;
	for (size_t i = 0; i < summary->cause_count && i < CAUSES_SHOWN; i++)
		print_cause(&summary->causes[i]);
	if (summary->cause_count > CAUSES_SHOWN)
		fprintf(stderr, "toolroot:   and %zu more causes\n",
		    summary->cause_count - CAUSES_SHOWN);
}

/* Ours, since the start; what cargo and compilers used is not in it. */
static int64_t
processor_ms(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) == -1)
		return 0;
	return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

int
cargo_summary_write(
    struct cargo_summary *summary, const char *path, struct error *err)
{
	const uint64_t *counts = summary->counts;
	json_t *notes = json_array();
	json_t *json;
	int rc;

	for (size_t i = 0; i < summary->notes.count; i++)
		json_array_append_new(
		    notes, json_string(summary->notes.items[i]));
	json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}",
	    "actions",
	    (json_int_t)counts[0] + (json_int_t)counts[1] +
		(json_int_t)counts[2],
	    "hits", (json_int_t)counts[0], "remote", (json_int_t)counts[1],
	    "local", (json_int_t)counts[2], "saved_ms",
	    (json_int_t)summary->saved_ms, "up", (json_int_t)summary->up,
	    "down", (json_int_t)summary->down, "cpu_ms",
	    (json_int_t)processor_ms(), "notes", notes, "crates",
	    summary->rows);
	rc = json != NULL ? json_dump_file(json, path, JSON_INDENT(1)) : -1;
	json_decref(json);
	if (rc < 0)
		return error_set(
		    err, ERROR_INTERNAL, "cannot write statistics to %s", path);
	return 0;
}
