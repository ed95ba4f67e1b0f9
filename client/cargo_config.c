/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for one key, by its name alone: in the table [build], with "build."
 * before it or in braces. A line at a time, comments left out.
 */
#include "client/cargo_config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

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

/* The caller frees it. */
static char *
value_in_line(const char *key, struct str line)
{
	size_t length = strlen(key), at = 0;

	while (at < line.len) {
		const char *found =
		    memmem(line.data + at, line.len - at, key, length);
		struct str value;

		if (found == NULL)
			return NULL;
		at = (size_t)(found - line.data);
		if (value_at(line, at, length, &value) && value.len > 0)
			return xstrndup(value.data, value.len);
		at += length;
	}
	return NULL;
}

char *
cargo_config_value(const char *key, struct str text)
{
	char *value = NULL;

	while (text.len > 0 && value == NULL)
		value =
		    value_in_line(key, without_comment(str_cut(&text, '\n')));
	return value;
}

/* --- all files ------------------------------------------------------------ */

/* Both the caller's to free. */
struct told {
	char *file;
	char *value; /* NULL: nothing was said */
};

static struct told
look_in(const char *key, char *path)
{
	struct told told = {.file = path};
	struct error ignored; /* cargo tells what is wrong with its files */
	struct buffer text;

	buffer_init(&text, FILE_SIZE_MAX);
	if (file_read_all(path, &text, &ignored) == 0)
		told.value = cargo_config_value(key, buffer_str(&text));
	buffer_clear(&text);
	if (told.value == NULL) {
		free(told.file);
		told.file = NULL;
	}
	return told;
}

/* Where there are both, cargo reads the old name alone. */
static struct told
look_in_either(const char *key, const char *directory)
{
	char *path = xasprintf("%s/config", directory);

	if (access(path, F_OK) == -1) {
		free(path);
		path = xasprintf("%s/config.toml", directory);
	}
	return look_in(key, path);
}

static struct told
look_in_home(const char *key, char *const *environment)
{
	const char *home = cargo_strings_value(environment, "CARGO_HOME");
	const char *user = cargo_strings_value(environment, "HOME");
	struct told told = {.value = NULL};
	char *path;

	if (home != NULL)
		return look_in_either(key, home);
	if (user != NULL) {
		path = xasprintf("%s/.cargo", user);
		told = look_in_either(key, path);
		free(path);
	}
	return told;
}

static struct told
look_in_all(const char *key, const char *directory, char *const *environment)
{
	char *at = xstrdup(directory);
	struct told told;
	char *end, *path;

	do {
		path = xasprintf("%s/.cargo", at);
		told = look_in_either(key, path);
		free(path);
		end = strrchr(at, '/');
		if (end != NULL)
			*end = '\0';
	} while (told.value == NULL && end != NULL);
	free(at);
	return told.value != NULL ? told : look_in_home(key, environment);
}

char *
cargo_config_find(
    const char *key, const char *directory, char *const *environment)
{
	struct told told = look_in_all(key, directory, environment);
	char *text = told.value != NULL
			 ? xasprintf("%s: %s", told.file, told.value)
			 : NULL;

	free(told.file);
	free(told.value);
	return text;
}

/* --- programs ------------------------------------------------------------- */

/* Takes the value; the directory is that which .cargo of the file is in. */
static char *
program_in(struct told told)
{
	char *program = told.value;

	if (program != NULL && program[0] != '/' &&
	    strchr(program, '/') != NULL) {
		for (int i = 0; i < 2; i++) {
			char *slash = strrchr(told.file, '/');

			if (slash != NULL)
				*slash = '\0';
		}
		program = xasprintf("%s/%s", told.file, told.value);
		free(told.value);
	}
	free(told.file);
	return program;
}

char *
cargo_config_program(
    const char *key, const char *directory, char *const *environment)
{
	return program_in(look_in_all(key, directory, environment));
}

char *
cargo_config_given(const char *key, const char *given, const char *directory)
{
	char *path = given[0] == '/' ? xstrdup(given)
				     : xasprintf("%s/%s", directory, given);
	struct told told;

	if (access(path, F_OK) == 0)
		return program_in(look_in(key, path));
	free(path);
	/* As if it stood in a file of this directory's. */
	told.value = cargo_config_value(key, str_from(given));
	told.file = xasprintf("%s/.cargo/-", directory);
	return program_in(told);
}
