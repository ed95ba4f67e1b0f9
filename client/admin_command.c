/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a command's store, writing figures. */
#include "client/admin_command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/store.h"

struct store *
admin_open_store(const struct store_options *options, struct error *err)
{
	char *format = xasprintf("%s/format", options->path);
	bool there = access(format, F_OK) == 0;

	free(format);
	if (there)
		return store_open(options, err);
	/* Opening would make one. */
	error_set(err, ERROR_NOT_FOUND,
	    "%s is no store: it has no file named format", options->path);
	return NULL;
}

struct store *
admin_read_store(const char *path, struct error *err)
{
	const struct store_options store = {.path = path, .read_only = true};

	if (path != NULL)
		return store_open(&store, err);
	error_set(err, ERROR_INVALID_ARGUMENT,
	    "--store is missing: the directory of the store");
	return NULL;
}

void
admin_answer_clear(struct admin_answer *answer)
{
	answer->message = NULL;
	arena_clear(&answer->arena);
}

/* --- progress ------------------------------------------------------------- */

void
admin_progress(const char *format, ...)
{
	va_list arguments;

	if (!isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fflush(stderr);
}

void
admin_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* --- figures -------------------------------------------------------------- */

const char *
admin_format_size(uint64_t bytes, char text[static ADMIN_SIZE_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(text, ADMIN_SIZE_MAX, "%" PRIu64 " B", bytes);
		return text;
	}
	while (value >= 1024 && unit < 3) {
		value /= 1024;
		unit++;
	}
	snprintf(text, ADMIN_SIZE_MAX, "%.1f %s", value, units[unit]);
	return text;
}

const char *
admin_format_age(int64_t ms, char text[static ADMIN_AGE_MAX])
{
	int64_t minutes = ms / 60000;

	if (ms < 0)
		snprintf(text, ADMIN_AGE_MAX, "-");
	else if (minutes < 60)
		snprintf(text, ADMIN_AGE_MAX, "%" PRId64 " min", minutes);
	else if (minutes < 48 * 60)
		snprintf(text, ADMIN_AGE_MAX, "%" PRId64 " h %" PRId64 " min",
		    minutes / 60, minutes % 60);
	else
		snprintf(text, ADMIN_AGE_MAX, "%" PRId64 " d %" PRId64 " h",
		    minutes / 1440, minutes / 60 % 24);
	return text;
}

const char *
admin_format_time(int64_t seconds, char text[static ADMIN_TIME_MAX])
{
	time_t time = (time_t)seconds;
	struct tm parts;

	snprintf(text, ADMIN_TIME_MAX, "-");
	if (seconds > 0 && gmtime_r(&time, &parts) != NULL)
		(void)strftime(
		    text, ADMIN_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return text;
}

static void
print_use(const Adminapi__InstanceUse *use)
{
	char bytes[ADMIN_SIZE_MAX], quota[ADMIN_SIZE_MAX];
	char floor[ADMIN_SIZE_MAX];
	const char *name =
	    use->name.len > 0 ? (const char *)use->name.data : "\"\"";

	printf("  %20s %10s %10s  ", admin_format_size(use->bytes, bytes),
	    use->quota_bytes > 0 ? admin_format_size(use->quota_bytes, quota)
				 : "-",
	    use->floor_bytes > 0 ? admin_format_size(use->floor_bytes, floor)
				 : "-");
	if (use->nameless)
		printf("(not known)\n");
	else
		printf(
		    "%.*s\n", use->name.len > 0 ? (int)use->name.len : 2, name);
}

void
admin_print_uses(Adminapi__InstanceUse *const *uses, size_t count)
{
	if (count > 0)
		printf("instances          use      quota      floor\n");
	for (size_t i = 0; i < count; i++)
		print_use(uses[i]);
}
