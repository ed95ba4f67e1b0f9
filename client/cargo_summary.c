/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON array of rows under a lock, and sums. */
#include "client/cargo_summary.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_strings.h"
#include "client/toolchain_progress.h"

#define CAUSES_SHOWN 10

struct cargo_summary {
	/* Guards all below. */
	pthread_mutex_t lock;
	uint64_t counts[3]; /* by outcome */
	int64_t saved_ms;
	uint64_t up;
	uint64_t down;
	json_t *rows;
	struct cargo_strings causes; /* "crate (type): cause" */
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
	cargo_strings_clear(&summary->causes);
	cargo_strings_clear(&summary->notes);
	pthread_mutex_destroy(&summary->lock);
	free(summary);
}

void
cargo_summary_add(
    struct cargo_summary *summary, const struct cargo_summary_row *row)
{
	const char *cause = row->cause != NULL ? row->cause : "";
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}",
	    "crate", row->crate, "type", row->type, "outcome",
	    outcome_names[row->outcome], "cause", cause, "wall_ms",
	    (json_int_t)row->wall_ms, "executed_ms",
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
		cargo_strings_take(&summary->causes,
		    xasprintf("%s (%s): %s", row->crate, row->type, cause));
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

void
cargo_summary_print(struct cargo_summary *summary)
{
	const uint64_t *counts = summary->counts;
	uint64_t all = counts[0] + counts[1] + counts[2];
	char up[TOOLCHAIN_SIZE_MAX], down[TOOLCHAIN_SIZE_MAX];

	for (size_t i = 0; i < summary->notes.count; i++)
		fprintf(stderr, "toolroot: %s\n", summary->notes.items[i]);
	if (all == 0)
		return;
	fprintf(stderr,
	    "toolroot: %llu crates: %llu hits, %llu remote, %llu local; "
	    "%.1f s saved, %s up, %s down\n",
	    (unsigned long long)all, (unsigned long long)counts[0],
	    (unsigned long long)counts[1], (unsigned long long)counts[2],
	    (double)summary->saved_ms / 1000,
	    toolchain_progress_size(summary->up, up),
	    toolchain_progress_size(summary->down, down));
	for (size_t i = 0; i < summary->causes.count; i++) {
		if (i == CAUSES_SHOWN) {
			fprintf(stderr, "toolroot:   and %zu more\n",
			    summary->causes.count - i);
			break;
		}
		fprintf(stderr, "toolroot:   local: %s\n",
		    summary->causes.items[i]);
	}
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
	json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}",
	    "actions",
	    (json_int_t)counts[0] + (json_int_t)counts[1] +
		(json_int_t)counts[2],
	    "hits", (json_int_t)counts[0], "remote", (json_int_t)counts[1],
	    "local", (json_int_t)counts[2], "saved_ms",
	    (json_int_t)summary->saved_ms, "up", (json_int_t)summary->up,
	    "down", (json_int_t)summary->down, "notes", notes, "crates",
	    summary->rows);
	rc = json != NULL ? json_dump_file(json, path, JSON_INDENT(1)) : -1;
	json_decref(json);
	if (rc < 0)
		return error_set(
		    err, ERROR_INTERNAL, "cannot write statistics to %s", path);
	return 0;
}
