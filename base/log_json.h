/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log line as one JSON object: time, level and event, then the fields of the
 * text form (`key=value` and `key="value with blanks"`) as strings. Quotes
 * inside a quoted value are not escaped there, so such a value ends at the
 * quote that is followed by the next key or by nothing. What is no field
 * comes under "text". Pure; any thread.
 */
#ifndef TOOLROOT_BASE_LOG_JSON_H
#define TOOLROOT_BASE_LOG_JSON_H

#include "base/str.h"

struct log_line {
	struct str time;
	struct str level;
	struct str event;
	struct str fields;
};

/* Writes the object, without a newline, and returns its length; fields that do
 * not fit into size are left out. size is at least 256. */
size_t log_json_format(const struct log_line *line, char *out, size_t size);

#endif
