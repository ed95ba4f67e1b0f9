/* SPDX-License-Identifier: Apache-2.0 */
/* CACHE/compilers/DIGEST: one directory for each compiler and each shim. */
#include "client/cargo_rustc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest.h"
#include "client/cargo_command_line.h"
#include "client/cargo_config.h"
#include "client/cargo_stand_in.h"
#include "client/cargo_strings.h"

/* --- what cargo calls ----------------------------------------------------- */

/* A bare name is looked for in PATH, whoever said it. */
static char *
place(const char *rustc, const char *directory)
{
	if (rustc[0] == '/' || strchr(rustc, '/') == NULL)
		return xstrdup(rustc);
	return xasprintf("%s/%s", directory, rustc);
}

/* The last one counts. */
static char *
find_in_words(char *const *words, const char *directory)
{
	char *found = NULL;
	const char *text;

	while ((text = cargo_command_line_next_config(&words)) != NULL) {
		char *rustc =
		    cargo_config_given(CARGO_CONFIG_RUSTC, text, directory);

		if (rustc != NULL) {
			free(found);
			found = rustc;
		}
	}
	return found;
}

char *
cargo_rustc_find(
    char *const *words, const char *directory, char *const *environment)
{
	const char *set = cargo_strings_value(environment, "RUSTC");
	char *found, *real;

	if (set != NULL && set[0] == '\0')
		return NULL;
	found = set != NULL ? place(set, directory)
			    : find_in_words(words, directory);
	set = cargo_strings_value(environment, "CARGO_BUILD_RUSTC");
	if (found == NULL && set != NULL && set[0] != '\0')
		found = place(set, directory);
	if (found == NULL)
		found = cargo_config_program(
		    CARGO_CONFIG_RUSTC, directory, environment);
	if (found == NULL)
		found = xstrdup("rustc");
	real = cargo_stand_in_compiler(found);
	if (real == NULL)
		return found;
	free(found);
	return real;
}

/* --- the stand-in --------------------------------------------------------- */

/* The caller frees it. */
static char *
directory_of(const char *cache, const char *shim, const char *compiler)
{
	const struct iovec parts[] = {{(char *)shim, strlen(shim) + 1},
	    {(char *)compiler, strlen(compiler) + 1}};
	char text[DIGEST_TEXT_MAX];
	struct digest name;

	digest_compute_parts(DIGEST_SHA256, parts, 2, &name);
	return xasprintf(
	    "%s/compilers/%.16s", cache, digest_format_hash(&name, text));
}

/* Another build may do the same: it makes the same. */
static int
make_link(const char *directory, const char *name, const char *target,
    struct error *err)
{
	char *path = xasprintf("%s/%s", directory, name);
	int rc = 0;

	if (symlink(target, path) == -1 && errno != EEXIST)
		rc = error_set_errno(err, errno, "make %s", path);
	free(path);
	return rc;
}

static int
check(const char *path, const char *compiler, struct error *err)
{
	char *found = cargo_stand_in_compiler(path);
	bool same = found != NULL && strcmp(found, compiler) == 0;

	free(found);
	if (!same || access(path, X_OK) == -1)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s does not stand for %s: remove it", path, compiler);
	return 0;
}

/* The path, or NULL; the caller frees it. */
static char *
make(const char *cache, const char *shim, const char *compiler,
    struct error *err)
{
	char *directory = directory_of(cache, shim, compiler);
	char *path = xasprintf("%s/" CARGO_STAND_IN_NAME, directory);
	int rc = file_make_directories(directory, err);

	/* In this order: what is there stands for something. */
	if (rc == 0)
		rc = make_link(
		    directory, CARGO_STAND_IN_COMPILER, compiler, err);
	if (rc == 0)
		rc = make_link(directory, CARGO_STAND_IN_NAME, shim, err);
	if (rc == 0)
		rc = check(path, compiler, err);
	free(directory);
	if (rc == 0)
		return path;
	free(path);
	return NULL;
}

char *
cargo_rustc_stand_in(const char *cache, const char *shim, char *const *words,
    char *const *environment)
{
	char *directory = getcwd(NULL, 0);
	char *rustc = directory != NULL
			  ? cargo_rustc_find(words, directory, environment)
			  : NULL;
	char *path = NULL;
	struct error err;

	if (rustc != NULL) {
		path = make(cache, shim, rustc, &err);
		if (path == NULL)
			fprintf(stderr,
			    "toolroot: %s; this cargo may not see that the "
			    "toolchain has changed\n",
			    err.text);
	}
	free(directory);
	free(rustc);
	return path;
}

void
cargo_rustc_add(
    const char *stand_in, char *const *environment, struct cargo_strings *added)
{
	const char *rustc = cargo_strings_value(environment, "RUSTC");
	char *real = rustc != NULL ? cargo_stand_in_compiler(rustc) : NULL;

	cargo_strings_take(added, xasprintf("RUSTC=%s", stand_in));
	if (rustc != NULL)
		cargo_strings_take(added, xasprintf(CARGO_STAND_IN_RUSTC "=%s",
					      real != NULL ? real : rustc));
	free(real);
}
