/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over argv: an option, its value in one form or the other. */
#include "client/cargo_arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_paths.h"

/* Options with a value that need no look at it. */
static const char *const plain_options[] = {"--edition", "--error-format",
    "--cfg", "--check-cfg", "-l", "--cap-lints", "-A", "-W", "-D", "-F",
    "--allow", "--warn", "--deny", "--forbid", "--force-warn", "--color",
    "--diagnostic-width", "--remap-path-prefix"};

/* Codegen options that name files, or leave other files behind than those we
 * would fetch. */
static const char *const local_codegen[] = {
    "split-debuginfo", "profile-use", "profile-generate", "save-temps", "ar"};
/* Without any it is "yes", which is how cargo makes libraries for LTO; another
 * value is the path of a linker's plugin. */
static const char *const truths[] = {
    "", "y", "yes", "on", "true", "n", "no", "off", "false"};
static const char *const linked_types[] = {
    "bin", "dylib", "cdylib", "proc-macro"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define ARGUMENT_FILE_MAX (1u << 20)
#define ARGUMENT_MAX (96u << 10)

/* --- options and values --------------------------------------------------- */

static bool
is_short(const char *option)
{
	return option[0] == '-' && option[1] != '-';
}

/* Takes the option with its value if it stands next: "-C x", "-Cx", "--name x"
 * and "--name=x". *count is how many words it took. */
static const char *
value_of(char *const *at, const char *option, size_t *count)
{
	size_t length = strlen(option);
	const char *word = *at;

	if (strncmp(word, option, length) != 0)
		return NULL;
	if (word[length] == '\0') {
		*count = 2;
		return at[1];
	}
	*count = 1;
	if (is_short(option))
		return word + length;
	return word[length] == '=' ? word + length + 1 : NULL;
}

void
cargo_arguments_keep_local(
    struct cargo_arguments *arguments, const char *reason)
{
	if (arguments->call == CARGO_CALL_LOCAL)
		return;
	arguments->call = CARGO_CALL_LOCAL;
	(void)snprintf(
	    arguments->reason, sizeof(arguments->reason), "%s", reason);
}

static void
keep_local(struct cargo_arguments *arguments, const char *what, const char *why)
{
	char text[sizeof(arguments->reason)];

	(void)snprintf(text, sizeof(text), "%.60s: %s", what, why);
	cargo_arguments_keep_local(arguments, text);
}

/* --- the kinds that are looked at ----------------------------------------- */

/* "name" or "name=value"; the compiler takes "_" for "-" in names. */
static bool
is_named(const char *name, const char *value)
{
	size_t length = strlen(name);

	if (strcspn(value, "=") != length)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (name[i] != value[i] && (name[i] != '-' || value[i] != '_'))
			return false;
	}
	return true;
}

static bool
names(const char *const *list, size_t count, const char *value)
{
	for (size_t i = 0; i < count; i++) {
		if (is_named(list[i], value))
			return true;
	}
	return false;
}

static bool
is_truth(const char *setting)
{
	for (size_t i = 0; i < COUNT(truths); i++) {
		if (strcmp(truths[i], setting) == 0)
			return true;
	}
	return false;
}

/* The directory in a link argument, or in the next one then. */
static const char *
linked_of(const char *word, bool *next)
{
	*next = strcmp(word, "-L") == 0 || strcmp(word, "-B") == 0;
	if (*next)
		return NULL;
	if (strncmp(word, "-L", 2) == 0)
		return word + 2;
	/* Not -Bstatic and the like. */
	return strncmp(word, "-B/", 3) == 0 || strncmp(word, "-B.", 3) == 0
		   ? word + 2
		   : NULL;
}

/* One of the linker's, or several; also what the C compiler hands on to the
 * linker, as -Wl,-L,PATH. */
static void
take_link_arguments(struct cargo_arguments *arguments, const char *setting)
{
	char *copy = xstrdup(setting);
	char *position = NULL;

	if (strstr(setting, "rpath") != NULL || strstr(setting, "-R") != NULL)
		arguments->run_path = true;
	for (char *word = strtok_r(copy, " ,", &position); word != NULL;
	     word = strtok_r(NULL, " ,", &position)) {
		bool follows = arguments->linked_follows;
		const char *path = linked_of(word, &arguments->linked_follows);

		/* "-Wl,-L -Wl,PATH" is two of one, too. */
		if (follows && strcmp(word, "-Wl") == 0)
			arguments->linked_follows = true;
		else if (follows || path != NULL)
			cargo_strings_add(
			    &arguments->linked, follows ? word : path);
	}
	free(copy);
}

static void
take_codegen(struct cargo_arguments *arguments, const char *value)
{
	const char *equals = strchr(value, '=');
	const char *setting = equals != NULL ? equals + 1 : "";

	if (is_named("extra-filename", value))
		arguments->extra_filename = setting;
	else if (is_named("incremental", value))
		arguments->incremental = setting;
	else if (is_named("metadata", value))
		arguments->of_cargo = true;
	/* Another machine's key would be the same. */
	else if (is_named("target-cpu", value) &&
		 strcmp(setting, "native") == 0)
		keep_local(arguments, value, "the processor of this machine");
	else if (names(local_codegen, COUNT(local_codegen), value) ||
		 (is_named("linker-plugin-lto", value) && !is_truth(setting)))
		keep_local(arguments, value, "codegen option");
	else if (is_named("linker", value))
		arguments->linker = setting;
	else if (is_named("link-arg", value) || is_named("link-args", value))
		take_link_arguments(arguments, setting);
}

static void
take_type(struct cargo_arguments *arguments, const char *value)
{
	arguments->crate_type = value;
	cargo_strings_add(&arguments->types, value);
	if (names(linked_types, COUNT(linked_types), value))
		arguments->links = true;
}

static void
take_emit(struct cargo_arguments *arguments, const char *value)
{
	char *copy = xstrdup(value);
	char *position = NULL;

	for (char *kind = strtok_r(copy, ",", &position); kind != NULL;
	     kind = strtok_r(NULL, ",", &position)) {
		if (strcmp(kind, "dep-info") == 0)
			arguments->dep_info = true;
		else if (strcmp(kind, "link") == 0)
			arguments->emits_link = true;
		else if (strcmp(kind, "metadata") == 0)
			arguments->metadata = true;
		else
			keep_local(arguments, kind, "output kind");
	}
	free(copy);
}

static void
take_extern(struct cargo_arguments *arguments, const char *value)
{
	const char *path = strchr(value, '=');

	if (path != NULL)
		cargo_strings_add(&arguments->externs, path + 1);
}

static void
take_search(struct cargo_arguments *arguments, const char *value)
{
	const char *path = strchr(value, '=');

	if (strncmp(value, "dependency=", 11) == 0 ||
	    strncmp(value, "crate=", 6) == 0)
		return;
	cargo_strings_add(&arguments->native, path != NULL ? path + 1 : value);
}

static void
take_target(struct cargo_arguments *arguments, const char *value)
{
	if (strchr(value, '/') != NULL || strstr(value, ".json") != NULL)
		keep_local(arguments, value, "target by file");
	else if (strstr(value, "emscripten") != NULL)
		keep_local(arguments, value, "programs of several files");
}

/* Returns how many words were taken; 0 when it is none of these. */
static size_t
take_known(struct cargo_arguments *arguments, char *const *at)
{
	const char *value;
	size_t count = 0;

	if ((value = value_of(at, "--crate-name", &count)) != NULL)
		arguments->crate_name = value;
	else if ((value = value_of(at, "--crate-type", &count)) != NULL)
		take_type(arguments, value);
	else if ((value = value_of(at, "--out-dir", &count)) != NULL)
		arguments->out_dir = value;
	else if ((value = value_of(at, "--emit", &count)) != NULL)
		take_emit(arguments, value);
	else if ((value = value_of(at, "--json", &count)) != NULL)
		arguments->notices |= strstr(value, "artifacts") != NULL;
	else if ((value = value_of(at, "--extern", &count)) != NULL)
		take_extern(arguments, value);
	else if ((value = value_of(at, "--target", &count)) != NULL)
		take_target(arguments, value);
	else if ((value = value_of(at, "--codegen", &count)) != NULL ||
		 (value = value_of(at, "-C", &count)) != NULL)
		take_codegen(arguments, value);
	else if ((value = value_of(at, "-L", &count)) != NULL)
		take_search(arguments, value);
	return value != NULL ? count : 0;
}

static size_t
take_plain(char *const *at)
{
	size_t count = 0;

	for (size_t i = 0; i < COUNT(plain_options); i++) {
		if (value_of(at, plain_options[i], &count) != NULL)
			return count;
	}
	return 0;
}

static size_t
take(struct cargo_arguments *arguments, char *const *at, size_t *sources)
{
	const char *word = *at;
	size_t count = take_known(arguments, at);

	if (count == 0)
		count = take_plain(at);
	if (count > 0)
		return count;
	if (word[0] != '-' && word[0] != '@') {
		++*sources;
		return 1;
	}
	if (strcmp(word, "--test") == 0)
		arguments->test = arguments->links = true;
	if (strcmp(word, "--test") == 0 || strcmp(word, "-O") == 0 ||
	    strcmp(word, "-g") == 0 || strcmp(word, "--verbose") == 0 ||
	    strcmp(word, "-v") == 0)
		return 1;
	keep_local(arguments, word, "not an option that is known here");
	return 1;
}

/* --- the whole ------------------------------------------------------------ */

static void
judge(struct cargo_arguments *arguments, size_t sources)
{
	/* Without a type it is a program. */
	arguments->links =
	    (arguments->links || arguments->crate_type == NULL) &&
	    arguments->emits_link;
	if (arguments->crate_type == NULL)
		arguments->crate_type = "bin";
	if (arguments->extra_filename == NULL)
		arguments->extra_filename = "";
	if (arguments->crate_name == NULL || arguments->out_dir == NULL ||
	    sources != 1)
		arguments->of_cargo = false;
	if (!arguments->of_cargo)
		keep_local(arguments, "a probe", "no crate of a package");
	/* Without it nobody could check what was read. */
	else if (!arguments->dep_info)
		keep_local(arguments, "--emit", "no dep-info asked for");
}

void
cargo_arguments_parse(struct cargo_arguments *arguments, char *const *argv)
{
	size_t sources = 0;

	*arguments = (struct cargo_arguments){.call = CARGO_CALL_COMPILE};
	if (argv[0] != NULL && argv[1] == NULL && strcmp(argv[0], "-vV") == 0) {
		arguments->call = CARGO_CALL_VERSION;
		return;
	}
	for (char *const *at = argv; *at != NULL;) {
		size_t count = take(arguments, at, &sources);

		/* The last option may lack its value. */
		while (count-- > 0 && *at != NULL)
			at++;
	}
	judge(arguments, sources);
}

void
cargo_arguments_clear(struct cargo_arguments *arguments)
{
	cargo_strings_clear(&arguments->types);
	cargo_strings_clear(&arguments->externs);
	cargo_strings_clear(&arguments->native);
	cargo_strings_clear(&arguments->linked);
}

/* --- argument files ------------------------------------------------------- */

static bool
splice(const char *path, struct cargo_strings *out)
{
	struct error ignored; /* it stays as it is */
	struct buffer text;
	struct str rest;
	bool fits;

	buffer_init(&text, ARGUMENT_FILE_MAX);
	fits = file_read_all(path, &text, &ignored) == 0 &&
	       memchr(text.data, '\0', text.len) == NULL;
	for (rest = buffer_str(&text); rest.len > 0 && fits;)
		fits = str_cut(&rest, '\n').len <= ARGUMENT_MAX;
	for (rest = buffer_str(&text); rest.len > 0 && fits;) {
		struct str line = str_cut(&rest, '\n');

		cargo_strings_take(out, xstrndup(line.data, line.len));
	}
	buffer_clear(&text);
	return fits;
}

void
cargo_arguments_read(
    char *const *argv, const char *directory, struct cargo_strings *out)
{
	for (; *argv != NULL; argv++) {
		const char *name = *argv + 1;
		char *path;

		if (**argv != '@') {
			cargo_strings_add(out, *argv);
			continue;
		}
		path = name[0] == '/' ? xstrdup(name)
				      : xasprintf("%s/%s", directory, name);
		if (!splice(path, out))
			cargo_strings_add(out, *argv);
		free(path);
	}
	cargo_strings_end(out);
}

/* --- other calls ---------------------------------------------------------- */

static bool
is_incremental(char *const *at, size_t *count)
{
	const char *value = value_of(at, "-C", count);

	if (value == NULL)
		value = value_of(at, "--codegen", count);
	return value != NULL && strncmp(value, "incremental=", 12) == 0;
}

/* The words of argv but for those that are left out. */
static char *const *
skip(char *const *argv, size_t count)
{
	while (count-- > 0 && *argv != NULL)
		argv++;
	return argv;
}

/* Where the path begins in "-L/path" and the like, also in "link-arg=-L/path"
 * and
 * "-Wl,-L/path": the letter would make it one word. NULL when there is none. */
static const char *
path_after_letter(const char *word)
{
	const char *at = word;

	while ((at = strchr(at, '-')) != NULL) {
		if ((at == word || strchr("=, ", at[-1]) != NULL) &&
		    at[1] != '\0' && at[2] == '/')
			return at + 2;
		at++;
	}
	return NULL;
}

static char *
map_word(const struct cargo_paths *paths, const char *word)
{
	char *all = xstrdup("");

	while (word != NULL) {
		const char *path = path_after_letter(word);
		char *part = path != NULL
				 ? xstrndup(word, (size_t)(path - word))
				 : xstrdup(word);
		char *mapped =
		    cargo_paths_map_text(paths, CARGO_PATHS_TO_FIXED, part);
		char *longer = xasprintf("%s%s", all, mapped);

		free(all);
		free(part);
		free(mapped);
		all = longer;
		word = path;
	}
	return all;
}

void
cargo_arguments_map(char *const *argv, const struct cargo_paths *paths,
    bool incremental, struct cargo_strings *out)
{
	while (*argv != NULL) {
		size_t count;

		/* The width of a terminal changes no output. */
		if ((!incremental && is_incremental(argv, &count)) ||
		    value_of(argv, "--diagnostic-width", &count) != NULL) {
			argv = skip(argv, count);
			continue;
		}
		cargo_strings_take(out, map_word(paths, *argv));
		argv++;
	}
}

void
cargo_arguments_discover(
    char *const *argv, const char *path, struct cargo_strings *out)
{
	while (*argv != NULL) {
		size_t count;

		if (is_incremental(argv, &count) ||
		    value_of(argv, "--emit", &count) != NULL) {
			argv = skip(argv, count);
			continue;
		}
		cargo_strings_add(out, *argv);
		argv++;
	}
	cargo_strings_take(out, xasprintf("--emit=dep-info=%s", path));
}

void
cargo_arguments_outputs(
    const struct cargo_arguments *arguments, struct cargo_strings *names)
{
	static const struct {
		const char *before, *after;
	} forms[] = {{"", ""}, {"", ".d"}, {"", ".wasm"}, {"lib", ".a"},
	    {"lib", ".rlib"}, {"lib", ".rmeta"}, {"lib", ".so"}};

	for (size_t i = 0; i < COUNT(forms); i++)
		cargo_strings_take(
		    names, xasprintf("%s%s%s%s", forms[i].before,
			       arguments->crate_name, arguments->extra_filename,
			       forms[i].after));
}

bool
cargo_arguments_pipelined(const struct cargo_arguments *arguments)
{
	for (size_t i = 0; i < arguments->types.count; i++) {
		const char *type = arguments->types.items[i];

		if (strcmp(type, "lib") != 0 && strcmp(type, "rlib") != 0)
			return false;
	}
	return arguments->call == CARGO_CALL_COMPILE && arguments->notices &&
	       arguments->metadata && arguments->emits_link &&
	       !arguments->test && arguments->types.count > 0;
}

/* Forms in which a target may have what a type makes; NULL: no second one. */
static const struct {
	const char *type;
	const char *before, *after, *other_before, *other_after;
} made[] = {
    {"bin", "", "", "", ".wasm"},
    {"lib", "lib", ".rlib", NULL, NULL},
    {"rlib", "lib", ".rlib", NULL, NULL},
    {"staticlib", "lib", ".a", NULL, NULL},
    {"proc-macro", "lib", ".so", NULL, NULL},
    {"dylib", "lib", ".so", NULL, NULL},
    {"cdylib", "lib", ".so", "", ".wasm"},
};

static bool
have(const struct cargo_arguments *arguments, const struct cargo_strings *names,
    const char *before, const char *after, char **name)
{
	free(*name);
	*name = xasprintf("%s%s%s%s", before, arguments->crate_name,
	    arguments->extra_filename, after);
	return cargo_strings_have(names, *name);
}

static bool
have_type(const struct cargo_arguments *arguments,
    const struct cargo_strings *names_there, const char *type, char **name)
{
	for (size_t i = 0; i < COUNT(made); i++) {
		if (strcmp(made[i].type, type) == 0)
			return (made[i].other_before != NULL &&
				   have(arguments, names_there,
				       made[i].other_before,
				       made[i].other_after, name)) ||
			       have(arguments, names_there, made[i].before,
				   made[i].after, name);
	}
	return true; /* the compiler would have refused it */
}

char *
cargo_arguments_missing(
    const struct cargo_arguments *arguments, const struct cargo_strings *names)
{
	bool program = arguments->test || arguments->types.count == 0;
	char *name = NULL;
	bool all = have(arguments, names, "", ".d", &name) &&
		   (!arguments->metadata ||
		       have(arguments, names, "lib", ".rmeta", &name));

	if (all && arguments->emits_link && program)
		all = have_type(arguments, names, "bin", &name);
	for (size_t i = 0; i < arguments->types.count && all &&
			   arguments->emits_link && !program;
	     i++)
		all = have_type(
		    arguments, names, arguments->types.items[i], &name);
	if (!all)
		return name;
	free(name);
	return NULL;
}
