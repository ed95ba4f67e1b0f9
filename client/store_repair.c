/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store repair`. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "cas/repair.h"
#include "client/admin_command.h"
#include "client/admin_json.h"
#include "client/command.h"
#include "client/store_commands.h"

struct repair_command {
	char *config;
	char *store;
	bool json;
};

#define FIELD(name) offsetof(struct repair_command, name)

static const struct setting repair_table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"The directory of the store, which no server has open."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
};

static const struct settings repair_settings = {
    .command = "store repair",
    .section = "store",
    .synopsis = "--store DIR",
    .about =
	"Makes the index of a store anew from its segments and files, also "
	"when the index is\nlost or damaged. Every blob is compared with its "
	"digest; what is bad is dropped, with\nthe action results that name "
	"it. Results, pins and names of toolchains are taken from\nthe old "
	"index as far as it can be read. The old index stands until the new "
	"one is\nwhole. Exit status: 0 nothing was lost, 1 failed, 2 called "
	"wrongly, 3 repaired, and\nsomething was lost: it is told what.",
    .table = repair_table,
    .count = sizeof(repair_table) / sizeof(repair_table[0]),
    .epilogue = "Example:\n"
		"  systemctl stop toolroot\n"
		"  toolroot store repair --store /var/lib/toolroot",
};

static void
tell(void *cookie, const char *what, const char *why)
{
	(void)cookie;
	admin_progress_end();
	fprintf(stderr, "%s: %s\n", what, why);
}

static void
show_progress(void *cookie, const struct repair_report *report)
{
	char done[ADMIN_SIZE_MAX], total[ADMIN_SIZE_MAX];

	(void)cookie;
	admin_progress("read %s of %s, %llu blobs, %llu bad",
	    admin_format_size(report->bytes, done),
	    admin_format_size(report->bytes_total, total),
	    (unsigned long long)report->blobs,
	    (unsigned long long)report->bad_blobs);
}

static void
print_text(const struct repair_report *report)
{
	char size[ADMIN_SIZE_MAX], skipped[ADMIN_SIZE_MAX];

	printf("read      %s in %llu segments and %llu files\n",
	    admin_format_size(report->bytes, size),
	    (unsigned long long)report->segments,
	    (unsigned long long)report->large_blobs);
	printf("blobs     %llu are sound, %llu were bad and dropped\n",
	    (unsigned long long)report->blobs,
	    (unsigned long long)report->bad_blobs);
	printf("results   %llu were kept, %llu dropped\n",
	    (unsigned long long)report->results,
	    (unsigned long long)report->dropped_results);
	printf("pins      %llu, names of toolchains %llu; %llu damaged ones "
	       "dropped\n",
	    (unsigned long long)report->pins, (unsigned long long)report->names,
	    (unsigned long long)report->dropped_entries);
	if (report->skipped_bytes > 0)
		printf("damage    no records in %s of segments\n",
		    admin_format_size(report->skipped_bytes, skipped));
	if (report->strays > 0)
		printf("strays    %llu files that are no blob's were left\n",
		    (unsigned long long)report->strays);
	if (report->index_lost)
		printf("The index was lost, and with it all action results, "
		       "pins and names of toolchains:\nset pins and add "
		       "toolchains again; results come back with the next "
		       "builds.\n");
	else if (report->index_damaged)
		printf("The index was damaged: some action results, pins or "
		       "names of toolchains may be lost;\nsee toolroot store "
		       "pins and toolroot toolchain list.\n");
}

static int
print_json(const struct repair_report *report, struct error *err)
{
	return admin_json_print(
	    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		      "s:I, s:b, s:b}",
		"bytes", (json_int_t)report->bytes, "blobs",
		(json_int_t)report->blobs, "large_blobs",
		(json_int_t)report->large_blobs, "segments",
		(json_int_t)report->segments, "bad_blobs",
		(json_int_t)report->bad_blobs, "skipped_bytes",
		(json_int_t)report->skipped_bytes, "strays",
		(json_int_t)report->strays, "action_results",
		(json_int_t)report->results, "dropped_action_results",
		(json_int_t)report->dropped_results, "pins",
		(json_int_t)report->pins, "names", (json_int_t)report->names,
		"dropped_entries", (json_int_t)report->dropped_entries,
		"index_lost", report->index_lost, "index_damaged",
		report->index_damaged),
	    err);
}

static int
repair_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct repair_command *command = cookie;
	const struct repair_options options = {
	    .path = command->store, .progress = show_progress, .tell = tell};
	struct repair_report report;
	int rc;

	(void)arguments;
	if (command->store == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--store is missing: the directory of the store");
	log_set_level(LOG_WARN);
	rc = store_repair(&options, &report, err);
	admin_progress_end();
	if (rc < 0)
		return -1;
	if (command->json)
		rc = print_json(&report, err);
	else
		print_text(&report);
	if (repair_lost_something(&report))
		*status = ADMIN_EXIT_SHORT;
	return rc;
}

int
store_commands_repair(char **argv)
{
	struct repair_command options = {0};
	const struct command command = {.settings = &repair_settings,
	    .options = &options,
	    .run = repair_run};

	return command_run(&command, argv);
}
