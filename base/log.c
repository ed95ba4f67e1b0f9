/* SPDX-License-Identifier: Apache-2.0 */
/* The log line writer. The level is the only state: set once, before
 * threads. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 4096

static enum log_level log_lowest = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void
log_set_level(enum log_level level)
{
	log_lowest = level;
}

bool
log_level_parse(struct str text, enum log_level *level)
{
	for (int i = 0; i <= LOG_ERROR; i++) {
		if (str_equal(text, str_from(level_names[i]))) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

static size_t
log_prefix(char *line, size_t size, enum log_level level, const char *event)
{
	struct timespec now;
	struct tm utc;
	char stamp[32];
	int length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
	length = snprintf(line, size, "%s.%03ldZ %s %s ", stamp,
	    now.tv_nsec / 1000000, level_names[level], event);
	return length > 0 ? (size_t)length : 0;
}

void
log_write(enum log_level level, const char *event, const char *format, ...)
{
	char line[LOG_LINE_MAX];
	size_t used;
	int length;
	va_list args;

	if (level < log_lowest)
		return;
	used = log_prefix(line, sizeof(line) - 1, level, event);
	va_start(args, format);
	length = vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
	va_end(args);
	if (length > 0)
		used += (size_t)length;
	if (used > sizeof(line) - 2)
		used = sizeof(line) - 2;
	for (size_t i = 0; i < used; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to say so. */
	if (write(STDERR_FILENO, line, used) == -1)
		return;
}
