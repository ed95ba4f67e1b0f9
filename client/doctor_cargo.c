/* SPDX-License-Identifier: Apache-2.0 */
/* Asks programs what they are, then runs this one as a user would. */
#include "client/doctor_cargo.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_run.h"
#include "client/cargo_process.h"
#include "client/cargo_shim.h"
#include "client/cargo_strings.h"
#include "client/client_options.h"
#include "client/doctor_report.h"

/* The toolchain may have to be sent first. */
#define BUILD_TIMEOUT_MS 300000

struct chain {
	struct doctor_report *report;
	const struct client_options *options;
	char *program;   /* this one */
	char *directory; /* of the two builds */
	char *rustc;     /* the project's */
};

/* --- what there is -------------------------------------------------------- */

static bool
project_is_here(void)
{
	char *directory = getcwd(NULL, 0);
	bool found = false;

	while (directory != NULL && !found) {
		char *manifest = xasprintf("%s/Cargo.toml", directory);
		char *slash = strrchr(directory, '/');

		found = access(manifest, R_OK) == 0;
		free(manifest);
		if (slash == NULL || slash == directory)
			break;
		*slash = '\0';
	}
	free(directory);
	return found;
}

/* A program's first line; the caller frees it. NULL is reported. */
static char *
ask(struct doctor_report *report, const char *name, char *const *argv,
    const char *remedy)
{
	struct error err;
	char *text = capture_run_text(argv, &err);

	if (text == NULL) {
		doctor_report_add(
		    report, DOCTOR_FAILED, name, err.text, remedy);
		return NULL;
	}
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static bool
look_at_programs(struct chain *chain)
{
	char *const cargo[] = {(char[]){"cargo"}, (char[]){"--version"}, NULL};
	char *const sysroot[] = {
	    (char[]){"rustc"}, (char[]){"--print"}, (char[]){"sysroot"}, NULL};
	char *const cc[] = {(char[]){"cc"}, (char[]){"--version"}, NULL};
	const char *install = "install Rust (rustup, or the distribution's "
			      "packages cargo and rustc) and have it in PATH";
	char *version = ask(chain->report, "cargo", cargo, install);
	char *root, *linker;
	bool good;

	if (version == NULL)
		return false;
	doctor_report_add(chain->report, DOCTOR_OK, "cargo", version, NULL);
	root = ask(chain->report, "cargo: compiler", sysroot, install);
	if (root != NULL) {
		chain->rustc = xasprintf("%s/bin/rustc", root);
		doctor_report_add(chain->report, DOCTOR_OK, "cargo: compiler",
		    chain->rustc, NULL);
	}
	linker = ask(chain->report, "cargo: linker", cc,
	    "install a C compiler, which rustc links with (Debian: gcc)");
	if (linker != NULL)
		doctor_report_add(
		    chain->report, DOCTOR_OK, "cargo: linker", linker, NULL);
	good = root != NULL && linker != NULL;
	free(version);
	free(root);
	free(linker);
	return good;
}

static bool
look_at_shim(struct chain *chain)
{
	const char *slash;
	char *shim;
	bool good;

	chain->program = realpath("/proc/self/exe", NULL);
	slash = chain->program != NULL ? strrchr(chain->program, '/') : NULL;
	shim = slash != NULL
		   ? xasprintf("%.*s/" CARGO_SHIM_NAME,
			 (int)(slash - chain->program), chain->program)
		   : xstrdup(CARGO_SHIM_NAME);
	good = access(shim, X_OK) == 0;
	doctor_report_add(chain->report, good ? DOCTOR_OK : DOCTOR_FAILED,
	    "cargo: shim", shim,
	    good ? NULL : "install it beside toolroot, as `make install` does");
	free(shim);
	return good;
}

static bool
look_at_wrapper(struct chain *chain)
{
	static const char *const names[] = {
	    "RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"};

	for (size_t i = 0; i < 2; i++) {
		const char *value = getenv(names[i]);
		char *found;

		if (value == NULL || value[0] == '\0')
			continue;
		found = xasprintf("%s is set to %s", names[i], value);
		doctor_report_add(chain->report, DOCTOR_FAILED,
		    "cargo: wrapper", found,
		    "unset it: there can be one wrapper only");
		free(found);
		return false;
	}
	return true;
}

/* --- the chain ------------------------------------------------------------ */

static int
make_project(const char *directory, struct error *err)
{
	static const char manifest[] =
	    "[package]\nname = \"toolroot-doctor\"\nversion = \"0.1.0\"\n"
	    "edition = \"2018\"\n\n[workspace]\n";
	static const char program[] = "fn main() { println!(\"built\"); }\n";
	char *source = xasprintf("%s/src", directory);
	char *paths[2] = {xasprintf("%s/Cargo.toml", directory),
	    xasprintf("%s/main.rs", source)};
	int rc = file_make_directories(source, err);

	if (rc == 0)
		rc =
		    file_replace(paths[0], manifest, sizeof(manifest) - 1, err);
	if (rc == 0)
		rc = file_replace(paths[1], program, sizeof(program) - 1, err);
	free(paths[0]);
	free(paths[1]);
	free(source);
	return rc;
}

static void
add_option(struct cargo_strings *words, const char *name, const char *value)
{
	if (value != NULL && value[0] != '\0') {
		cargo_strings_add(words, name);
		cargo_strings_add(words, value);
	}
}

/* The same server, whatever said so to us. */
static void
make_command(
    const struct chain *chain, const char *stats, struct cargo_strings *words)
{
	const struct client_options *options = chain->options;

	cargo_strings_add(words, chain->program);
	cargo_strings_add(words, "cargo");
	add_option(words, "--config", options->config);
	add_option(words, "--server", options->server);
	add_option(words, "--instance", options->instance);
	add_option(words, "--digest-function", options->digest_function);
	add_option(words, "--tls-ca", options->tls_ca);
	add_option(words, "--tls-cert", options->tls_certificate);
	add_option(words, "--tls-key", options->tls_key);
	add_option(words, "--stats", stats);
	cargo_strings_add(words, "build");
	cargo_strings_add(words, "--offline");
	cargo_strings_end(words);
}

static void
make_environment(const struct chain *chain, const char *target,
    struct cargo_strings *environment)
{
	for (char **at = environ; *at != NULL; at++) {
		if (strncmp(*at, "CARGO_BUILD_TARGET", 18) != 0 &&
		    strncmp(*at, "CARGO_TARGET_DIR=", 17) != 0 &&
		    strncmp(*at, "RUSTC=", 6) != 0 &&
		    strncmp(*at, "TOOLROOT_STATS=", 15) != 0 &&
		    strncmp(*at, "RUSTFLAGS=", 10) != 0)
			cargo_strings_add(environment, *at);
	}
	cargo_strings_take(
	    environment, xasprintf("CARGO_TARGET_DIR=%s", target));
	cargo_strings_take(environment, xasprintf("RUSTC=%s", chain->rustc));
	cargo_strings_end(environment);
}

/* The record of a build in a directory of its own; NULL on error. */
static json_t *
build(const struct chain *chain, const char *name, struct error *err)
{
	struct cargo_strings words = {.count = 0}, environment = {.count = 0};
	char *directory = xasprintf("%s/%s", chain->directory, name);
	char *stats = xasprintf("%s/stats.json", directory);
	char *target = xasprintf("%s/target", directory);
	struct cargo_process process = {.wanted_by = -1,
	    .directory = directory,
	    .timeout_ms = BUILD_TIMEOUT_MS};
	json_t *record = NULL;
	int rc = make_project(directory, err);

	make_command(chain, stats, &words);
	make_environment(chain, target, &environment);
	process.environment = environment.items;
	if (rc == 0)
		rc = cargo_process_run(&process, words.items, err);
	if (rc > 0)
		error_set(err, ERROR_INTERNAL,
		    "cargo toolroot build ended with status %d", rc);
	if (rc == 0) {
		record = json_load_file(stats, 0, NULL);
		if (record == NULL)
			error_set(err, ERROR_INTERNAL,
			    "the build left no statistics");
	}
	cargo_strings_clear(&words);
	cargo_strings_clear(&environment);
	free(target);
	free(stats);
	free(directory);
	return record;
}

static json_int_t
count(const json_t *record, const char *key)
{
	return json_integer_value(json_object_get(record, key));
}

/* Whether it was compiled elsewhere. */
static bool
judge(struct chain *chain, const char *name, const json_t *record, bool hits)
{
	const json_t *row =
	    json_array_get(json_object_get(record, "crates"), 0);
	const char *cause = json_string_value(json_object_get(row, "cause"));
	const char *note = json_string_value(
	    json_array_get(json_object_get(record, "notes"), 0));
	bool good = count(record, "actions") == 1 &&
		    count(record, hits ? "hits" : "local") == (hits ? 1 : 0);
	const char *outcome =
	    json_string_value(json_object_get(row, "outcome"));
	char *found = xasprintf("%s%s", hits ? "the same elsewhere: " : "",
	    outcome != NULL ? outcome : "nothing was compiled");

	if (good)
		doctor_report_add(chain->report, DOCTOR_OK, name, found, NULL);
	else
		doctor_report_add(chain->report, DOCTOR_FAILED, name, found,
		    cause != NULL && cause[0] != '\0' ? cause
		    : note != NULL                    ? note
				   : "`toolroot explain` says what differed");
	free(found);
	return good;
}

static bool
build_and_judge(struct chain *chain, const char *name, bool again)
{
	struct error err;
	json_t *record = build(chain, again ? "second" : "first", &err);
	bool good = false;

	if (record != NULL)
		good = judge(chain, name, record, again);
	else
		doctor_report_add(chain->report, DOCTOR_FAILED, name, err.text,
		    "run cargo toolroot build in a project of your own and "
		    "read what it says");
	json_decref(record);
	return good;
}

static void
try_chain(struct chain *chain)
{
	const char *base = getenv("TMPDIR");
	struct error err;

	chain->directory = xasprintf("%s/toolroot-doctor-XXXXXX",
	    base != NULL && base[0] == '/' ? base : "/tmp");
	if (mkdtemp(chain->directory) == NULL) {
		doctor_report_add(chain->report, DOCTOR_FAILED, "cargo: build",
		    chain->directory, "make TMPDIR writable");
		return;
	}
	if (build_and_judge(chain, "cargo: build", false))
		build_and_judge(chain, "cargo: cache", true);
	if (file_remove_tree(chain->directory, &err) < 0)
		doctor_report_add(chain->report, DOCTOR_WARNING, "cargo: build",
		    err.text, "remove that directory");
}

void
doctor_cargo(struct doctor_report *report, const struct client_options *options,
    bool executes)
{
	struct chain chain = {.report = report, .options = options};
	bool good;

	if (!project_is_here()) {
		doctor_report_add(report, DOCTOR_SKIPPED, "cargo",
		    "there is no Cargo.toml here or above", NULL);
		return;
	}
	good = look_at_programs(&chain);
	good = look_at_shim(&chain) && good;
	good = look_at_wrapper(&chain) && good;
	if (good && executes)
		try_chain(&chain);
	else
		doctor_report_add(report, DOCTOR_SKIPPED, "cargo: build",
		    "something before it failed", NULL);
	free(chain.program);
	free(chain.directory);
	free(chain.rustc);
}
