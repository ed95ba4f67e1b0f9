/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store stats`: asks a server, or reads the store in a directory,
 * which a server may have. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/error.h"
#include "cas/admin.h"
#include "cas/store_statistics.h"
#include "client/admin_command.h"
#include "client/admin_json.h"
#include "client/client_options.h"
#include "client/command.h"
#include "client/store_commands.h"

struct stats_command {
	struct client_options client;
	char *store;
	bool json;
};

#define FIELD(name) offsetof(struct stats_command, name)

static const struct setting stats_table[] = {
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"Read the store in this directory instead of asking a server; one may\n"
	"have it open."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    CLIENT_OPTIONS_TABLE(struct stats_command),
};

static const struct settings stats_settings = {
    .command = "store stats",
    .section = "client",
    .synopsis = "[options]",
    .about = "Prints what is in a store: sizes, ages (since it was last "
	     "written, found or\nread), compression, segments, and what each "
	     "instance has.",
    .table = stats_table,
    .count = sizeof(stats_table) / sizeof(stats_table[0]),
};

/* What an answer has of a list; a server of another version may have less. */
static size_t
at_most(size_t count, size_t limit)
{
	return count < limit ? count : limit;
}

static void
print_share(const char *label, const Adminapi__StatisticsShare *share)
{
	char size[ADMIN_SIZE_MAX];

	printf("  %-12s %10" PRIu64 "  %s\n", label, share->count,
	    admin_format_size(share->bytes, size));
}

static void
print_sizes(const Adminapi__Statistics *statistics)
{
	printf("by size\n");
	for (size_t i = 0; i < at_most(statistics->n_sizes, STATISTICS_SIZES);
	     i++) {
		char label[2 + ADMIN_SIZE_MAX], size[ADMIN_SIZE_MAX];
		bool last = i == STATISTICS_SIZES - 1;

		snprintf(label, sizeof(label), "%s %s", last ? ">=" : "<",
		    admin_format_size(
			statistics_size_limits[last ? i - 1 : i], size));
		print_share(label, statistics->sizes[i]);
	}
}

static const char *const age_labels[STATISTICS_AGES] = {
    "< 1 h", "< 3 h", "< 12 h", "< 1 d", "< 3 d", "< 7 d", "< 30 d", ">= 30 d"};

static void
print_ages(const Adminapi__Statistics *statistics)
{
	printf("by age\n");
	for (size_t i = 0; i < at_most(statistics->n_ages, STATISTICS_AGES);
	     i++)
		print_share(age_labels[i], statistics->ages[i]);
}

static void
print_live(const Adminapi__Statistics *statistics)
{
	printf("segments by how much of them is used\n");
	for (size_t i = 0; i < statistics->n_segments_by_use; i++) {
		char label[32];

		snprintf(label, sizeof(label), "%s %zu %%",
		    i + 1 == STATISTICS_LIVE ? "<=" : "<", 10 * (i + 1));
		print_share(label, statistics->segments_by_use[i]);
	}
}

static double
ratio(uint64_t of, uint64_t to)
{
	return to > 0 ? (double)of / (double)to : 1;
}

static void
print_statistics(const Adminapi__Statistics *statistics)
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
	printf("results   %" PRIu64 ", %s\n", statistics->action_results,
	    admin_format_size(statistics->action_result_bytes, one));
	printf("ratios    compression %.2f; results name %s, kept once %s: "
	       "deduplication %.2f\n",
	    ratio(statistics->size_bytes, statistics->stored_bytes),
	    admin_format_size(statistics->named_bytes, one),
	    admin_format_size(statistics->distinct_bytes, two),
	    ratio(statistics->named_bytes, statistics->distinct_bytes));
	print_sizes(statistics);
	print_ages(statistics);
	print_live(statistics);
	admin_print_uses(statistics->instances, statistics->n_instances);
}

static json_t *
json_share(const Adminapi__StatisticsShare *share)
{
	return json_pack("{s:I, s:I}", "count", (json_int_t)share->count,
	    "bytes", (json_int_t)share->bytes);
}

/* Each with its upper limit, which the last has none of. */
static json_t *
json_sizes(const Adminapi__Statistics *statistics)
{
	json_t *list = json_array();

	for (size_t i = 0; i < at_most(statistics->n_sizes, STATISTICS_SIZES);
	     i++) {
		json_t *entry = json_share(statistics->sizes[i]);

		if (i + 1 < STATISTICS_SIZES)
			json_object_set_new(entry, "below",
			    json_integer(
				(json_int_t)statistics_size_limits[i]));
		json_array_append_new(list, entry);
	}
	return list;
}

static json_t *
json_ages(const Adminapi__Statistics *statistics)
{
	json_t *list = json_array();

	for (size_t i = 0; i < at_most(statistics->n_ages, STATISTICS_AGES);
	     i++) {
		json_t *entry = json_share(statistics->ages[i]);

		if (i + 1 < STATISTICS_AGES)
			json_object_set_new(entry, "below_minutes",
			    json_integer((json_int_t)statistics_age_limits[i]));
		json_array_append_new(list, entry);
	}
	return list;
}

static json_t *
json_live(const Adminapi__Statistics *statistics)
{
	json_t *list = json_array();

	for (size_t i = 0; i < statistics->n_segments_by_use; i++)
		json_array_append_new(
		    list, json_share(statistics->segments_by_use[i]));
	return list;
}

static int
print_json(const Adminapi__Statistics *s, struct error *err)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {{"blobs", s->blobs}, {"size_bytes", s->size_bytes},
	    {"stored_bytes", s->stored_bytes}, {"large_blobs", s->large_blobs},
	    {"large_bytes", s->large_bytes},
	    {"compressed_blobs", s->compressed_blobs},
	    {"compressed_size_bytes", s->compressed_size_bytes},
	    {"compressed_stored_bytes", s->compressed_stored_bytes},
	    {"segments", s->segments}, {"segment_bytes", s->segment_bytes},
	    {"segment_live_bytes", s->segment_live_bytes},
	    {"action_results", s->action_results},
	    {"action_result_bytes", s->action_result_bytes},
	    {"named_blobs", s->named_blobs}, {"named_bytes", s->named_bytes},
	    {"distinct_blobs", s->distinct_blobs},
	    {"distinct_bytes", s->distinct_bytes}};
	json_t *report = json_object();

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(report, numbers[i].name,
		    json_integer((json_int_t)numbers[i].value));
	json_object_set_new(report, "sizes", json_sizes(s));
	json_object_set_new(report, "ages", json_ages(s));
	json_object_set_new(report, "segments_by_use", json_live(s));
	json_object_set_new(
	    report, "instances", admin_json_uses(s->instances, s->n_instances));
	return admin_json_print(report, err);
}

static int
stats_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct stats_command *options = cookie;
	const struct admin_place place = {.client = &options->client,
	    .store = options->store,
	    .read_only = true};
	const Adminapi__GetStatisticsRequest request =
	    ADMINAPI__GET_STATISTICS_REQUEST__INIT;
	struct admin_answer answer;
	int rc = admin_call(
	    &place, ADMIN_PATH("GetStatistics"), &request.base, &answer, err);

	(void)arguments;
	(void)status;
	if (rc == 0 && options->json)
		rc = print_json(answer.message, err);
	else if (rc == 0)
		print_statistics(answer.message);
	admin_answer_clear(&answer);
	return rc;
}

int
store_commands_stats(char **argv)
{
	struct stats_command options = {0};
	const struct command command = {
	    .settings = &stats_settings, .options = &options, .run = stats_run};

	return command_run(&command, argv);
}
