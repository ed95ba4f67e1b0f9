/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiler is asked (-print-prog-name, -print-file-name, -E -v), since
 * each distribution puts things elsewhere; what it does not know is left out.
 */
#include "client/capture_cc.h"

#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_commands.h"
#include "client/capture_host.h"
#include "client/capture_notes.h"
#include "client/capture_programs.h"
#include "client/capture_run.h"
#include "client/capture_tree.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* Linker scripts are a few lines. */
#define SCRIPT_BYTES_MAX (64u << 10)

struct cc {
	struct capture_host *host;
	const struct capture_cc_options *options;
	char *driver; /* absolute, as it is called */
	bool clang;
};

/* --- asking the compiler -------------------------------------------------- */

/* What `driver OPTION=NAME` prints; the caller frees it. */
static char *
ask(const struct cc *cc, const char *option, const char *name,
    struct error *err)
{
	char *argument =
	    name != NULL ? xasprintf("%s=%s", option, name) : xstrdup(option);
	char *const argv[] = {cc->driver, argument, NULL};
	char *answer = capture_run_text(argv, err);

	free(argument);
	return answer;
}

/* A file that the compiler finds by name; what it does not find it names as it
 * was asked. 1, 0, -1. */
static int
add_asked(const struct cc *cc, const char *option, const char *name,
    char **real, struct error *err)
{
	char *path = ask(cc, option, name, err);
	int rc = 0;

	if (path == NULL)
		return -1;
	if (path[0] == '/')
		rc = capture_host_add(cc->host, path, real, err);
	free(path);
	return rc;
}

/* --- programs ------------------------------------------------------------- */

static const char *const gcc_programs[] = {"cc1", "cc1plus", "collect2", "lto1",
    "lto-wrapper", "as", "ld", "ld.bfd", "ld.gold", "ld.lld", "ar", "nm",
    "objcopy", "objdump", "ranlib", "strip", "readelf", "strings", "size",
    "addr2line", "c++filt", "dwp"};

static const char *const linking_programs[] = {
    "collect2", "lto-wrapper", "ld", "ld.bfd", "ld.gold", "ld.lld", "ld.mold"};

/* Beside the driver, with what stands behind its name ("-12"). */
static const char *const gcc_siblings[] = {
    "gcc", "g++", "cpp", "gcc-ar", "gcc-nm", "gcc-ranlib", "gcov"};
static const char *const clang_siblings[] = {"clang", "clang++", "clang-cpp",
    "ld.lld", "lld", "llvm-ar", "llvm-as", "llvm-nm", "llvm-ranlib",
    "llvm-objcopy", "llvm-objdump", "llvm-strip", "llvm-cov", "llvm-profdata",
    "llvm-symbolizer"};
/* Other names by which the driver is called, if they lead to it. */
static const char *const aliases[] = {"cc", "c++"};

/* One that is not in the compiler's own directories is in the PATH. */
static int
add_program(const struct cc *cc, const char *name, struct error *err)
{
	char *path = ask(cc, "-print-prog-name", name, err);
	char *found = NULL;
	int rc = 0;

	if (path == NULL)
		return -1;
	if (path[0] != '/')
		found = capture_run_find(path);
	if (path[0] == '/' || found != NULL)
		rc = capture_host_add(
		    cc->host, found != NULL ? found : path, NULL, err);
	free(found);
	free(path);
	return rc < 0 ? -1 : 0;
}

/* What stands behind "gcc" or "clang" in the driver's name: "-12". */
static const char *
driver_suffix(const struct cc *cc)
{
	const char *name = strrchr(cc->driver, '/') + 1;
	const char *dash = strrchr(name, '-');

	return dash != NULL && dash[1] >= '0' && dash[1] <= '9' ? dash : "";
}

static int
add_sibling(const struct cc *cc, const char *name, const char *suffix,
    struct error *err)
{
	size_t directory = (size_t)(strrchr(cc->driver, '/') - cc->driver);
	char *path =
	    xasprintf("%.*s/%s%s", (int)directory, cc->driver, name, suffix);
	int rc = capture_host_add(cc->host, path, NULL, err);

	free(path);
	return rc < 0 ? -1 : 0;
}

/* Whether path, followed to its end, is in the tree already. */
static bool
leads_to_captured(const struct cc *cc, const char *path)
{
	char *real = realpath(path, NULL);
	bool captured = real != NULL && capture_tree_find(cc->host->tree,
					    str_from(real + 1)) != NULL;

	free(real);
	return captured;
}

static int
add_alias(const struct cc *cc, const char *name, struct error *err)
{
	char *path = xasprintf("/usr/bin/%s", name);
	int rc = 0;

	if (leads_to_captured(cc, path))
		rc = capture_host_add(cc->host, path, NULL, err);
	free(path);
	return rc < 0 ? -1 : 0;
}

static int
add_listed_programs(const struct cc *cc, const char *const *names, size_t count,
    struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (add_program(cc, names[i], err) < 0)
			return -1;
	}
	return 0;
}

static int
add_siblings(const struct cc *cc, struct error *err)
{
	const char *const *siblings = cc->clang ? clang_siblings : gcc_siblings;
	size_t count = cc->clang ? COUNT(clang_siblings) : COUNT(gcc_siblings);
	const char *suffix = driver_suffix(cc);

	for (size_t i = 0; i < count; i++) {
		if (add_sibling(cc, siblings[i], suffix, err) < 0)
			return -1;
	}
	return 0;
}

static int
add_programs(const struct cc *cc, struct error *err)
{
	int rc;

	if (capture_host_add(cc->host, cc->driver, NULL, err) < 0)
		return -1;
	if (cc->options->scope == CAPTURE_CC_LINKER) {
		rc = add_listed_programs(
		    cc, linking_programs, COUNT(linking_programs), err);
	} else {
		rc = add_listed_programs(
		    cc, gcc_programs, COUNT(gcc_programs), err);
		if (rc == 0)
			rc = add_siblings(cc, err);
	}
	for (size_t i = 0; i < COUNT(aliases) && rc == 0; i++)
		rc = add_alias(cc, aliases[i], err);
	return rc;
}

/* --- headers -------------------------------------------------------------- */

static int
add_include_directories(
    const struct cc *cc, const char *language, struct error *err)
{
	char *const argv[] = {cc->driver, (char[]){"-E"}, (char[]){"-v"},
	    (char[]){"-x"}, (char *)(uintptr_t)language, (char[]){"/dev/null"},
	    NULL};
	struct buffer output;
	struct str rest;
	bool inside = false;
	int rc;

	buffer_init(&output, CAPTURE_RUN_OUTPUT_MAX);
	rc = capture_run(argv, &output, err);
	rest = buffer_str(&output);
	while (rc >= 0 && rest.data != NULL) {
		struct str line = str_cut(&rest, '\n');
		char *path;

		if (str_starts_with(line, STR("#include <...>")))
			inside = true;
		else if (str_starts_with(line, STR("End of search list")))
			inside = false;
		if (!inside || !str_starts_with(line, STR(" /")))
			continue;
		path = xstrndup(line.data + 1, line.len - 1);
		rc = capture_host_add_content(cc->host, path, NULL, err);
		free(path);
	}
	buffer_clear(&output);
	return rc < 0 ? -1 : 0;
}

/* --- objects and libraries ------------------------------------------------ */

static const char *const objects[] = {"crt1.o", "crti.o", "crtn.o", "Scrt1.o",
    "gcrt1.o", "grcrt1.o", "rcrt1.o", "Mcrt1.o"};

/* As after -l: of the C library, of the compiler, and the aliases of old. */
static const char *const libraries[] = {"c", "m", "mvec", "pthread", "dl", "rt",
    "util", "resolv", "anl", "crypt", "BrokenLocale", "nsl", "g", "gcc",
    "gcc_s", "gcc_eh", "stdc++", "stdc++fs", "supc++", "atomic", "gomp",
    "quadmath", "ssp_nonshared", "c_nonshared", "mcheck", "thread_db", "c++",
    "c++abi", "unwind"};

static bool
is_script(const char *bytes)
{
	return strncmp(bytes, "\177ELF", 4) != 0 &&
	       strncmp(bytes, "!<arch>", 7) != 0 &&
	       strncmp(bytes, "!<thin>", 7) != 0;
}

static int add_library(
    const struct cc *cc, const char *name, struct error *err);

/* Absolute paths and -lNAME in a linker script. */
static int
add_script_word(const struct cc *cc, struct str word, struct error *err)
{
	char *text = xstrndup(word.data, word.len);
	int rc = 0;

	if (text[0] == '/' && text[1] != '\0' && text[1] != '*')
		rc = capture_host_add(cc->host, text, NULL, err);
	else if (strncmp(text, "-l", 2) == 0)
		rc = add_library(cc, text + 2, err);
	free(text);
	return rc < 0 ? -1 : 0;
}

static int
add_script(const struct cc *cc, const char *path, struct error *err)
{
	struct buffer content;
	struct error ignored;
	struct str rest;
	int rc = 0;

	buffer_init(&content, SCRIPT_BYTES_MAX);
	/* What is larger is no script. */
	if (file_read_all(path, &content, &ignored) < 0 || content.len == 0 ||
	    !is_script(content.data))
		goto out;
	rest = buffer_str(&content);
	for (size_t i = 0; i < rest.len; i++) {
		if (strchr("\t\n(),", content.data[i]) != NULL)
			content.data[i] = ' ';
	}
	while (rc == 0 && rest.data != NULL)
		rc = add_script_word(cc, str_cut(&rest, ' '), err);
out:
	buffer_clear(&content);
	return rc;
}

static int
add_library_file(const struct cc *cc, const char *name, const char *ending,
    struct error *err)
{
	char *file = xasprintf("lib%s%s", name, ending);
	char *real = NULL;
	int rc = add_asked(cc, "-print-file-name", file, &real, err);

	if (rc == 1)
		rc = add_script(cc, real, err) < 0 ? -1 : 1;
	free(real);
	free(file);
	return rc;
}

static int
add_library(const struct cc *cc, const char *name, struct error *err)
{
	int shared = add_library_file(cc, name, ".so", err);
	int fixed = shared < 0 ? -1 : add_library_file(cc, name, ".a", err);

	if (shared < 0 || fixed < 0)
		return -1;
	return shared == 1 || fixed == 1 ? 1 : 0;
}

static int
add_wanted_libraries(const struct cc *cc, struct error *err)
{
	for (size_t i = 0; i < COUNT(libraries); i++) {
		if (add_library(cc, libraries[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < cc->options->library_count; i++) {
		int rc = add_library(cc, cc->options->libraries[i], err);

		if (rc == 0)
			error_set(err, ERROR_NOT_FOUND,
			    "--library %s: %s finds neither lib%s.so nor "
			    "lib%s.a; is its development package installed?",
			    cc->options->libraries[i], cc->driver,
			    cc->options->libraries[i],
			    cc->options->libraries[i]);
		if (rc <= 0)
			return -1;
	}
	return 0;
}

static bool
is_sanitizer(struct str path)
{
	static const char *const names[] = {
	    "libasan", "liblsan", "libtsan", "libubsan", "libhwasan"};

	for (size_t i = 0; i < COUNT(names); i++) {
		if (str_starts_with(path, str_from(names[i])))
			return true;
	}
	return false;
}

/* GCC's own directory holds other languages' compilers as well. */
static bool
wanted_of_gcc(void *cookie, struct str path, bool directory)
{
	static const char *const others[] = {"plugin", "f951", "gnat1",
	    "adalib", "adainclude", "go1", "cgo", "d21", "cc1obj", "cc1objplus",
	    "gm2", "finclude", "32", "x32", "libobjc.a", "libobjc.so",
	    "libobjc_gc.a", "libobjc_gc.so", "g++-mapper-server"};

	(void)cookie;
	(void)directory;
	for (size_t i = 0; i < COUNT(others); i++) {
		if (str_equal(path, str_from(others[i])))
			return false;
	}
	return true;
}

static bool
wanted_minimal(void *cookie, struct str path, bool directory)
{
	return wanted_of_gcc(cookie, path, directory) && !is_sanitizer(path);
}

static bool
wanted_for_linking(void *cookie, struct str path, bool directory)
{
	static const char *const others[] = {"include", "include-fixed",
	    "install-tools", "cc1", "cc1plus", "lto1"};

	for (size_t i = 0; i < COUNT(others); i++) {
		if (str_equal(path, str_from(others[i])))
			return false;
	}
	return wanted_minimal(cookie, path, directory);
}

/* Where libgcc is, crtbegin and libstdc++ are; clang uses them too. */
static int
add_runtime_directory(const struct cc *cc, const char *file, struct error *err)
{
	static bool (*const wanted[])(
	    void *cookie, struct str path, bool directory) = {
	    [CAPTURE_CC_WHOLE] = wanted_of_gcc,
	    [CAPTURE_CC_MINIMAL] = wanted_minimal,
	    [CAPTURE_CC_LINKER] = wanted_for_linking,
	};
	char *path = ask(cc, "-print-file-name", file, err);
	int rc = 0;

	if (path == NULL)
		return -1;
	if (path[0] == '/')
		rc = capture_host_add_content(
		    cc->host, dirname(path), wanted[cc->options->scope], err);
	free(path);
	return rc < 0 ? -1 : 0;
}

/* clang's own headers and runtime libraries. */
static int
add_resources(const struct cc *cc, struct error *err)
{
	char *path;
	int rc;

	if (!cc->clang)
		return 0;
	path = ask(cc, "-print-resource-dir", NULL, err);
	if (path == NULL)
		return -1;
	rc = capture_host_add_content(cc->host, path, NULL, err);
	free(path);
	return rc < 0 ? -1 : 0;
}

static int
add_runtime(const struct cc *cc, struct error *err)
{
	if (add_runtime_directory(cc, "crtbegin.o", err) < 0 ||
	    add_resources(cc, err) < 0)
		return -1;
	for (size_t i = 0; i < COUNT(objects); i++) {
		if (add_asked(cc, "-print-file-name", objects[i], NULL, err) <
		    0)
			return -1;
	}
	if (add_asked(cc, "-print-file-name", "liblto_plugin.so", NULL, err) <
	    0)
		return -1;
	return add_wanted_libraries(cc, err);
}

/* --- the whole ------------------------------------------------------------ */

/* Programs that stand in for a compiler would ask for it in the sandbox, where
 * it is not. The name of the one that path leads to, or NULL. */
static const char *
wrapper_name(const char *path)
{
	static const char *const wrappers[] = {
	    "ccache", "sccache", "distcc", "icecc"};
	char *real = realpath(path, NULL);
	const char *name = real != NULL ? strrchr(real, '/') + 1 : "";
	const char *found = NULL;

	for (size_t i = 0; i < COUNT(wrappers) && found == NULL; i++) {
		if (strcmp(name, wrappers[i]) == 0)
			found = wrappers[i];
	}
	free(real);
	return found;
}

static bool
is_wrapper(const char *path)
{
	return wrapper_name(path) != NULL;
}

/* What wrappers themselves would run: the next one in PATH. */
static char *
find_compiler(const char *name)
{
	char *path = capture_run_find_other(name, is_wrapper);

	return path != NULL ? path : capture_run_find(name);
}

static int
find_driver(struct cc *cc, struct error *err)
{
	const char *name = cc->options->compiler;

	if (name != NULL) {
		cc->driver = find_compiler(name);
	} else {
		name = "gcc";
		cc->driver = find_compiler("gcc");
		if (cc->driver == NULL)
			cc->driver = find_compiler("cc");
	}
	if (cc->driver == NULL)
		return error_set(err, ERROR_NOT_FOUND,
		    "there is no compiler %s; --cc takes a name in PATH or a "
		    "path",
		    name);
	if (is_wrapper(cc->driver))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s is %s; name the compiler itself, as in --cc "
		    "/usr/bin/gcc",
		    cc->driver, wrapper_name(cc->driver));
	return 0;
}

/* gcc without g++ is a whole compiler of C: 1, 0, -1. */
static int
compiles_cplusplus(const struct cc *cc, struct error *err)
{
	char *path;
	int rc;

	if (cc->clang)
		return 1;
	path = ask(cc, "-print-prog-name", "cc1plus", err);
	if (path == NULL)
		return -1;
	rc = access(path, X_OK) == 0;
	free(path);
	return rc;
}

static int
add_headers(const struct cc *cc, struct error *err)
{
	int cplusplus = compiles_cplusplus(cc, err);

	if (cplusplus < 0 || add_include_directories(cc, "c", err) < 0)
		return -1;
	if (cplusplus == 1)
		return add_include_directories(cc, "c++", err);
	capture_notes_add(cc->host->notes,
	    "%s compiles no C++ here: the toolchain is for C alone (Debian's "
	    "package g++ adds C++)",
	    cc->driver);
	return 0;
}

static int
capture(struct cc *cc, struct capture_programs *programs, struct error *err)
{
	if (capture_programs_ask(
		programs, cc->driver, "--version", cc->driver, err) < 0)
		return -1;
	cc->clang = strstr(programs->items[programs->count - 1].version,
			"clang") != NULL;
	if (add_programs(cc, err) < 0 || add_runtime(cc, err) < 0)
		return -1;
	if (cc->options->scope != CAPTURE_CC_LINKER && add_headers(cc, err) < 0)
		return -1;
	return cc->options->scope == CAPTURE_CC_WHOLE
		   ? capture_commands(cc->host, err)
		   : 0;
}

int
capture_cc(struct capture_host *host, const struct capture_cc_options *options,
    struct capture_programs *programs, struct error *err)
{
	struct cc cc = {.host = host, .options = options};
	int rc = find_driver(&cc, err);

	if (rc == 0)
		rc = capture(&cc, programs, err);
	free(cc.driver);
	return rc;
}
