/* SPDX-License-Identifier: Apache-2.0 */
/* Facts in the order in which they are needed; the first that fails ends it. */
#include "client/cargo_crate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_rust.h"
#include "client/cargo_dep_info.h"
#include "client/cargo_environment.h"
#include "client/cargo_inputs.h"
#include "client/cargo_message.h"
#include "client/cargo_paths.h"
#include "client/cargo_process.h"
#include "client/cargo_session.h"
#include "client/cargo_toolchain.h"

#define DEBIAN_REGISTRY "/usr/share/cargo/registry"
#define DEP_INFO_MAX (64u << 20)
/* Macros may do anything; the compiler itself takes a twentieth of a whole
 * compilation for it. */
#define DISCOVERY_TIMEOUT_MS 120000

/* --- the call ------------------------------------------------------------- */

/* Cargo puts the wrapper of workspace crates before the compiler. */
static size_t
take_programs(struct cargo_crate *crate)
{
	char *const *words = crate->call->arguments.items;
	const char *slash = strrchr(words[0], '/');
	const char *name = slash != NULL ? slash + 1 : words[0];

	crate->rustc = words[0];
	if (words[1] == NULL || words[1][0] == '-' || words[1][0] == '@')
		return 1;
	crate->rustc = words[1];
	if (strcmp(name, "clippy-driver") == 0)
		crate->driver = words[0];
	else
		crate->wrapper = words[0];
	return 2;
}

void
cargo_crate_init(struct cargo_crate *crate, struct cargo_session *session,
    const struct cargo_message_call *call)
{
	size_t first;

	*crate = (struct cargo_crate){.session = session, .call = call};
	first = take_programs(crate);
	cargo_arguments_read(
	    call->arguments.items + first, call->directory, &crate->words);
	cargo_arguments_parse(&crate->arguments, crate->words.items);
}

void
cargo_crate_clear(struct cargo_crate *crate)
{
	cargo_arguments_clear(&crate->arguments);
	cargo_strings_clear(&crate->words);
	cargo_strings_clear(&crate->learned);
	cargo_strings_clear(&crate->sources);
}

const char *
cargo_crate_variable(const struct cargo_crate *crate, const char *name)
{
	return cargo_strings_value(crate->call->environment.items, name);
}

/* --- where it is ---------------------------------------------------------- */

static bool
is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strncmp(path, directory, length) == 0 &&
	       (path[length] == '/' || path[length] == '\0');
}

/* Sources that were fetched: the same everywhere, never changed. */
static bool
is_fetched(const struct cargo_crate *crate)
{
	char *registry = xasprintf("%s/registry", crate->layout->home);
	char *git = xasprintf("%s/git", crate->layout->home);
	bool fetched = is_below(crate->package, registry) ||
		       is_below(crate->package, git) ||
		       is_below(crate->package, DEBIAN_REGISTRY);

	free(registry);
	free(git);
	return fetched;
}

/* There is state that makes the next compilation here fast. */
static bool
is_warm(const struct cargo_arguments *arguments)
{
	size_t length = strlen(arguments->crate_name);
	struct dirent *entry;
	bool warm = false;
	DIR *directory;

	if (arguments->incremental == NULL)
		return false;
	directory = opendir(arguments->incremental);
	if (directory == NULL)
		return false;
	while (!warm && (entry = readdir(directory)) != NULL)
		warm = strncmp(entry->d_name, arguments->crate_name, length) ==
			   0 &&
		       entry->d_name[length] == '-';
	closedir(directory);
	return warm;
}

/* The caller frees it. */
static char *
dep_info_path(const struct cargo_arguments *arguments)
{
	return xasprintf("%s/%s%s.d", arguments->out_dir, arguments->crate_name,
	    arguments->extra_filename);
}

/* Which crates it uses, for those that will use it. A proc-macro stands for
 * itself: nothing of what it is made of is read again. */
static int
note_crates(const struct cargo_crate *crate, struct error *err)
{
	const struct cargo_arguments *arguments = &crate->arguments;
	const struct cargo_inputs inputs = {.target = crate->layout->target};
	const struct cargo_strings nothing = {.count = 0};
	bool ends = strcmp(arguments->crate_type, "proc-macro") == 0;
	char *name = xasprintf(
	    "lib%s%s.", arguments->crate_name, arguments->extra_filename);
	int rc = cargo_inputs_note(
	    &inputs, name, ends ? &nothing : &arguments->externs, err);

	free(name);
	return rc;
}

static int
check_linker(const struct cargo_crate *crate, struct error *err)
{
	const char *linker = crate->arguments.linker;

	if (is_below(linker, crate->layout->workspace) ||
	    is_below(linker, crate->layout->target))
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "linker %s: it is in the workspace, no part of a toolchain",
		    linker);
	return 0;
}

/* A library does not call the linker: what it is made by is the same with
 * every one. What cannot be linked elsewhere is linked here. */
static int
find_toolchain(struct cargo_crate *crate, struct error *err)
{
	struct cargo_arguments *arguments = &crate->arguments;
	struct cargo_session_programs programs = {
	    .rustc = crate->rustc,
	    .driver = crate->driver,
	    .linker = arguments->links ? arguments->linker : NULL,
	};

	if (programs.linker != NULL) {
		if (check_linker(crate, err) == 0)
			crate->toolchain = cargo_session_toolchain(
			    crate->session, &programs, err);
		if (crate->toolchain != NULL)
			return 0;
		cargo_arguments_keep_local(arguments, err->text);
		programs.linker = NULL;
	}
	crate->toolchain =
	    cargo_session_toolchain(crate->session, &programs, err);
	return crate->toolchain != NULL ? 0 : -1;
}

static bool
has_place(const struct cargo_paths *paths, const char *word)
{
	char *const words[] = {(char *)(uintptr_t)word, NULL};
	struct cargo_strings fixed = {.count = 0};
	bool has;

	cargo_arguments_map(words, paths, true, &fixed);
	has = fixed.count > 0 && strcmp(fixed.items[0], word) != 0;
	cargo_strings_clear(&fixed);
	return has;
}

/* The linker writes into the program where libraries are when it runs. */
static bool
writes_place(const struct cargo_crate *crate)
{
	const char *run_path = cargo_crate_variable(crate, "LD_RUN_PATH");
	struct cargo_paths paths = {.count = 0};
	bool writes;

	if (!crate->arguments.links)
		return false;
	cargo_crate_paths(crate, &paths);
	writes = run_path != NULL && has_place(&paths, run_path);
	for (char *const *word = crate->words.items;
	     *word != NULL && crate->arguments.run_path && !writes; word++)
		writes = strstr(*word, "link-arg") != NULL &&
			 has_place(&paths, *word);
	cargo_paths_clear(&paths);
	return writes;
}

int
cargo_crate_locate(struct cargo_crate *crate, struct error *err)
{
	char *dep_info;

	crate->package = cargo_crate_variable(crate, "CARGO_MANIFEST_DIR");
	if (crate->package == NULL || crate->package[0] != '/')
		return error_set(
		    err, ERROR_FAILED_PRECONDITION, "no package of cargo's");
	crate->layout = cargo_session_layout(crate->session, err);
	if (crate->layout == NULL || note_crates(crate, err) < 0)
		return -1;
	if (cargo_session_keeps(crate->session, crate->arguments.crate_name))
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "it is to stay here (--local)");
	if (crate->wrapper != NULL)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s: a wrapper that is not known", crate->wrapper);
	if (find_toolchain(crate, err) < 0)
		return -1;
	crate->fetched = is_fetched(crate);
	crate->warm = is_warm(&crate->arguments);
	dep_info = dep_info_path(&crate->arguments);
	crate->built = access(dep_info, F_OK) == 0;
	free(dep_info);
	if (writes_place(crate))
		crate->exact = crate->exact_home = true;
	return 0;
}

/* --- what it is called ---------------------------------------------------- */

/* Which of the package's targets it is. The caller frees it. */
static char *
kind_of(const struct cargo_crate *crate)
{
	const struct cargo_arguments *arguments = &crate->arguments;
	const char *program = cargo_crate_variable(crate, "CARGO_BIN_NAME");
	const char *test = arguments->test ? " test" : "";

	if (program != NULL)
		return xasprintf("bin \"%s\"%s", program, test);
	/* Tests that are crates of their own have a place for their files. */
	if (arguments->test &&
	    cargo_crate_variable(crate, "CARGO_TARGET_TMPDIR") != NULL)
		return xasprintf("test \"%s\"", arguments->crate_name);
	if (strncmp(arguments->crate_name, "build_script_", 13) == 0)
		return xstrdup("build script");
	if (!arguments->test && strcmp(arguments->crate_type, "bin") == 0)
		return xasprintf("bin \"%s\"", arguments->crate_name);
	return xasprintf("lib%s", test);
}

char *
cargo_crate_title(const struct cargo_crate *crate)
{
	const char *package = cargo_crate_variable(crate, "CARGO_PKG_NAME");
	const char *version = cargo_crate_variable(crate, "CARGO_PKG_VERSION");
	char *kind = kind_of(crate);
	bool several = crate->fetched && version != NULL;
	char *title = xasprintf("%s%s%s (%s)",
	    package != NULL ? package : crate->arguments.crate_name,
	    several ? " v" : "", several ? version : "", kind);

	free(kind);
	return title;
}

/* --- what it reads -------------------------------------------------------- */

/* Without "." and "..": what an action sees has no links in it. The caller
 * frees it. */
static char *
absolute(const char *directory, const char *path)
{
	char *joined = path[0] == '/' ? xstrdup(path)
				      : xasprintf("%s/%s", directory, path);
	char *plain = cargo_paths_plain(joined);

	free(joined);
	return plain;
}

static int
take_source(struct cargo_crate *crate, const struct cargo_paths *paths,
    const char *source, struct error *err)
{
	char *path = absolute(crate->call->directory, source);

	if (cargo_paths_cover(paths, path)) {
		cargo_strings_take(&crate->sources, path);
		return 0;
	}
	error_set(err, ERROR_FAILED_PRECONDITION,
	    "it reads %s, which is outside of the workspace", path);
	free(path);
	return -1;
}

bool
cargo_crate_is_moved(const struct cargo_crate *crate)
{
	return crate->exact || crate->exact_home;
}

bool
cargo_crate_move(struct cargo_crate *crate, const char *variable)
{
	static const char package[] = "CARGO_MANIFEST_";
	bool home = crate->fetched &&
		    strncmp(variable, package, sizeof(package) - 1) == 0;

	if (crate->exact || (home && crate->exact_home))
		return false;
	/* Its package is at one place of this user's for all workspaces. */
	crate->exact_home = true;
	crate->exact = !home;
	return true;
}

/* info has true paths. */
static void
take_place(struct cargo_crate *crate, const struct cargo_dep_info *info)
{
	struct cargo_paths paths = {.count = 0};
	const char *place;

	cargo_crate_paths(crate, &paths);
	place = cargo_environment_place(info, &paths, CARGO_PATHS_TO_FIXED);
	if (place != NULL)
		(void)cargo_crate_move(crate, place);
	cargo_paths_clear(&paths);
}

static int
take_dep_info(struct cargo_crate *crate, const struct cargo_dep_info *info,
    struct error *err)
{
	struct cargo_paths paths = {.count = 0};
	int rc = 0;

	for (size_t i = 0; i < info->variables.count; i++) {
		const char *item = info->variables.items[i];

		cargo_strings_take(
		    &crate->learned, xstrndup(item, strcspn(item, "=")));
	}
	take_place(crate, info);
	cargo_crate_paths(crate, &paths);
	for (size_t i = 0; i < info->sources.count && rc == 0; i++)
		rc = take_source(crate, &paths, info->sources.items[i], err);
	cargo_paths_clear(&paths);
	return rc;
}

/* The call's, without the descriptors of cargo's that we do not have. */
static void
copy_environment(const struct cargo_crate *crate, struct cargo_strings *out)
{
	for (char *const *at = crate->call->environment.items; *at != NULL;
	     at++) {
		if (strncmp(*at, "CARGO_MAKEFLAGS=", 16) != 0 &&
		    strncmp(*at, "MAKEFLAGS=", 10) != 0 &&
		    strncmp(*at, "MFLAGS=", 7) != 0)
			cargo_strings_add(out, *at);
	}
	cargo_strings_end(out);
}

static int
ask_compiler(
    const struct cargo_crate *crate, const char *path, struct error *err)
{
	struct cargo_strings environment = {.count = 0};
	struct cargo_strings words = {.count = 0};
	struct cargo_process process = {
	    .directory = crate->call->directory,
	    .timeout_ms = DISCOVERY_TIMEOUT_MS,
	    .wanted_by = crate->call->caller,
	};
	int rc;

	copy_environment(crate, &environment);
	process.environment = environment.items;
	if (crate->driver != NULL)
		cargo_strings_add(&words, crate->driver);
	cargo_strings_add(&words, crate->rustc);
	cargo_arguments_discover(crate->words.items, path, &words);
	rc = cargo_process_run(&process, words.items, err);
	cargo_strings_clear(&words);
	cargo_strings_clear(&environment);
	if (rc > 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "it may not compile: asked what it reads, the compiler "
		    "ended with status %d",
		    rc);
	return rc;
}

/* info is to be cleared in any case. */
static int
read_dep_info(const struct cargo_crate *crate, struct cargo_dep_info *info,
    struct error *err)
{
	struct buffer text;
	char *path;
	int rc;

	*info = (struct cargo_dep_info){.sources = {.count = 0}};
	path = xasprintf("%s/.toolroot/%s%s.%d.d", crate->layout->target,
	    crate->arguments.crate_name, crate->arguments.extra_filename,
	    (int)getpid());
	buffer_init(&text, DEP_INFO_MAX);
	rc = ask_compiler(crate, path, err);
	if (rc == 0)
		rc = file_read_all(path, &text, err);
	if (rc == 0)
		cargo_dep_info_parse(info, buffer_str(&text));
	buffer_clear(&text);
	unlink(path);
	free(path);
	return rc;
}

int
cargo_crate_discover(struct cargo_crate *crate, struct error *err)
{
	struct cargo_dep_info info;
	int rc;

	if (crate->fetched)
		return 0;
	rc = read_dep_info(crate, &info, err);
	if (rc == 0)
		rc = take_dep_info(crate, &info, err);
	cargo_dep_info_clear(&info);
	return rc;
}

void
cargo_crate_find_place(struct cargo_crate *crate)
{
	struct cargo_dep_info info;
	struct error ignored; /* the compiler tells it again */

	if (!crate->fetched || cargo_crate_is_moved(crate))
		return;
	if (read_dep_info(crate, &info, &ignored) == 0)
		take_place(crate, &info);
	cargo_dep_info_clear(&info);
}

/* --- at its fixed paths --------------------------------------------------- */

void
cargo_crate_paths(const struct cargo_crate *crate, struct cargo_paths *paths)
{
	const struct cargo_layout *layout = crate->layout;
	char *registry = xasprintf("%s/registry/src", layout->home);
	char *git = xasprintf("%s/git/checkouts", layout->home);
	bool moved = cargo_crate_is_moved(crate);
	char *fixed;

	cargo_paths_add(paths, layout->workspace,
	    crate->exact ? layout->workspace : "/b/w");
	cargo_paths_add(
	    paths, layout->target, crate->exact ? layout->target : "/b/t");
	cargo_paths_add(paths, registry, moved ? registry : "/b/r");
	cargo_paths_add(paths, git, moved ? git : "/b/g");
	cargo_paths_add(
	    paths, DEBIAN_REGISTRY, moved ? DEBIAN_REGISTRY : "/b/d");
	if (crate->toolchain->sysroot != NULL)
		cargo_paths_add(
		    paths, crate->toolchain->sysroot, "/" CAPTURE_RUST_SYSROOT);
	if (!cargo_paths_cover(paths, crate->package)) {
		fixed = xasprintf("/b/p/%s", crate->arguments.crate_name);
		cargo_paths_add(
		    paths, crate->package, moved ? crate->package : fixed);
		free(fixed);
	}
	free(registry);
	free(git);
}

void
cargo_crate_command(const struct cargo_crate *crate,
    const struct cargo_paths *paths, bool incremental,
    struct cargo_strings *out)
{
	cargo_strings_add(out, crate->toolchain->program);
	/* Clippy takes the compiler's name for a sign that cargo calls it. */
	if (crate->driver != NULL)
		cargo_strings_add(out, "rustc");
	cargo_arguments_map(crate->words.items, paths, incremental, out);
}

char *
cargo_crate_metadata(const struct cargo_crate *crate)
{
	const struct cargo_arguments *arguments = &crate->arguments;

	return xasprintf("%s/lib%s%s.rmeta", arguments->out_dir,
	    arguments->crate_name, arguments->extra_filename);
}

void
cargo_crate_place(
    const struct cargo_crate *crate, struct cargo_message_answer *answer)
{
	struct cargo_message_place *place = &answer->place;
	struct cargo_paths paths = {.count = 0};

	cargo_crate_paths(crate, &paths);
	place->directory = cargo_paths_map_text(
	    &paths, CARGO_PATHS_TO_FIXED, crate->call->directory);
	place->dep_info = dep_info_path(&crate->arguments);
	place->metadata =
	    crate->given ? cargo_crate_metadata(crate) : xstrdup("");
	/* What is compiled for the first time is what others would compile, and
	 * what others began is what they would end; an edit may be the first of
	 * many. */
	cargo_crate_command(crate, &paths,
	    (crate->warm || crate->built) && !crate->given, &place->arguments);
	for (char *const *at = crate->call->environment.items; *at != NULL;
	     at++)
		cargo_strings_take(&place->environment,
		    crate->exact ? xstrdup(*at)
				 : cargo_paths_map_text(
				       &paths, CARGO_PATHS_TO_FIXED, *at));
	for (size_t i = 0; i < paths.count; i++) {
		cargo_strings_add(&place->paths, paths.items[i].real);
		cargo_strings_add(&place->paths, paths.items[i].fixed);
	}
	answer->kind = CARGO_MESSAGE_PLACE;
	cargo_paths_clear(&paths);
}
