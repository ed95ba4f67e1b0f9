/* SPDX-License-Identifier: Apache-2.0 */
/* One request, one report. */
#include "client/gc_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/error.h"
#include "cas/admin.h"
#include "client/admin_command.h"
#include "client/client_options.h"

struct gc_options {
	struct client_options client;
	char *store;
	bool run;
	bool json;
	char *max_size;
	char *free;
	int64_t max_age;
	int64_t min_age;
	char *only_instance;
};

#define FIELD(name) offsetof(struct gc_options, name)

static const struct setting gc_table[] = {
    {"run", SETTING_FLAG, FIELD(run), "", "no",
	"Do it. Without it: only tell what would go."},
    {"max-size", SETTING_TEXT, FIELD(max_size), "SIZE", NULL,
	"Collect until the store takes no more than this. Default: when no\n"
	"other bound is given, the low mark of the server (80 % of its "
	"limit)."},
    {"free", SETTING_TEXT, FIELD(free), "SIZE", NULL,
	"Collect until so much less is taken."},
    {"max-age", SETTING_DURATION, FIELD(max_age), "TIME", "0s",
	"What was not written, found or read for so long goes. 0s: no bound."},
    {"only-instance", SETTING_TEXT, FIELD(only_instance), "NAME", NULL,
	"Only action results of this instance, by --max-age; no blobs, which\n"
	"age by themselves."},
    ADMIN_STORE_ROW(struct gc_options, store),
    {"min-age", SETTING_DURATION, FIELD(min_age), "TIME", "3h",
	"With --store: nothing younger goes. A server has its own."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    CLIENT_OPTIONS_TABLE(struct gc_options),
};

static const struct settings gc_settings = {
    .command = "gc",
    .section = "client",
    .synopsis = "[options]",
    .about =
	"Drops what was not used for longest: plans it, or does it (--run).\n"
	"Whatever is younger than the server's min-age, pinned, a toolchain\n"
	"with a name, or an input of a queued or running action stays. Exit\n"
	"status: 0 done, 1 failed, 2 called wrongly, 3 the size was not "
	"reached.",
    .table = gc_table,
    .count = sizeof(gc_table) / sizeof(gc_table[0]),
    .epilogue = "Examples:\n"
		"  toolroot gc --free 20G\n"
		"  toolroot gc --free 20G --run\n"
		"  toolroot gc --max-age 30d --run --json",
};

/* --- asking --------------------------------------------------------------- */

static int
parse_size(
    const char *name, const char *text, uint64_t *bytes, struct error *err)
{
	if (setting_parse_size(str_from(text), bytes, err) == 0)
		return 0;
	error_prefix(err, "--%s", name);
	return -1;
}

static int
fill_request(const struct gc_options *options,
    Adminapi__CollectRequest *request, struct error *err)
{
	request->run = options->run;
	request->max_age_ms = options->max_age;
	if (options->max_size != NULL && options->free != NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--max-size and --free exclude each other");
	if (options->max_size != NULL) {
		request->target_case =
		    ADMINAPI__COLLECT_REQUEST__TARGET_MAX_BYTES;
		if (parse_size("max-size", options->max_size,
			&request->max_bytes, err) < 0)
			return -1;
	}
	if (options->free != NULL) {
		request->target_case =
		    ADMINAPI__COLLECT_REQUEST__TARGET_FREE_BYTES;
		if (parse_size(
			"free", options->free, &request->free_bytes, err) < 0)
			return -1;
	}
	if (options->only_instance == NULL)
		return 0;
	if (options->max_age == 0 || options->max_size != NULL ||
	    options->free != NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--only-instance goes by --max-age, which has to be "
		    "given, and not by size");
	request->one_instance = true;
	request->instance_name = (ProtobufCBinaryData){
	    strlen(options->only_instance), (uint8_t *)options->only_instance};
	return 0;
}

/* --- telling -------------------------------------------------------------- */

static void
print_json(bool run, const Adminapi__CollectResponse *r)
{
	printf("{\"run\": %s, \"bytes_before\": %" PRIu64
	       ", \"bytes_after\": %" PRIu64 ", \"limit_bytes\": %" PRIu64
	       ", \"blobs\": %" PRIu64 ", \"blob_bytes\": %" PRIu64
	       ", \"large_blobs\": %" PRIu64 ", \"action_results\": %" PRIu64
	       ", \"action_result_bytes\": %" PRIu64
	       ", \"segments_removed\": %" PRIu64
	       ", \"segments_compacted\": %" PRIu64
	       ", \"moved_bytes\": %" PRIu64,
	    run ? "true" : "false", r->bytes_before, r->bytes_after,
	    r->limit_bytes, r->blobs, r->blob_bytes, r->large_blobs,
	    r->action_results, r->action_result_bytes, r->segments_removed,
	    r->segments_compacted, r->moved_bytes);
	printf(", \"pinned_blobs\": %" PRIu64 ", \"pinned_bytes\": %" PRIu64
	       ", \"young_blobs\": %" PRIu64 ", \"young_bytes\": %" PRIu64
	       ", \"roots\": %" PRIu64 ", \"youngest_age_ms\": %" PRId64
	       ", \"oldest_young_age_ms\": %" PRId64
	       ", \"min_age_ms\": %" PRId64 ", \"target_reached\": %s}\n",
	    r->pinned_blobs, r->pinned_bytes, r->young_blobs, r->young_bytes,
	    r->roots, r->youngest_age_ms, r->oldest_young_age_ms, r->min_age_ms,
	    r->short_of ? "false" : "true");
}

static void
print_text(bool run, const Adminapi__CollectResponse *r)
{
	char one[ADMIN_SIZE_MAX], two[ADMIN_SIZE_MAX], limit[ADMIN_SIZE_MAX];
	char age[ADMIN_AGE_MAX];

	printf("%-14s %s -> %s%s   limit %s\n", "store",
	    admin_format_size(r->bytes_before, one),
	    admin_format_size(r->bytes_after, two), run ? "" : " (about)",
	    admin_format_size(r->limit_bytes, limit));
	printf("%-14s %" PRIu64 " blobs (%" PRIu64 " large), %s; %" PRIu64
	       " action results, %s\n",
	    run ? "dropped" : "would drop", r->blobs, r->large_blobs,
	    admin_format_size(r->blob_bytes, one), r->action_results,
	    admin_format_size(r->action_result_bytes, two));
	printf("%-14s not used for %s\n", "youngest of it",
	    admin_format_age(r->youngest_age_ms, age));
	printf("%-14s %" PRIu64 " blobs, %s, below %" PRIu64
	       " pins, toolchains and operations\n",
	    "kept", r->pinned_blobs, admin_format_size(r->pinned_bytes, one),
	    r->roots);
	printf("%-14s %" PRIu64 " blobs, %s, used in the last %s\n",
	    "too young", r->young_blobs, admin_format_size(r->young_bytes, one),
	    admin_format_age(r->min_age_ms, age));
	if (run)
		printf("%-14s %" PRIu64 " removed, %" PRIu64
		       " of them compacted (%s moved)\n",
		    "segments", r->segments_removed, r->segments_compacted,
		    admin_format_size(r->moved_bytes, one));
	if (r->short_of)
		printf("The size asked for %s reached: all else is too young "
		       "or kept.\n",
		    run ? "was not" : "would not be");
	if (!run)
		printf("Nothing was changed; --run does it.\n");
}

static int
gc_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct gc_options *options = cookie;
	const struct admin_place place = {
	    &options->client, options->store, options->min_age};
	Adminapi__CollectRequest request = ADMINAPI__COLLECT_REQUEST__INIT;
	const Adminapi__CollectResponse *response;
	struct admin_answer answer;
	int rc;

	(void)arguments;
	if (fill_request(options, &request, err) < 0)
		return -1;
	rc = admin_call(
	    &place, ADMIN_PATH("Collect"), &request.base, &answer, err);
	response = answer.message;
	if (rc == 0 && options->json)
		print_json(options->run, response);
	else if (rc == 0)
		print_text(options->run, response);
	if (rc == 0 && response->short_of)
		*status = ADMIN_EXIT_SHORT;
	admin_answer_clear(&answer);
	return rc;
}

int
gc_command(char **argv)
{
	struct gc_options options = {0};
	const struct admin_command command = {
	    .settings = &gc_settings, .options = &options, .run = gc_run};

	return admin_command_run(&command, argv);
}
