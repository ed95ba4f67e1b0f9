/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over argv: an option, its value in one form or the other. */
#include "client/cargo_arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "client/cargo_paths.h"

/* Options with a value that need no look at it. */
static const char *const plain_options[] = {"--edition", "--error-format",
    "--json", "--cfg", "--check-cfg", "-l", "--cap-lints", "-A", "-W", "-D",
    "-F", "--allow", "--warn", "--deny", "--forbid", "--force-warn", "--color",
    "--diagnostic-width", "--remap-path-prefix"};

/* Codegen options that name files, or leave other files behind than those we
 * would fetch. */
static const char *const local_codegen[] = {"linker", "split-debuginfo",
    "profile-use", "profile-generate", "linker-plugin-lto", "save-temps",
    "linker-flavor", "link-self-contained", "ar"};

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

static void
keep_local(struct cargo_arguments *arguments, const char *what, const char *why)
{
	if (arguments->call == CARGO_CALL_LOCAL)
		return;
	arguments->call = CARGO_CALL_LOCAL;
	snprintf(arguments->reason, sizeof(arguments->reason), "%.60s: %s",
	    what, why);
}

/* --- the kinds that are looked at ----------------------------------------- */

static void
take_codegen(struct cargo_arguments *arguments, const char *value)
{
	size_t length = strcspn(value, "=");

	if (strncmp(value, "extra-filename=", 15) == 0)
		arguments->extra_filename = value + 15;
	else if (strncmp(value, "incremental=", 12) == 0)
		arguments->incremental = value + 12;
	for (size_t i = 0; i < sizeof(local_codegen) / sizeof(local_codegen[0]);
	     i++) {
		if (strlen(local_codegen[i]) == length &&
		    strncmp(value, local_codegen[i], length) == 0)
			keep_local(arguments, value, "codegen option");
	}
}

static void
take_emit(struct cargo_arguments *arguments, const char *value)
{
	char *copy = xstrdup(value);
	char *position = NULL;
	bool dep_info = false;

	for (char *kind = strtok_r(copy, ",", &position); kind != NULL;
	     kind = strtok_r(NULL, ",", &position)) {
		if (strcmp(kind, "dep-info") == 0)
			dep_info = true;
		else if (strcmp(kind, "metadata") != 0 &&
			 strcmp(kind, "link") != 0)
			keep_local(arguments, kind, "output kind");
	}
	/* Without it nobody could check what was read. */
	if (!dep_info)
		keep_local(arguments, value, "no dep-info asked for");
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
		arguments->crate_type = value;
	else if ((value = value_of(at, "--out-dir", &count)) != NULL)
		arguments->out_dir = value;
	else if ((value = value_of(at, "--emit", &count)) != NULL)
		take_emit(arguments, value);
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

	for (size_t i = 0; i < sizeof(plain_options) / sizeof(plain_options[0]);
	     i++) {
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
	if (strcmp(word, "--test") == 0 || strcmp(word, "-O") == 0 ||
	    strcmp(word, "-g") == 0 || strcmp(word, "--verbose") == 0 ||
	    strcmp(word, "-v") == 0)
		return 1;
	keep_local(arguments, word, "not an option that is known here");
	return 1;
}

/* --- the whole ------------------------------------------------------------ */

void
cargo_arguments_parse(struct cargo_arguments *arguments, char *const *argv)
{
	size_t sources = 0;

	*arguments = (struct cargo_arguments){
	    .call = CARGO_CALL_COMPILE, .crate_type = "bin"};
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
	if (arguments->crate_name == NULL || arguments->out_dir == NULL ||
	    sources != 1)
		keep_local(arguments, "a probe", "no crate of a package");
	if (arguments->extra_filename == NULL)
		arguments->extra_filename = "";
}

void
cargo_arguments_clear(struct cargo_arguments *arguments)
{
	cargo_strings_clear(&arguments->externs);
	cargo_strings_clear(&arguments->native);
}

/* Incremental state stays here; the width of a terminal changes no output. */
static bool
is_left_out(char *const *at, size_t *count)
{
	const char *value = value_of(at, "-C", count);

	if (value == NULL)
		value = value_of(at, "--codegen", count);
	if (value != NULL)
		return strncmp(value, "incremental=", 12) == 0;
	return value_of(at, "--diagnostic-width", count) != NULL;
}

void
cargo_arguments_map(char *const *argv, const struct cargo_paths *paths,
    struct cargo_strings *out)
{
	while (*argv != NULL) {
		size_t count = 1;

		if (is_left_out(argv, &count)) {
			argv += argv[1] == NULL ? 1 : count;
			continue;
		}
		cargo_strings_take(out,
		    cargo_paths_map_text(paths, CARGO_PATHS_TO_FIXED, *argv));
		argv++;
	}
}

void
cargo_arguments_outputs(
    const struct cargo_arguments *arguments, struct cargo_strings *names)
{
	static const char *const forms[] = {"%s%s", "%s%s.d", "lib%s%s.a",
	    "lib%s%s.rlib", "lib%s%s.rmeta", "lib%s%s.so"};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const char *form = forms[i];
		const char *first = strstr(form, "%s%s");

		cargo_strings_take(
		    names, xasprintf("%.*s%s%s%s", (int)(first - form), form,
			       arguments->crate_name, arguments->extra_filename,
			       first + 4));
	}
}
