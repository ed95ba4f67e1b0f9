/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for one key, by its name alone: in the table [build], with "build."
 * before it or in braces. A line at a time, comments left out.
 */
#include "client/cargo_config.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_strings.h"

#define FILE_SIZE_MAX (1u << 20)

/* --- one file ------------------------------------------------------------- */

static bool
is_key_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
}

static struct str
trim(struct str text, const char *bytes)
{
	while (text.len > 0 && strchr(bytes, text.data[0]) != NULL) {
		text.data++;
		text.len--;
	}
	while (text.len > 0 && strchr(bytes, text.data[text.len - 1]) != NULL)
		text.len--;
	return text;
}

/* Up to a comment. Values of these keys have no "#" in them, or are paths that
 * are merely cut here. */
static struct str
without_comment(struct str line)
{
	const char *sign = memchr(line.data, '#', line.len);

	if (sign != NULL)
		line.len = (size_t)(sign - line.data);
	return line;
}

/* The value that follows the key at this place of the line. */
static bool
value_at(struct str line, size_t at, size_t key, struct str *value)
{
	struct str rest = {line.data + at + key, line.len - at - key};

	if (at > 0 && is_key_byte(line.data[at - 1]))
		return false;
	rest = trim(rest, " \t\r\"'");
	if (rest.len == 0 || rest.data[0] != '=')
		return false;
	rest.data++;
	rest.len--;
	rest = trim(rest, " \t\r}");
	if (rest.len > 0 && (rest.data[0] == '"' || rest.data[0] == '\'')) {
		const char *end =
		    memchr(rest.data + 1, rest.data[0], rest.len - 1);

		if (end != NULL)
			rest.len = (size_t)(end - rest.data) + 1;
	}
	*value = trim(rest, "\"'");
	return true;
}

char *
cargo_config_value(const char *key, struct str text)
{
	size_t length = strlen(key);

	while (text.len > 0) {
		struct str line = without_comment(str_cut(&text, '\n'));
		const char *found = memmem(line.data, line.len, key, length);
		struct str value;

		if (found != NULL &&
		    value_at(
			line, (size_t)(found - line.data), length, &value) &&
		    value.len > 0)
			return xstrndup(value.data, value.len);
	}
	return NULL;
}

/* --- all files ------------------------------------------------------------ */

static char *
look_in(const char *key, const char *directory, const char *name)
{
	char *path = xasprintf("%s/%s", directory, name);
	struct error ignored; /* cargo tells what is wrong with its files */
	struct buffer text;
	char *value = NULL, *told = NULL;

	buffer_init(&text, FILE_SIZE_MAX);
	if (file_read_all(path, &text, &ignored) == 0)
		value = cargo_config_value(key, buffer_str(&text));
	if (value != NULL)
		told = xasprintf("%s: %s", path, value);
	buffer_clear(&text);
	free(value);
	free(path);
	return told;
}

static char *
look_in_both(const char *key, const char *directory)
{
	char *told = look_in(key, directory, "config.toml");

	return told != NULL ? told : look_in(key, directory, "config");
}

char *
cargo_config_find(
    const char *key, const char *directory, char *const *environment)
{
	const char *home = cargo_strings_value(environment, "CARGO_HOME");
	const char *user = cargo_strings_value(environment, "HOME");
	char *at = xstrdup(directory);
	char *told = NULL;
	char *end, *path;

	do {
		path = xasprintf("%s/.cargo", at);
		told = look_in_both(key, path);
		free(path);
		end = strrchr(at, '/');
		if (end != NULL)
			*end = '\0';
	} while (told == NULL && end != NULL);
	free(at);
	if (told == NULL && home != NULL) {
		told = look_in_both(key, home);
	} else if (told == NULL && user != NULL) {
		path = xasprintf("%s/.cargo", user);
		told = look_in_both(key, path);
		free(path);
	}
	return told;
}
