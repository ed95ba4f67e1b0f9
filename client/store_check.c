/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store check`: opens the store for reading only, so a server may
 * have it. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cas/check.h"
#include "cas/store.h"
#include "client/admin_command.h"
#include "client/command.h"
#include "client/store_commands.h"

struct check_command {
	char *config;
	char *store;
	char *part;
	char *rate;
	char *resume;
	bool json;
};

/* Where a check that was interrupted goes on: a text of hexadecimal digits, the
 * key of the last blob that was read. */
struct check_resume {
	const char *path; /* NULL = none */
	int64_t written_ms;
};

#define FIELD(name) offsetof(struct check_command, name)

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
    {"resume", SETTING_TEXT, FIELD(resume), "FILE", NULL,
	"Keep in this file how far it came, and go on from there: a check\n"
	"that was stopped does not begin anew. Gone when it has ended."},
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
resume_read(
    const char *path, struct index_position *position, struct error *err)
{
	struct buffer text;
	int rc;

	buffer_init(&text, 2 * INDEX_KEY_MAX + 1);
	rc = file_read_all(path, &text, err);
	if (rc < 0 && err->code == ERROR_NOT_FOUND) {
		buffer_clear(&text);
		return 0;
	}
	for (size_t i = 0; rc == 0 && i + 1 < text.len; i += 2) {
		const char pair[] = {text.data[i], text.data[i + 1], '\0'};
		char *end;
		unsigned long byte = strtoul(pair, &end, 16);

		if (*end != '\0' || byte > UINT8_MAX)
			rc = error_set(err, ERROR_INVALID_ARGUMENT,
			    "%s is no file of --resume; remove it to begin "
			    "anew",
			    path);
		else
			position->key[position->length++] = (uint8_t)byte;
	}
	buffer_clear(&text);
	return rc;
}

/* Not more often than once a second. */
static int
resume_write(
    void *cookie, const struct index_position *position, struct error *err)
{
	struct check_resume *resume = cookie;
	char text[2 * INDEX_KEY_MAX + 1];
	int64_t now = clock_monotonic_ms();

	if (resume->path == NULL || position->length > INDEX_KEY_MAX ||
	    now - resume->written_ms < 1000)
		return 0;
	resume->written_ms = now;
	for (size_t i = 0; i < position->length; i++)
		snprintf(text + 2 * i, 3, "%02x", position->key[i]);
	return file_replace(resume->path, text, 2 * position->length, err);
}

static int
check_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct check_command *options = cookie;
	struct check_resume resume = {.path = options->resume};
	struct check_options check = {.bad = print_bad,
	    .stray = print_stray,
	    .reached = resume_write,
	    .cookie = &resume};
	struct check_report report;
	struct store *store;
	int rc;

	(void)arguments;
	if (parse_part(options->part, &check, err) < 0 ||
	    (options->rate != NULL &&
		setting_parse_size(str_from(options->rate), &check.rate, err) <
		    0))
		return -1;
	if (options->resume != NULL && options->part != NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--resume and --part exclude each other");
	if (options->resume != NULL &&
	    resume_read(options->resume, &check.from, err) < 0)
		return -1;
	/* What is bad is told once, here. */
	log_set_level(LOG_ERROR);
	store = admin_read_store(options->store, err);
	if (store == NULL)
		return -1;
	rc = store_check(store, &check, &report, err);
	if (rc == 0) {
		print_check(options->json, &report);
		if (report.bad > 0)
			*status = EXIT_FAILURE;
		if (options->resume != NULL)
			(void)unlink(options->resume);
	}
	store_close(store);
	return rc;
}

int
store_commands_check(char **argv)
{
	struct check_command options = {0};
	const struct command command = {
	    .settings = &check_settings, .options = &options, .run = check_run};

	return command_run(&command, argv);
}
