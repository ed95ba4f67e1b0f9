/* SPDX-License-Identifier: Apache-2.0 */
/* One request, one report. */
#include "client/gc_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/error.h"
#include "base/printable.h"
#include "cas/admin.h"
#include "client/admin_command.h"
#include "client/admin_json.h"
#include "client/client_options.h"
#include "client/command.h"
#include "client/gc_progress.h"
#include "protos/binary.h"

struct gc_options {
	struct client_options client;
	char *store;
	bool run;
	bool json;
	char *max_size;
	char *free;
	int64_t max_age;
	int64_t min_age;
	char *instance;
	char *keep_toolchains;
	uint64_t list;
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
    {"instance", SETTING_ARGUMENT, FIELD(instance), "NAME", NULL,
	"Collect only what this instance has: its action results, and the\n"
	"blobs that it was the first to write. Sizes are its use then, and\n"
	"without a bound it goes to the low mark of its quota. On the command\n"
	"line alone."},
    {"keep-toolchains", SETTING_TEXT, FIELD(keep_toolchains), "N", NULL,
	"Of the toolchains with a name, keep the N of each instance that were\n"
	"used last; the names of others are removed and their trees age. "
	"Without\nit: all stay."},
    {"list", SETTING_COUNT, FIELD(list), "N", "10",
	"Of a plan: name the N largest targets, toolchains and instances, and\n"
	"N of what is kept and why."},
    ADMIN_STORE_ROW(struct gc_options, store),
    {"min-age", SETTING_DURATION, FIELD(min_age), "TIME", "3h",
	"With --store: nothing younger goes. A server has its own."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    CLIENT_OPTIONS_OTHERS(struct gc_options),
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
		"  toolroot gc --max-age 30d --keep-toolchains 5 --run "
		"--json",
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
	request->list =
	    options->list < UINT32_MAX ? (uint32_t)options->list : UINT32_MAX;
	request->limit_toolchains = options->keep_toolchains != NULL;
	if (options->keep_toolchains != NULL &&
	    !str_to_uint64(str_from(options->keep_toolchains), UINT32_MAX,
		&request->keep_toolchains))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--keep-toolchains \"%s\" is no number",
		    options->keep_toolchains);
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
	if (options->instance == NULL)
		return 0;
	request->one_instance = true;
	request->instance_name = (ProtobufCBinaryData){
	    strlen(options->instance), (uint8_t *)options->instance};
	return 0;
}

/* --- telling -------------------------------------------------------------- */

static json_t *
json_shares(Adminapi__CollectShare **shares, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
		    json_pack("{s:o, s:I, s:I}", "name",
			admin_json_bytes(shares[i]->label), "action_results",
			(json_int_t)shares[i]->action_results, "bytes",
			(json_int_t)shares[i]->bytes));
	return list;
}

static const char *
kind_of(const Adminapi__CollectRoot *root)
{
	switch (root->kind) {
	case ADMINAPI__COLLECT_ROOT__KIND__PIN:
		return "pin";
	case ADMINAPI__COLLECT_ROOT__KIND__TOOLCHAIN:
		return root->dropped ? "dropped toolchain" : "toolchain";
	default:
		return "operations";
	}
}

static json_t *
json_kept(const Adminapi__CollectResponse *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n_kept; i++) {
		const Adminapi__CollectRoot *root = r->kept[i];
		json_t *entry = json_pack("{s:s, s:o, s:I, s:I}", "kind",
		    kind_of(root), "name", admin_json_bytes(root->name),
		    "blobs", (json_int_t)root->blobs, "bytes",
		    (json_int_t)root->bytes);

		if (root->digest != NULL)
			json_object_set_new(
			    entry, "digest", admin_json_digest(root->digest));
		json_array_append_new(list, entry);
	}
	return list;
}

static int
print_json(bool run, const Adminapi__CollectResponse *r, struct error *err)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {{"bytes_before", r->bytes_before},
	    {"bytes_after", r->bytes_after}, {"limit_bytes", r->limit_bytes},
	    {"blobs", r->blobs}, {"blob_bytes", r->blob_bytes},
	    {"large_blobs", r->large_blobs},
	    {"action_results", r->action_results},
	    {"action_result_bytes", r->action_result_bytes},
	    {"segments_removed", r->segments_removed},
	    {"segments_compacted", r->segments_compacted},
	    {"moved_bytes", r->moved_bytes}, {"pinned_blobs", r->pinned_blobs},
	    {"pinned_bytes", r->pinned_bytes}, {"young_blobs", r->young_blobs},
	    {"young_bytes", r->young_bytes}, {"roots", r->roots},
	    {"dropped_toolchains", r->dropped_toolchains},
	    {"floor_bytes", r->floor_bytes},
	    {"youngest_age_ms", (uint64_t)r->youngest_age_ms},
	    {"oldest_young_age_ms", (uint64_t)r->oldest_young_age_ms},
	    {"min_age_ms", (uint64_t)r->min_age_ms}};
	json_t *report = json_object();

	json_object_set_new(report, "run", json_boolean(run));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(report, numbers[i].name,
		    json_integer((json_int_t)numbers[i].value));
	json_object_set_new(
	    report, "target_reached", json_boolean(!r->short_of));
	json_object_set_new(
	    report, "targets", json_shares(r->targets, r->n_targets));
	json_object_set_new(
	    report, "toolchains", json_shares(r->toolchains, r->n_toolchains));
	json_object_set_new(
	    report, "instances", json_shares(r->instances, r->n_instances));
	json_object_set_new(report, "kept", json_kept(r));
	json_object_set_new(
	    report, "uses", admin_json_uses(r->uses, r->n_uses));
	return admin_json_print(report, err);
}

static void
print_shares(const char *title, Adminapi__CollectShare **shares, size_t count)
{
	char size[ADMIN_SIZE_MAX];

	if (count > 0)
		printf("%s that lose most\n", title);
	for (size_t i = 0; i < count; i++) {
		char *label = printable_line(binary_str(shares[i]->label));

		printf("  %-10s %8" PRIu64 " results  %s\n",
		    admin_format_size(shares[i]->bytes, size),
		    shares[i]->action_results, label);
		free(label);
	}
}

static void
print_lists(bool run, const Adminapi__CollectResponse *r)
{
	char size[ADMIN_SIZE_MAX];

	admin_print_uses(r->uses, r->n_uses);
	if (r->n_kept > 0)
		printf("kept by\n");
	for (size_t i = 0; i < r->n_kept; i++) {
		char *name = printable_line(binary_str(r->kept[i]->name));

		printf("  %-10s %8" PRIu64 " blobs    %s %s\n",
		    admin_format_size(r->kept[i]->bytes, size),
		    r->kept[i]->blobs, kind_of(r->kept[i]), name);
		free(name);
	}
	if (run)
		return;
	print_shares("targets", r->targets, r->n_targets);
	print_shares("toolchains", r->toolchains, r->n_toolchains);
	print_shares("instances", r->instances, r->n_instances);
}

static void
print_text(const struct gc_options *options, const Adminapi__CollectResponse *r)
{
	bool run = options->run;
	char one[ADMIN_SIZE_MAX], two[ADMIN_SIZE_MAX], limit[ADMIN_SIZE_MAX];
	char age[ADMIN_AGE_MAX];

	printf("%-14s %s -> %s%s   %s %s\n",
	    options->instance != NULL ? "instance" : "store",
	    admin_format_size(r->bytes_before, one),
	    admin_format_size(r->bytes_after, two), run ? "" : " (about)",
	    options->instance != NULL ? "quota" : "limit",
	    r->limit_bytes > 0 ? admin_format_size(r->limit_bytes, limit)
			       : "none");
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
	if (r->floor_bytes > 0)
		printf("%-14s %s, old enough, but below the floor of its "
		       "instance\n",
		    "floors", admin_format_size(r->floor_bytes, one));
	if (run)
		printf("%-14s %" PRIu64 " removed, %" PRIu64
		       " of them compacted (%s moved)\n",
		    "segments", r->segments_removed, r->segments_compacted,
		    admin_format_size(r->moved_bytes, one));
	if (r->dropped_toolchains > 0)
		printf("%-14s %" PRIu64 " names\n",
		    run ? "removed" : "would remove", r->dropped_toolchains);
	print_lists(run, r);
	if (r->short_of)
		printf("The size asked for %s reached: all else is too young, "
		       "kept, or\nspace in the segment that is written now.\n",
		    run ? "was not" : "would not be");
	if (!run)
		printf("Nothing was changed; --run does it.\n");
}

static int
gc_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct gc_options *options = cookie;
	const Adminapi__WatchCollectionRequest watch =
	    ADMINAPI__WATCH_COLLECTION_REQUEST__INIT;
	struct gc_progress progress = {.lines = options->run};
	const struct admin_watcher watcher = {ADMIN_PATH("WatchCollection"),
	    &watch.base, gc_progress_show, &progress};
	const struct admin_place place = {.client = &options->client,
	    .store = options->store,
	    .min_age = options->min_age,
	    .watcher = options->json ? NULL : &watcher};
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
	if (rc < 0) {
		admin_progress_end();
	} else if (options->json) {
		rc = print_json(options->run, response, err);
	} else {
		gc_progress_end(&progress,
		    response->blob_bytes + response->action_result_bytes);
		print_text(options, response);
	}
	if (rc == 0 && response->short_of)
		*status = ADMIN_EXIT_SHORT;
	admin_answer_clear(&answer);
	return rc;
}

int
gc_command(char **argv)
{
	struct gc_options options = {0};
	const struct command command = {
	    .settings = &gc_settings, .options = &options, .run = gc_run};

	return command_run(&command, argv);
}
