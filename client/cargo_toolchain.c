/* SPDX-License-Identifier: Apache-2.0 */
/* Capture, or the list of the last capture with digests of today. */
#include "client/cargo_toolchain.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/merkle_builder.h"
#include "client/capture_cc.h"
#include "client/capture_hash.h"
#include "client/capture_host.h"
#include "client/capture_notes.h"
#include "client/capture_programs.h"
#include "client/capture_run.h"
#include "client/capture_rust.h"
#include "client/capture_tree.h"
#include "client/cargo_manifest.h"
#include "client/stat_ledger.h"

#define ENTRIES_MAX 100000
#define BYTES_MAX (UINT64_C(8) << 30)

static char *
ask(const char *rustc, const char *first, const char *second, struct error *err)
{
	char *const argv[] = {(char *)(uintptr_t)rustc,
	    (char *)(uintptr_t)first, (char *)(uintptr_t)second, NULL};

	return capture_run_text(argv, err);
}

/* In the place that it has beside the compiler. */
static int
add_driver(struct capture_host *host, const char *driver, bool moved,
    struct error *err)
{
	struct capture_file file = {.executable = true, .source = driver};
	const char *slash = strrchr(driver, '/');
	struct stat status;
	char *path;
	int rc;

	if (slash == NULL || stat(driver, &status) == -1)
		return error_set(
		    err, ERROR_NOT_FOUND, "%s is no path of a program", driver);
	if (!moved)
		return capture_host_add(host, driver, NULL, err) < 0 ? -1 : 0;
	file.size = (uint64_t)status.st_size;
	path = xasprintf(CAPTURE_RUST_SYSROOT "/bin%s", slash);
	rc = capture_tree_add_file(host->tree, str_from(path), &file, err);
	free(path);
	return rc;
}

static bool
has_part(const char *name, const char *const *parts)
{
	for (; *parts != NULL; parts++) {
		if (strstr(name, *parts) != NULL)
			return true;
	}
	return false;
}

/* A bare name is looked for where actions do, and a worker hides /tmp. */
static int
check_place(const char *linker, const char *path, struct error *err)
{
	if (strncmp(path, "/tmp/", 5) == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "linker %s: an action has a /tmp of its own", linker);
	if (strchr(linker, '/') != NULL || strncmp(path, "/usr/bin/", 9) == 0 ||
	    strncmp(path, "/bin/", 5) == 0)
		return 0;
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "linker %s is %s here: give its path to -C linker=", linker, path);
}

/* A compiler's driver, or a linker by itself; another program may read what
 * nobody would know. */
static int
capture_linker(struct capture_host *host,
    const struct cargo_toolchain_options *options,
    struct capture_programs *programs, struct error *err)
{
	static const char *const drivers[] = {
	    "gcc", "g++", "clang", "cc", "c++", NULL};
	static const char *const linkers[] = {"ld", "mold", NULL};
	const char *linker = options->linker != NULL ? options->linker : "cc";
	const struct capture_cc_options cc = {
	    .compiler = linker,
	    .scope = CAPTURE_CC_LINKER,
	    .libraries = options->libraries->items,
	    .library_count = options->libraries->count,
	};
	const char *slash = strrchr(linker, '/');
	const char *name = slash != NULL ? slash + 1 : linker;
	char *path;
	int rc = -1;

	/* It is the toolchain's, beside the libraries. */
	if (strcmp(linker, "rust-lld") == 0)
		return 0;
	path = capture_run_find(linker);
	if (path == NULL || access(path, X_OK) == -1)
		error_set(
		    err, ERROR_NOT_FOUND, "there is no linker %s", linker);
	else if (check_place(linker, path, err) < 0)
		rc = -1;
	else if (has_part(name, drivers))
		rc = capture_cc(host, &cc, programs, err);
	else if (has_part(name, linkers))
		rc = capture_host_add(host, path, NULL, err) < 0 ? -1 : 0;
	else
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "linker %s: what it reads is not known", linker);
	free(path);
	return rc;
}

static int
capture_programs_of(struct capture_host *host,
    const struct cargo_toolchain_options *options, const char *rustc,
    bool *moved, struct error *err)
{
	struct capture_programs programs = {.count = 0};
	int rc = capture_linker(host, options, &programs, err);

	if (rc == 0)
		rc = capture_rust(host, rustc, &programs, moved, err);
	if (rc == 0 && options->driver != NULL)
		rc = add_driver(host, options->driver, *moved, err);
	if (rc == 0)
		rc = capture_host_close(host, err);
	capture_programs_clear(&programs);
	return rc;
}

/* The ledger knows most files already. */
static int
fill_digests(struct cargo_toolchain *toolchain, struct stat_ledger *ledger,
    struct error *err)
{
	size_t count;
	struct capture_entry **list =
	    capture_tree_list(toolchain->tree, &count);
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		struct stat_ledger_file file;

		if (list[i]->kind != CAPTURE_FILE || list[i]->source == NULL)
			continue;
		rc = stat_ledger_digest(ledger, list[i]->source, &file, err);
		if (rc == 0 && file.digest.size != list[i]->size)
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s changes while it is captured", list[i]->source);
		if (rc == 0) {
			list[i]->digest = file.digest;
			list[i]->hashed = true;
		}
	}
	free(list);
	return rc;
}

static int
capture(struct cargo_toolchain *toolchain,
    const struct cargo_toolchain_options *options, struct error *err)
{
	struct capture_notes notes = {.count = 0};
	struct capture_host host;
	bool moved = false;
	int rc;

	capture_host_init(&host, toolchain->tree, &notes, "");
	rc = capture_programs_of(&host, options, toolchain->rustc, &moved, err);
	capture_host_clear(&host);
	capture_notes_clear(&notes);
	toolchain->captured = true;
	if (rc == 0 && moved) {
		toolchain->sysroot =
		    ask(toolchain->rustc, "--print", "sysroot", err);
		rc = toolchain->sysroot != NULL ? 0 : -1;
	}
	if (rc == 0)
		rc = fill_digests(toolchain, options->ledger, err);
	return rc == 0 ? capture_hash(toolchain->tree, NULL, err) : -1;
}

static int
build(struct cargo_toolchain *toolchain, struct error *err)
{
	toolchain->builder =
	    merkle_builder_new(capture_tree_function(toolchain->tree));
	if (capture_tree_build(toolchain->tree, toolchain->builder, err) < 0)
		return -1;
	toolchain->root = *merkle_builder_root(toolchain->builder);
	return 0;
}

static void
forget(struct cargo_toolchain *toolchain,
    const struct cargo_toolchain_options *options)
{
	const struct capture_limits limits = {ENTRIES_MAX, BYTES_MAX};

	merkle_builder_free(toolchain->builder);
	capture_tree_free(toolchain->tree);
	free(toolchain->sysroot);
	free(toolchain->version);
	toolchain->builder = NULL;
	toolchain->sysroot = NULL;
	toolchain->version = NULL;
	toolchain->tree = capture_tree_new(options->function, &limits);
}

/* From the list of the last capture: true when the root is still the same. */
static bool
revalidate(struct cargo_toolchain *toolchain,
    const struct cargo_manifest *manifest,
    const struct cargo_toolchain_options *options)
{
	struct digest root;
	struct error ignored;

	if (cargo_manifest_load(manifest, toolchain, &root, &ignored) <= 0)
		return false;
	return fill_digests(toolchain, options->ledger, &ignored) == 0 &&
	       capture_hash(toolchain->tree, NULL, &ignored) == 0 &&
	       build(toolchain, &ignored) == 0 &&
	       digest_equal(&root, &toolchain->root);
}

static int
describe(struct cargo_toolchain *toolchain, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	char *version = ask(toolchain->rustc, "-vV", NULL, err);

	if (version == NULL)
		return -1;
	toolchain->version = xasprintf("%s\ntoolchain-digest: %s\n", version,
	    digest_format(&toolchain->root, text));
	free(version);
	return 0;
}

static int
open_toolchain(struct cargo_toolchain *toolchain,
    const struct cargo_toolchain_options *options, struct error *err)
{
	struct cargo_manifest *manifest =
	    cargo_manifest_open(options, toolchain->rustc);
	struct error ignored;
	int rc = 0;

	forget(toolchain, options);
	if (!revalidate(toolchain, manifest, options)) {
		forget(toolchain, options);
		rc = capture(toolchain, options, err);
		if (rc == 0)
			rc = build(toolchain, err);
		if (rc == 0)
			rc = describe(toolchain, err);
		/* Without it the next build captures again. */
		if (rc == 0)
			(void)cargo_manifest_save(
			    manifest, toolchain, &ignored);
	}
	cargo_manifest_close(manifest);
	return rc;
}

/* The caller frees it. */
static char *
program_of(const struct cargo_toolchain *toolchain, const char *driver)
{
	const char *real = driver != NULL ? driver : toolchain->rustc;
	const char *slash = strrchr(real, '/');

	if (toolchain->sysroot == NULL)
		return capture_run_find(real);
	return xasprintf("/" CAPTURE_RUST_SYSROOT "/bin%s",
	    driver != NULL ? slash : "/rustc");
}

/* The compiler itself for what cargo calls, which may be a bare name. The
 * caller frees it. */
static char *
find_compiler(const char *rustc, struct error *err)
{
	char *path = capture_run_find(rustc);
	char *found = NULL;

	if (path != NULL)
		found = capture_rust_find(path, err);
	else
		error_set(err, ERROR_NOT_FOUND, "it is not in PATH");
	free(path);
	return found;
}

struct cargo_toolchain *
cargo_toolchain_open(
    const struct cargo_toolchain_options *options, struct error *err)
{
	struct cargo_toolchain *toolchain = xcalloc(1, sizeof(*toolchain));

	/* Which compiler it is may change without any file's doing. */
	toolchain->rustc = find_compiler(options->rustc, err);
	if (toolchain->rustc == NULL ||
	    open_toolchain(toolchain, options, err) < 0) {
		error_prefix(err, "toolchain of %s", options->rustc);
		cargo_toolchain_close(toolchain);
		return NULL;
	}
	toolchain->program = program_of(toolchain, options->driver);
	return toolchain;
}

void
cargo_toolchain_close(struct cargo_toolchain *toolchain)
{
	if (toolchain == NULL)
		return;
	merkle_builder_free(toolchain->builder);
	capture_tree_free(toolchain->tree);
	free(toolchain->rustc);
	free(toolchain->sysroot);
	free(toolchain->program);
	free(toolchain->version);
	free(toolchain);
}
