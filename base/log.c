/* SPDX-License-Identifier: Apache-2.0 */
/* The log line writer. Level and form are the only state: set once, before
 * threads. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/log_json.h"
#include "base/printable.h"

#define LOG_LINE_MAX 4096

static enum log_level log_lowest = LOG_INFO;
static bool log_json;

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

void
log_set_json(bool json)
{
	log_json = json;
}

bool
log_is_json(void)
{
	return log_json;
}

bool
log_format_parse(struct str text, bool *json)
{
	*json = str_equal(text, STR("json"));
	return *json || str_equal(text, STR("text"));
}

bool
log_is_written(enum log_level level)
{
	return level >= log_lowest;
}

const char *
log_text(char *text)
{
	for (char *c = text; c != NULL && *c != '\0'; c++) {
		if (*c == '"')
			*c = '\'';
	}
	return text != NULL ? text : "";
}

const char *
log_value(struct str text, char value[static LOG_VALUE_MAX])
{
	size_t len = text.len < LOG_VALUE_MAX ? text.len : LOG_VALUE_MAX - 1;

	/* Not within a character of UTF-8. */
	while (len < text.len && len > 0 &&
	       ((unsigned char)text.data[len] & 0xc0) == 0x80)
		len--;
	if (len > 0)
		memcpy(value, text.data, len);
	value[len] = '\0';
	return log_text(value);
}

const char *
log_word(struct str text, char value[static LOG_VALUE_MAX])
{
	log_value(text, value);
	for (char *c = value; *c != '\0'; c++) {
		if (*c == ' ')
			*c = '?';
	}
	return value;
}

static struct str
log_stamp(char *stamp, size_t size)
{
	struct timespec now;
	struct tm utc;
	size_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	used = strftime(stamp, size, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(stamp + used, size - used, ".%03ldZ", now.tv_nsec / 1000000);
	return str_from(stamp);
}

/* Returns the length of the line, which ends in a newline. */
static size_t
log_format(const struct log_line *line, char *out, size_t size)
{
	size_t used;
	int length;

	if (log_json) {
		used = log_json_format(line, out, size - 1);
	} else {
		length = snprintf(out, size, "%.*s %.*s %.*s %.*s",
		    STR_ARG(line->time), STR_ARG(line->level),
		    STR_ARG(line->event), STR_ARG(line->fields));
		used = length > 0 ? (size_t)length : 0;
		if (used > size - 2)
			used = size - 2;
	}
	out[used++] = '\n';
	return used;
}

void
log_write(enum log_level level, const char *event, const char *format, ...)
{
	char fields[LOG_LINE_MAX], out[2 * LOG_LINE_MAX], stamp[48];
	struct log_line line;
	int length;
	va_list args;

	if (level < log_lowest)
		return;
	va_start(args, format);
	length = vsnprintf(fields, sizeof(fields), format, args);
	va_end(args);
	if (length < 0)
		length = 0;
	if ((size_t)length >= sizeof(fields))
		length = (int)sizeof(fields) - 1;
	printable_make(fields, (size_t)length, PRINTABLE_LINE);
	line = (struct log_line){
	    .time = log_stamp(stamp, sizeof(stamp)),
	    .level = str_from(level_names[level]),
	    .event = str_from(event),
	    .fields = {fields, (size_t)length},
	};
	/* A log that cannot be written has nowhere to say so. */
	if (write(STDERR_FILENO, out,
		log_format(
		    &line, out, log_json ? sizeof(out) : LOG_LINE_MAX)) == -1)
		return;
}
