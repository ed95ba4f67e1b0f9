/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store stats` and `check`: both open the store for reading only, so
 * a server may have it. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "cas/check.h"
#include "cas/store.h"
#include "cas/store_statistics.h"
#include "client/admin_command.h"
#include "client/store_commands.h"

struct check_command {
	char *config;
	char *store;
	char *part;
	char *rate;
	bool json;
};

#define FIELD(name) offsetof(struct check_command, name)

static struct store *
open_store(const struct check_command *options, struct error *err)
{
	const struct store_options store = {
	    .path = options->store, .read_only = true};

	if (options->store == NULL) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "--store is missing: the directory of the store");
		return NULL;
	}
	return store_open(&store, err);
}

/* --- stats ---------------------------------------------------------------- */

static const struct setting stats_table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"The directory of the store; a server may have it open."},
};

static const struct settings stats_settings = {
    .command = "store stats",
    .section = "store",
    .synopsis = "--store DIR",
    .about = "Prints what is in a store: sizes, ages (since it was last "
	     "written, found or\nread), compression, segments.",
    .table = stats_table,
    .count = sizeof(stats_table) / sizeof(stats_table[0]),
};

static void
print_share(const char *label, const struct statistics_share *share)
{
	char size[ADMIN_SIZE_MAX];

	printf("  %-12s %10" PRIu64 "  %s\n", label, share->count,
	    admin_format_size(share->bytes, size));
}

static void
print_sizes(const struct store_statistics *statistics)
{
	printf("by size\n");
	for (size_t i = 0; i < STATISTICS_SIZES; i++) {
		char label[2 + ADMIN_SIZE_MAX], size[ADMIN_SIZE_MAX];
		bool last = i == STATISTICS_SIZES - 1;

		snprintf(label, sizeof(label), "%s %s", last ? ">=" : "<",
		    admin_format_size(
			statistics_size_limits[last ? i - 1 : i], size));
		print_share(label, &statistics->sizes[i]);
	}
}

static void
print_ages(const struct store_statistics *statistics)
{
	static const char *const labels[STATISTICS_AGES] = {"< 1 h", "< 3 h",
	    "< 12 h", "< 1 d", "< 3 d", "< 7 d", "< 30 d", ">= 30 d"};

	printf("by age\n");
	for (size_t i = 0; i < STATISTICS_AGES; i++)
		print_share(labels[i], &statistics->ages[i]);
}

static void
print_statistics(const struct store_statistics *statistics)
{
	char one[ADMIN_SIZE_MAX], two[ADMIN_SIZE_MAX];

	printf("blobs     %" PRIu64 ", %s (%s as kept)\n", statistics->blobs,
	    admin_format_size(statistics->size_bytes, one),
	    admin_format_size(statistics->stored_bytes, two));
	printf("large     %" PRIu64 ", %s, one file each\n",
	    statistics->large_blobs,
	    admin_format_size(statistics->large_bytes, one));
	printf("zstd      %" PRIu64 ", %s kept as %s\n",
	    statistics->compressed_blobs,
	    admin_format_size(statistics->compressed_size_bytes, one),
	    admin_format_size(statistics->compressed_stored_bytes, two));
	printf("segments  %" PRIu64 ", %s, of which %s are used\n",
	    statistics->segments,
	    admin_format_size(statistics->segment_bytes, one),
	    admin_format_size(statistics->segment_live_bytes, two));
	printf("results   %" PRIu64 ", %s\n", statistics->results,
	    admin_format_size(statistics->result_bytes, one));
	print_sizes(statistics);
	print_ages(statistics);
}

static int
stats_run(void *cookie, char **arguments, int *status, struct error *err)
{
	struct store_statistics statistics;
	struct store *store;
	int rc;

	(void)arguments;
	(void)status;
	store = open_store(cookie, err);
	if (store == NULL)
		return -1;
	rc = store_statistics(store, &statistics, err);
	if (rc == 0)
		print_statistics(&statistics);
	store_close(store);
	return rc;
}

int
store_commands_stats(char **argv)
{
	struct check_command options = {0};
	const struct admin_command command = {
	    .settings = &stats_settings, .options = &options, .run = stats_run};

	return admin_command_run(&command, argv);
}

/* --- check ---------------------------------------------------------------- */

static const struct setting check_table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"The directory of the store; a server may have it open."},
    {"part", SETTING_TEXT, FIELD(part), "N/M", NULL,
	"Only the Nth of M parts of the blobs, M at most 256: a long check\n"
	"can be many short ones, one a night."},
    {"rate", SETTING_TEXT, FIELD(rate), "SIZE", NULL,
	"Read no more than so many bytes a second."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
};

static const struct settings check_settings = {
    .command = "store check",
    .section = "store",
    .synopsis = "--store DIR",
    .about = "Reads every blob and compares it with its digest, looks whether "
	     "action\n"
	     "results have all their blobs, and for files that nothing names. "
	     "Changes\nnothing. Exit status 1 when a blob is bad.",
    .table = check_table,
    .count = sizeof(check_table) / sizeof(check_table[0]),
    .epilogue = "Examples:\n"
		"  toolroot store check --store /var/lib/toolroot\n"
		"  toolroot store check --store /var/lib/toolroot --part 3/30 "
		"--rate 20M",
};

static void
print_bad(void *cookie, const struct digest *digest, const char *why)
{
	char text[DIGEST_TEXT_MAX];

	(void)cookie;
	fprintf(stderr, "bad: %s: %s\n", digest_format(digest, text), why);
}

static void
print_stray(void *cookie, const char *path, uint64_t bytes)
{
	(void)cookie;
	fprintf(stderr, "stray: blobs/%s: %" PRIu64 " bytes\n", path, bytes);
}

static int
parse_part(const char *text, struct check_options *check, struct error *err)
{
	unsigned long part, parts = 0;
	char *end;

	if (text == NULL)
		return 0;
	part = strtoul(text, &end, 10);
	if (end != text && *end == '/')
		parts = strtoul(end + 1, &end, 10);
	if (*end == '\0' && part >= 1 && part <= parts && parts <= 256) {
		check->part = (unsigned)part;
		check->parts = (unsigned)parts;
		return 0;
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "--part \"%s\" is not N/M with N from 1 to M and M at most 256",
	    text);
}

static void
print_check(bool json, const struct check_report *report)
{
	char size[ADMIN_SIZE_MAX];

	if (json) {
		printf("{\"blobs\": %" PRIu64 ", \"bytes\": %" PRIu64
		       ", \"bad\": %" PRIu64 ", \"action_results\": %" PRIu64
		       ", \"incomplete\": %" PRIu64 ", \"strays\": %" PRIu64
		       ", \"stray_bytes\": %" PRIu64 "}\n",
		    report->blobs, report->bytes, report->bad, report->results,
		    report->incomplete, report->strays, report->stray_bytes);
		return;
	}
	printf("%" PRIu64 " blobs read (%s), %" PRIu64 " bad\n", report->blobs,
	    admin_format_size(report->bytes, size), report->bad);
	printf("%" PRIu64 " action results, %" PRIu64
	       " that lack a blob (never served; dropped when asked for)\n",
	    report->results, report->incomplete);
	printf("%" PRIu64 " files that nothing names (%s)\n", report->strays,
	    admin_format_size(report->stray_bytes, size));
}

static int
check_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct check_command *options = cookie;
	struct check_options check = {.bad = print_bad, .stray = print_stray};
	struct check_report report;
	struct store *store;
	int rc;

	(void)arguments;
	if (parse_part(options->part, &check, err) < 0 ||
	    (options->rate != NULL &&
		setting_parse_size(str_from(options->rate), &check.rate, err) <
		    0))
		return -1;
	/* What is bad is told once, here. */
	log_set_level(LOG_ERROR);
	store = open_store(options, err);
	if (store == NULL)
		return -1;
	rc = store_check(store, &check, &report, err);
	if (rc == 0) {
		print_check(options->json, &report);
		if (report.bad > 0)
			*status = EXIT_FAILURE;
	}
	store_close(store);
	return rc;
}

int
store_commands_check(char **argv)
{
	struct check_command options = {0};
	const struct admin_command command = {
	    .settings = &check_settings, .options = &options, .run = check_run};

	return admin_command_run(&command, argv);
}
