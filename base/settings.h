/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of a command: one table describes each once, and from it come the
 * command line, the environment, the config file and `--help`.
 *
 * Precedence: command line over environment over config file over default. A
 * setting `max-size` is `--max-size 10G` or `--max-size=10G`,
 * `TOOLROOT_MAX_SIZE=10G`, and `max-size = 10G` under `[section]` of the INI
 * file. An unknown name or bad value is refused with its place (file and line,
 * variable, or option) and what would be valid. Not thread-safe: for the start
 * of a program.
 *
 * Sizes take K M G T (powers of 1024); durations ms s m h d; flags yes or no
 * (alone on the command line: yes).
 */
#ifndef TOOLROOT_BASE_SETTINGS_H
#define TOOLROOT_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct error;

enum setting_type {
	SETTING_TEXT,     /* char *, allocated; NULL when not set */
	SETTING_SIZE,     /* uint64_t, bytes */
	SETTING_DURATION, /* int64_t, milliseconds */
	SETTING_COUNT,    /* uint64_t */
	SETTING_FLAG,     /* bool */
	SETTING_LIST,     /* struct setting_list, each use adds one */
	/* As a text, but taken from the command line alone: of one command,
	 * where the name has another meaning for all others. */
	SETTING_ARGUMENT,
};

struct setting_list {
	char **items; /* allocated */
	size_t count;
};

struct setting {
	const char *name; /* with dashes, without the leading two */
	enum setting_type type;
	size_t offset;       /* of the field in the target structure */
	const char *value;   /* what stands for the value in --help */
	const char *initial; /* default as text, or NULL */
	const char *help;    /* one or more lines */
};

struct settings {
	const char *command;  /* "serve": `toolroot serve` and `[serve]` */
	const char *section;  /* of the file, if it is not the command */
	const char *synopsis; /* "[options]" and what else stands behind */
	const char *about;    /* what the command does, for --help */
	const struct setting *table;
	size_t count;
	const char *epilogue; /* examples for --help; may be NULL */
};

/* Fills target (zeroed by the caller) from defaults, config file, environment
 * and argv. argv[0] is the command itself. What is no option goes to
 * arguments (borrowed from argv), "--" ends options. 0, 1 when --help was
 * asked for (the caller prints it), -1 with INVALID_ARGUMENT.
 * The file is --config or TOOLROOT_CONFIG, else /etc/toolroot.conf when that
 * exists. */
struct setting_arguments {
	char **items; /* allocated array; elements are argv's */
	size_t count;
};
int settings_read(const struct settings *settings, char **argv, void *target,
    struct setting_arguments *arguments, struct error *err);
/* Whether a variable of the environment (TOOLROOT_MAX_SIZE) sets one of them.
 */
bool settings_have_variable(const struct settings *settings, struct str name);
/* Prints --help to standard output. */
void settings_help(const struct settings *settings);
/* Frees the texts and lists in target. */
void settings_clear(const struct settings *settings, void *target);

/* Whether a list has this text. */
bool setting_list_has(const struct setting_list *list, struct str text);

/* The parsers, for use elsewhere. -1 with INVALID_ARGUMENT. */
int setting_parse_size(struct str text, uint64_t *bytes, struct error *err);
int setting_parse_duration(
    struct str text, int64_t *milliseconds, struct error *err);

#endif
