/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: one event a line on standard error,
 * `2026-11-22T12:00:00.000Z info event key=value ...`. The supervisor keeps and
 * rotates. Any thread; a line is written with one write(2). In the JSON form it
 * is one object a line (base/log_json.h).
 */
#ifndef TOOLROOT_BASE_LOG_H
#define TOOLROOT_BASE_LOG_H

#include <stdbool.h>

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines below this level are dropped; LOG_INFO at the start. Set it before the
 * first thread starts. */
void log_set_level(enum log_level level);
/* From "debug", "info", "warn" or "error"; false for anything else. */
bool log_level_parse(struct str text, enum log_level *level);

/* As lines of JSON or as text, which is the form at the start. */
void log_set_json(bool json);
bool log_is_json(void);
/* From "text" or "json"; false for anything else. */
bool log_format_parse(struct str text, bool *json);
/* Whether a line of this level would be written: for those whose making
 * costs. */
bool log_is_written(enum log_level level);

/* A text from elsewhere as the inside of a quoted value: cut, and without the
 * quotes that would end it. data may be NULL. */
#define LOG_VALUE_MAX 256
const char *log_value(struct str text, char value[static LOG_VALUE_MAX]);
/* The same as a value without quotes: blanks become '?'. */
const char *log_word(struct str text, char value[static LOG_VALUE_MAX]);

/* A NUL-terminated one in place, uncut; NULL is "". */
const char *log_text(char *text);

/* event is one word, e.g. "store_opened"; the format makes `key=value` pairs.
 * A value that may hold blanks is written as "\"%s\"". What a terminal would
 * obey comes out as '?' (base/printable.h), a line above 4 KiB is cut. */
void log_write(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(event, ...) log_write(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) log_write(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_write(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_write(LOG_ERROR, event, __VA_ARGS__)

#endif
