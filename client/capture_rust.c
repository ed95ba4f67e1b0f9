/* SPDX-License-Identifier: Apache-2.0 */
/* The set of files is that of docs/toolchains.md. */
#include "client/capture_rust.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/capture_directory.h"
#include "client/capture_host.h"
#include "client/capture_programs.h"
#include "client/capture_run.h"
#include "client/capture_tree.h"

/* --- finding rustc -------------------------------------------------------- */

static char *
rustup_which(const char *toolchain, struct error *err)
{
	char *const argv[] = {(char[]){"rustup"}, (char[]){"which"},
	    (char[]){"--toolchain"}, (char *)(uintptr_t)toolchain,
	    (char[]){"rustc"}, NULL};
	char *const plain[] = {
	    (char[]){"rustup"}, (char[]){"which"}, (char[]){"rustc"}, NULL};

	return capture_run_text(toolchain != NULL ? argv : plain, err);
}

/* rustup puts itself into PATH under the names of all tools. */
static bool
is_rustup(const char *path)
{
	char *real = realpath(path, NULL);
	const char *name = real != NULL ? strrchr(real, '/') : NULL;
	bool rustup = name != NULL && strcmp(name, "/rustup") == 0;

	free(real);
	return rustup;
}

static char *
find_in_path(struct error *err)
{
	char *path = capture_run_find("rustc");

	if (path == NULL) {
		error_set(err, ERROR_NOT_FOUND,
		    "there is no rustc in PATH; --rust takes a rustup "
		    "toolchain, a sysroot or the path of a rustc");
		return NULL;
	}
	if (!is_rustup(path))
		return path;
	free(path);
	return rustup_which(NULL, err);
}

char *
capture_rust_find(const char *which, struct error *err)
{
	struct stat status;
	char *path, *rustc;

	if (which == NULL)
		return find_in_path(err);
	if (strchr(which, '/') == NULL && stat(which, &status) == -1) {
		rustc = rustup_which(which, err);
		if (rustc == NULL)
			error_prefix(err,
			    "--rust %s is no directory, so rustup was asked",
			    which);
		return rustc;
	}
	if (stat(which, &status) == 0 && S_ISDIR(status.st_mode))
		path = xasprintf("%s/bin/rustc", which);
	else
		path = xstrdup(which);
	rustc = capture_run_find(path);
	if (rustc == NULL)
		error_set(err, ERROR_NOT_FOUND,
		    "there is no program %s; --rust takes a rustup toolchain, "
		    "a sysroot or the path of a rustc",
		    path);
	free(path);
	if (rustc != NULL && is_rustup(rustc)) {
		free(rustc);
		return rustup_which(NULL, err);
	}
	return rustc;
}

static char *
ask(char *rustc, const char *what, struct error *err)
{
	char *const argv[] = {
	    rustc, (char[]){"--print"}, (char *)(uintptr_t)what, NULL};

	return capture_run_text(argv, err);
}

/* --- a sysroot of its own ------------------------------------------------- */

static struct str
last_name(struct str path)
{
	for (size_t i = path.len; i > 0; i--) {
		if (path.data[i - 1] == '/')
			return (struct str){path.data + i, path.len - i};
	}
	return path;
}

/* Below lib/rustlib/TRIPLE/. */
static bool
wanted_of_target(struct str name, struct str rest)
{
	/* The linkers are in bin/, with tools for other targets; rust-objcopy
	 * does not find its library in any layout. */
	if (str_starts_with(rest, STR("bin")))
		return !str_equal(name, STR("wasm-component-ld")) &&
		       !str_equal(name, STR("wasm-ld")) &&
		       !str_equal(name, STR("rust-objcopy"));
	/* The sanitizers' libraries are beside the others. */
	if (!str_starts_with(rest, STR("lib")))
		return false;
	return !str_starts_with(name, STR("librustc-")) &&
	       !str_starts_with(name, STR("librustc_rt."));
}

/* Paths below the sysroot. */
static bool
wanted_of_sysroot(void *cookie, struct str path, bool directory)
{
	struct str rest = path;
	struct str first = str_cut(&rest, '/');
	struct str second;

	(void)cookie;
	if (str_equal(first, STR("bin")))
		return directory || str_equal(path, STR("bin/rustc"));
	if (!str_equal(first, STR("lib")))
		return false;
	if (rest.data == NULL)
		return true;
	second = str_cut(&rest, '/');
	if (!str_equal(second, STR("rustlib")))
		return rest.data == NULL && !directory;
	if (rest.data == NULL)
		return true;
	/* rustlib/src is the source, rustlib/etc is for debuggers, and files
	 * are rustup's own. */
	second = str_cut(&rest, '/');
	if (str_equal(second, STR("src")) ||
	    str_equal(second, STR("rustc-src")) ||
	    str_equal(second, STR("etc")))
		return false;
	if (rest.data == NULL)
		return directory;
	return wanted_of_target(last_name(path), rest);
}

static int
add_sysroot(struct capture_host *host, const char *sysroot, struct error *err)
{
	const struct capture_directory_options options = {
	    .path = sysroot,
	    .into = STR(CAPTURE_RUST_SYSROOT),
	    .wanted = wanted_of_sysroot,
	    .notes = host->notes,
	};

	return capture_directory(host->tree, &options, err);
}

/* --- a distribution's ----------------------------------------------------- */

static int
add_in_place(struct capture_host *host, char *rustc, struct error *err)
{
	char *libraries = ask(rustc, "target-libdir", err);
	int rc = -1;

	if (libraries == NULL)
		return -1;
	if (capture_host_add(host, rustc, NULL, err) >= 0 &&
	    capture_host_add_content(host, libraries, NULL, err) >= 0)
		rc = 0;
	free(libraries);
	return rc;
}

/* --- the whole ------------------------------------------------------------ */

static bool
has_own_sysroot(const char *sysroot, const char *rustc)
{
	char *expected = xasprintf("%s/bin/rustc", sysroot);
	char *real = realpath(expected, NULL);
	char *asked = realpath(rustc, NULL);
	bool own = real != NULL && asked != NULL && strcmp(real, asked) == 0 &&
		   strcmp(sysroot, "/usr") != 0 &&
		   strcmp(sysroot, "/usr/local") != 0;

	free(expected);
	free(real);
	free(asked);
	return own;
}

int
capture_rust(struct capture_host *host, const char *which,
    struct capture_programs *programs, bool *moved, struct error *err)
{
	char *rustc = capture_rust_find(which, err);
	char *sysroot = NULL;
	int rc = -1;

	if (rustc == NULL)
		return -1;
	sysroot = ask(rustc, "sysroot", err);
	if (sysroot == NULL)
		goto out;
	*moved = has_own_sysroot(sysroot, rustc);
	if (capture_programs_ask(programs, rustc, "-vV",
		*moved ? "/" CAPTURE_RUST_SYSROOT "/bin/rustc" : rustc,
		err) < 0)
		goto out;
	rc = *moved ? add_sysroot(host, sysroot, err)
		    : add_in_place(host, rustc, err);
out:
	free(sysroot);
	free(rustc);
	return rc;
}
