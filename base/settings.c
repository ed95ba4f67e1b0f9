/* SPDX-License-Identifier: Apache-2.0 */
/* Reading settings from a table. Runs once, before threads. */
#include "base/settings.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/nearest_word.h"

#define SETTINGS_FILE "/etc/toolroot.conf"
#define SETTINGS_NAME_MAX 64

/* One value and where it came from, for the error text. */
struct setting_value {
	struct str text;
	/* "--max-size", "TOOLROOT_MAX_SIZE"; NULL in a file */
	const char *place;
};

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"K", 1u << 10},
    {"M", 1u << 20},
    {"G", 1u << 30},
    {"T", UINT64_C(1) << 40},
};

static const struct unit duration_units[] = {
    {"ms", 1},
    {"s", 1000},
    {"m", 60000},
    {"h", 3600000},
    {"d", 86400000},
};

/* "<digits><unit>"; false when malformed or too large for an int64. */
static bool
parse_with_unit(
    struct str text, const struct unit *units, size_t count, uint64_t *value)
{
	struct str digits = {text.data, 0};
	struct str unit;
	uint64_t number;

	while (digits.len < text.len && text.data[digits.len] >= '0' &&
	       text.data[digits.len] <= '9')
		digits.len++;
	if (!str_to_uint64(digits, INT64_MAX, &number))
		return false;
	unit = (struct str){text.data + digits.len, text.len - digits.len};
	for (size_t i = 0; i < count; i++) {
		if (!str_equal(unit, str_from(units[i].name)))
			continue;
		return !__builtin_mul_overflow(
			   number, units[i].factor, value) &&
		       *value <= INT64_MAX;
	}
	return false;
}

int
setting_parse_size(struct str text, uint64_t *bytes, struct error *err)
{
	if (parse_with_unit(text, size_units,
		sizeof(size_units) / sizeof(size_units[0]), bytes))
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "\"%.*s\" is no size; write a number with K, M, G or T, as in 10G",
	    STR_ARG(text));
}

int
setting_parse_duration(
    struct str text, int64_t *milliseconds, struct error *err)
{
	uint64_t value;

	if (!parse_with_unit(text, duration_units,
		sizeof(duration_units) / sizeof(duration_units[0]), &value))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "\"%.*s\" is no duration; write a number with ms, s, m, h "
		    "or d, as in 30s",
		    STR_ARG(text));
	*milliseconds = (int64_t)value;
	return 0;
}

static int
parse_flag(struct str text, bool *flag, struct error *err)
{
	if (str_equal(text, STR("yes")) || str_equal(text, STR("true"))) {
		*flag = true;
		return 0;
	}
	if (str_equal(text, STR("no")) || str_equal(text, STR("false"))) {
		*flag = false;
		return 0;
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "\"%.*s\" is neither yes nor no", STR_ARG(text));
}

static int
parse_count(struct str text, uint64_t *count, struct error *err)
{
	if (str_to_uint64(text, INT64_MAX, count))
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "\"%.*s\" is no whole number", STR_ARG(text));
}

static void
list_add(struct setting_list *list, struct str text)
{
	list->items =
	    xreallocarray(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = xstrndup(text.data, text.len);
}

bool
setting_list_has(const struct setting_list *list, struct str text)
{
	for (size_t i = 0; i < list->count; i++)
		if (str_equal(text, str_from(list->items[i])))
			return true;
	return false;
}

static int
setting_store(const struct setting *setting, struct str text, void *target,
    struct error *err)
{
	void *field = (char *)target + setting->offset;
	char **slot;

	switch (setting->type) {
	case SETTING_TEXT:
	case SETTING_ARGUMENT:
		slot = field;
		free(*slot);
		*slot = xstrndup(text.data, text.len);
		return 0;
	case SETTING_SIZE:
		return setting_parse_size(text, field, err);
	case SETTING_DURATION:
		return setting_parse_duration(text, field, err);
	case SETTING_COUNT:
		return parse_count(text, field, err);
	case SETTING_FLAG:
		return parse_flag(text, field, err);
	case SETTING_LIST:
		list_add(field, text);
		return 0;
	}
	return error_set(
	    err, ERROR_INTERNAL, "setting %s has no type", setting->name);
}

static const struct setting *
setting_find(const struct settings *settings, struct str name)
{
	for (size_t i = 0; i < settings->count; i++) {
		if (str_equal(name, str_from(settings->table[i].name)))
			return &settings->table[i];
	}
	return NULL;
}

/* Says what may have been meant, and where all names are. */
static int
setting_unknown(
    const struct settings *settings, struct str name, struct error *err)
{
	struct nearest_word search = {.word = name};

	for (size_t i = 0; i < settings->count; i++)
		nearest_word_offer(&search, settings->table[i].name);
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "there is no setting \"%.*s\" in %s%s%s%s; toolroot %s --help "
	    "lists them",
	    STR_ARG(name), settings->command,
	    search.nearest != NULL ? "; did you mean \"" : "",
	    search.nearest != NULL ? search.nearest : "",
	    search.nearest != NULL ? "\"?" : "", settings->command);
}

static int
setting_apply(const struct settings *settings, struct str name,
    const struct setting_value *value, void *target, struct error *err)
{
	const struct setting *setting = setting_find(settings, name);

	if (setting == NULL)
		setting_unknown(settings, name, err);
	else if (setting_store(setting, value->text, target, err) == 0)
		return 0;
	if (value->place != NULL)
		error_prefix(err, "%s", value->place);
	return -1;
}

static int
settings_defaults(
    const struct settings *settings, void *target, struct error *err)
{
	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *setting = &settings->table[i];

		if (setting->initial != NULL &&
		    setting_store(
			setting, str_from(setting->initial), target, err) < 0)
			return -1;
	}
	return 0;
}

/* --- config file ---------------------------------------------------------- */

struct file_reading {
	const struct settings *settings;
	const char *path;
	void *target;
	struct error *err;
	bool failed;
};

static bool
section_known(const char *section)
{
	static const char *const known[] = {
	    "serve", "worker", "client", "store"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(section, known[i]) == 0)
			return true;
	}
	return false;
}

static const char *
settings_section(const struct settings *settings)
{
	return settings->section != NULL ? settings->section
					 : settings->command;
}

/* inih takes away what stands behind " ;"; this takes away " #". */
static struct str
without_comment(const char *text)
{
	struct str value = str_from(text);

	for (size_t i = 0; i < value.len; i++) {
		if (value.data[i] == '#' &&
		    (i == 0 || strchr(" \t", value.data[i - 1]) != NULL))
			value.len = i;
	}
	while (value.len > 0 && strchr(" \t", value.data[value.len - 1]))
		value.len--;
	return value;
}

/* inih's handler: 1 = go on. */
static int
settings_file_line(
    void *user, const char *section, const char *name, const char *text)
{
	struct file_reading *reading = user;
	/* The line is known, and put in front, when inih returns. */
	struct setting_value value = {without_comment(text), NULL};
	const struct setting *setting;

	if (reading->failed)
		return 0;
	if (!section_known(section)) {
		error_set(reading->err, ERROR_INVALID_ARGUMENT,
		    "%s%s%s; there are [serve], [worker], [client] and "
		    "[store]",
		    section[0] != '\0' ? "unknown section [" : name,
		    section[0] != '\0' ? section : " stands in no section",
		    section[0] != '\0' ? "]" : "");
		reading->failed = true;
		return 0;
	}
	if (strcmp(section, settings_section(reading->settings)) != 0)
		return 1;
	setting = setting_find(reading->settings, str_from(name));
	if (setting != NULL && setting->type == SETTING_ARGUMENT)
		return 1;
	if (setting_apply(reading->settings, str_from(name), &value,
		reading->target, reading->err) < 0)
		reading->failed = true;
	return !reading->failed;
}

static int
settings_file(const struct settings *settings, const char *path, void *target,
    struct error *err)
{
	struct file_reading reading = {settings, path, target, err, false};
	FILE *file = fopen(path, "re");
	int line, failure;

	if (file == NULL)
		return error_set_errno(err, errno, "config file %s", path);
	errno = 0;
	line = ini_parse_file(file, settings_file_line, &reading);
	failure = ferror(file) ? errno : 0;
	fclose(file);
	if (failure != 0)
		return error_set_errno(err, failure, "config file %s", path);
	if (reading.failed) {
		error_prefix(err, "%s: line %d", path, line);
		return -1;
	}
	if (line != 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s: line %d is neither [section] nor name = value", path,
		    line);
	return 0;
}

/* --- environment -----------------------------------------------------------
 */

static void
variable_name(const char *name, char variable[static SETTINGS_NAME_MAX])
{
	int used = snprintf(variable, SETTINGS_NAME_MAX, "TOOLROOT_%s", name);

	for (int i = 9; i < used && i < SETTINGS_NAME_MAX - 1; i++) {
		if (variable[i] == '-')
			variable[i] = '_';
		else if (variable[i] >= 'a' && variable[i] <= 'z')
			variable[i] = (char)(variable[i] - 'a' + 'A');
	}
}

bool
settings_have_variable(const struct settings *settings, struct str name)
{
	char variable[SETTINGS_NAME_MAX];

	for (size_t i = 0; i < settings->count; i++) {
		variable_name(settings->table[i].name, variable);
		if (str_equal(name, str_from(variable)))
			return true;
	}
	return false;
}

static int
settings_environment(
    const struct settings *settings, void *target, struct error *err)
{
	for (size_t i = 0; i < settings->count; i++) {
		const char *name = settings->table[i].name;
		char variable[SETTINGS_NAME_MAX];
		struct setting_value value;
		const char *text;

		variable_name(name, variable);
		text = getenv(variable);
		if (text == NULL || settings->table[i].type == SETTING_ARGUMENT)
			continue;
		value = (struct setting_value){str_from(text), variable};
		if (setting_apply(
			settings, str_from(name), &value, target, err) < 0)
			return -1;
	}
	return 0;
}

/* --- command line ----------------------------------------------------------
 */

/* One option at argv[0] (after its dashes: option); returns how many elements
 * of argv it takes, or -1. */
static int
settings_option(const struct settings *settings, char **argv, void *target,
    struct error *err)
{
	struct str text = str_from(argv[0] + 2);
	struct str name = str_cut(&text, '=');
	const struct setting *setting = setting_find(settings, name);
	struct setting_value value = {text, argv[0]};
	int taken = 1;

	if (text.data == NULL && setting != NULL &&
	    setting->type == SETTING_FLAG)
		value.text = STR("yes");
	else if (text.data == NULL && setting != NULL) {
		if (argv[1] == NULL)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "--%s wants a value: --%s %s", setting->name,
			    setting->name, setting->value);
		value.text = str_from(argv[1]);
		taken = 2;
	}
	if (setting_apply(settings, name, &value, target, err) < 0)
		return -1;
	return taken;
}

static int
settings_command_line(const struct settings *settings, char **argv,
    void *target, struct setting_arguments *arguments, struct error *err)
{
	bool options = true;

	for (size_t i = 1; argv[i] != NULL;) {
		int taken = 1;

		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (options && strncmp(argv[i], "--", 2) == 0) {
			taken =
			    settings_option(settings, argv + i, target, err);
			if (taken < 0)
				return -1;
		} else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "unknown option %s; options have long names, see "
			    "--help",
			    argv[i]);
		} else {
			arguments->items = xreallocarray(arguments->items,
			    arguments->count + 1, sizeof(*arguments->items));
			arguments->items[arguments->count++] = argv[i];
		}
		i += (size_t)taken;
	}
	return 0;
}

/* --config FILE is looked for before all else, since the file is read first. */
static const char *
settings_file_path(char **argv)
{
	for (size_t i = 1; argv[i] != NULL && strcmp(argv[i], "--") != 0; i++) {
		if (strncmp(argv[i], "--config=", 9) == 0)
			return argv[i] + 9;
		if (strcmp(argv[i], "--config") == 0 && argv[i + 1] != NULL)
			return argv[i + 1];
	}
	return getenv("TOOLROOT_CONFIG");
}

static bool
settings_help_wanted(char **argv)
{
	for (size_t i = 1; argv[i] != NULL && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0)
			return true;
	}
	return false;
}

int
settings_read(const struct settings *settings, char **argv, void *target,
    struct setting_arguments *arguments, struct error *err)
{
	const char *path = settings_file_path(argv);

	*arguments = (struct setting_arguments){NULL, 0};
	if (settings_help_wanted(argv))
		return 1;
	if (path == NULL && access(SETTINGS_FILE, F_OK) == 0)
		path = SETTINGS_FILE;
	if (settings_defaults(settings, target, err) < 0)
		return -1;
	if (path != NULL && settings_file(settings, path, target, err) < 0)
		return -1;
	if (settings_environment(settings, target, err) < 0)
		return -1;
	return settings_command_line(settings, argv, target, arguments, err);
}

void
settings_help(const struct settings *settings)
{
	printf("toolroot %s %s\n\n%s\n\n", settings->command,
	    settings->synopsis, settings->about);
	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *setting = &settings->table[i];
		struct str lines = str_from(setting->help);

		printf("  --%s%s%s\n", setting->name,
		    setting->type == SETTING_FLAG ? "" : " ",
		    setting->type == SETTING_FLAG ? "" : setting->value);
		while (lines.data != NULL) {
			struct str line = str_cut(&lines, '\n');

			printf("        %.*s\n", STR_ARG(line));
		}
		if (setting->initial != NULL && setting->initial[0] != '\0')
			printf("        default: %s\n", setting->initial);
	}
	printf("  --help\n        this text\n\n"
	       "Each option may also stand in the environment "
	       "(--max-size: TOOLROOT_MAX_SIZE)\nor under [%s] in the file "
	       "that --config or TOOLROOT_CONFIG names (default\n%s, if it is "
	       "there).\n",
	    settings_section(settings), SETTINGS_FILE);
	if (settings->epilogue != NULL)
		printf("\n%s\n", settings->epilogue);
}

void
settings_clear(const struct settings *settings, void *target)
{
	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *setting = &settings->table[i];
		void *field = (char *)target + setting->offset;

		if (setting->type == SETTING_TEXT ||
		    setting->type == SETTING_ARGUMENT) {
			char **text = field;

			free(*text);
			*text = NULL;
		} else if (setting->type == SETTING_LIST) {
			struct setting_list *list = field;

			for (size_t k = 0; k < list->count; k++)
				free(list->items[k]);
			free(list->items);
			*list = (struct setting_list){NULL, 0};
		}
	}
}
