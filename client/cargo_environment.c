/* SPDX-License-Identifier: Apache-2.0 */
/* Names in, names out; the lists are the rules. */
#include "client/cargo_environment.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "client/cargo_dep_info.h"
#include "client/cargo_paths.h"

/* Cargo's own, whatever stood there before, and what tells the compiler or the
 * linker what to write. */
static const char *const wanted_prefixes[] = {
    "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "DEP_"};
static const char *const wanted[] = {"CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR",
    "RUSTC_BOOTSTRAP", "LD_RUN_PATH", "MACOSX_DEPLOYMENT_TARGET"};
/* Set by cargo or us for this machine and this build. */
static const char *const dropped_prefixes[] = {
    "CARGO_TERM_", "RUSTUP_", "TOOLROOT_"};
static const char *const dropped[] = {"CARGO", "CARGO_HOME", "CARGO_MAKEFLAGS",
    "CARGO_INCREMENTAL", "CARGO_CACHE_RUSTC_INFO", "CARGO_BUILD_JOBS",
    "CARGO_TARGET_DIR", "CLIPPY_TERMINAL_WIDTH", "GLIBC_TUNABLES",
    "LD_LIBRARY_PATH", "MAKEFLAGS", "MFLAGS", "OLDPWD", "PATH", "PWD", "RUSTC",
    "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUST_RECURSION_COUNT", "SHLVL",
    "_"};
/* Cargo, or rustup before it, sets them to where this machine has
 * certificates. */
static const char *const ambient[] = {"SSL_CERT_FILE", "SSL_CERT_DIR"};
/* What was asked for on cargo's command line: the same crate is compiled with
 * and without. */
static const char *const command_line[] = {"CARGO_PRIMARY_PACKAGE"};
/* Cargo clippy's, in all calls; clippy-driver alone reads it. */
static const char *const linter[] = {"CLIPPY_ARGS"};
/* Where things are, whatever was included from there. */
static const char *const places[] = {
    "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_TARGET_TMPDIR"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static bool
listed(const char *const *list, size_t count, const char *name, size_t length)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(list[i]) == length &&
		    strncmp(list[i], name, length) == 0)
			return true;
	}
	return false;
}

static bool
begins(const char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strncmp(name, list[i], strlen(list[i])) == 0)
			return true;
	}
	return false;
}

static bool
is_dropped(const char *item, size_t length)
{
	return listed(dropped, COUNT(dropped), item, length) ||
	       begins(dropped_prefixes, COUNT(dropped_prefixes), item);
}

static bool
is_wanted(const struct cargo_environment *environment, const char *item)
{
	size_t length = strcspn(item, "=");
	char *name = xstrndup(item, length);
	const char *before = cargo_strings_value(environment->build, name);
	bool learned = cargo_strings_have(environment->learned, name);
	bool differs = before == NULL || item[length] == '\0' ||
		       strcmp(before, item + length + 1) != 0;

	free(name);
	if (is_dropped(item, length))
		return false;
	if (!learned && listed(ambient, COUNT(ambient), item, length))
		return false;
	if (!environment->clippy && !learned &&
	    listed(linter, COUNT(linter), item, length))
		return false;
	if (!environment->macro && !learned &&
	    listed(command_line, COUNT(command_line), item, length))
		return false;
	return learned || differs ||
	       listed(wanted, COUNT(wanted), item, length) ||
	       begins(wanted_prefixes, COUNT(wanted_prefixes), item);
}

/* By name: "=" sorts before what names are made of but for digits. */
static int
compare(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;
	size_t n = strcspn(*left, "="), m = strcspn(*right, "=");
	int order = memcmp(*left, *right, n < m ? n : m);

	return order != 0 ? order : (n > m) - (n < m);
}

void
cargo_environment_choose(
    const struct cargo_environment *environment, struct cargo_strings *out)
{
	for (char *const *at = environment->call; *at != NULL; at++) {
		if (is_wanted(environment, *at))
			cargo_strings_take(
			    out, cargo_paths_map_text(environment->paths,
				     CARGO_PATHS_TO_FIXED, *at));
	}
	cargo_strings_add(out, "PATH=/usr/bin:/bin");
	qsort(out->items, out->count, sizeof(*out->items), compare);
}

/* --- what came back ------------------------------------------------------- */

static bool
agrees(const struct cargo_environment *environment, const char *seen)
{
	size_t length = strcspn(seen, "=");
	char *name = xstrndup(seen, length);
	const char *here = cargo_strings_value(environment->call, name);
	char *mapped = here == NULL ? NULL
				    : cargo_paths_map_text(environment->paths,
					  CARGO_PATHS_TO_FIXED, here);
	bool same =
	    seen[length] == '\0'
		? here == NULL
		: here != NULL && strcmp(mapped, seen + length + 1) == 0;

	free(name);
	free(mapped);
	return same;
}

void
cargo_environment_mismatches(const struct cargo_environment *environment,
    const struct cargo_dep_info *info, struct cargo_strings *names)
{
	for (size_t i = 0; i < info->variables.count; i++) {
		const char *item = info->variables.items[i];

		if (!agrees(environment, item))
			cargo_strings_take(
			    names, xstrndup(item, strcspn(item, "=")));
	}
}

/* --- places --------------------------------------------------------------- */

/* A source is what the value names, or is below it. */
static bool
is_included(const struct cargo_dep_info *info, const char *value)
{
	size_t length = strlen(value);

	while (length > 0 && value[length - 1] == '/')
		length--;
	for (size_t i = 0; i < info->sources.count; i++) {
		const char *source = info->sources.items[i];

		if (strncmp(source, value, length) == 0 &&
		    (source[length] == '/' || source[length] == '\0'))
			return true;
	}
	return false;
}

static bool
has_path(const struct cargo_paths *paths, enum cargo_paths_direction direction,
    const char *value)
{
	char *mapped = cargo_paths_map_text(paths, direction, value);
	bool has = strcmp(mapped, value) != 0;

	free(mapped);
	return has;
}

const char *
cargo_environment_place(const struct cargo_dep_info *info,
    const struct cargo_paths *paths, enum cargo_paths_direction direction)
{
	for (size_t i = 0; i < info->variables.count; i++) {
		const char *item = info->variables.items[i];
		size_t length = strcspn(item, "=");

		if (listed(places, COUNT(places), item, length) ||
		    strncmp(item, "CARGO_BIN_EXE_", 14) == 0)
			return item;
		if (item[length] == '=' &&
		    has_path(paths, direction, item + length + 1) &&
		    !is_included(info, item + length + 1))
			return item;
	}
	return NULL;
}
