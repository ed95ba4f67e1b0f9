/* SPDX-License-Identifier: Apache-2.0 */
/* Settings, session, broker, cargo, summary: in this order, and back. */
#include "client/cargo_front.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/settings.h"
#include "client/cargo_broker.h"
#include "client/cargo_cache.h"
#include "client/cargo_config.h"
#include "client/cargo_explain.h"
#include "client/cargo_message.h"
#include "client/cargo_process.h"
#include "client/cargo_rustc.h"
#include "client/cargo_session.h"
#include "client/cargo_shim.h"
#include "client/cargo_stand_in.h"
#include "client/cargo_strings.h"
#include "client/cargo_summary.h"
#include "client/cargo_terminal.h"
#include "client/cargo_tuning.h"
#include "client/cargo_unit.h"
#include "client/cargo_version.h"
#include "client/client_options.h"
#include "rpc/runtime.h"

#define EXIT_USAGE 2
#define ARENAS_MAX 2
#define PARENT_MAX (16u << 20)

struct cargo_options {
	struct client_options client;
	struct setting_list libraries;
	struct setting_list local;
	char *verify;
	char *stats;
	char *explain;
};

#define FIELD(name) offsetof(struct cargo_options, name)

static const struct setting table[] = {
    {"library", SETTING_LIST, FIELD(libraries), "NAME", NULL,
	"A library of this machine to link with, as after -l; may be\n"
	"repeated."},
    {"local", SETTING_LIST, FIELD(local), "CRATE", NULL,
	"A crate to compile here, at its true path, as cargo would; for\n"
	"macros that leave paths in programs. May be repeated."},
    {"verify", SETTING_TEXT, FIELD(verify), "WHEN", "boot",
	"When files that look unchanged are read all the same: always, boot\n"
	"(once after each start of the machine) or stat (never). With CI\n"
	"in the environment: always."},
    {"stats", SETTING_TEXT, FIELD(stats), "FILE", NULL,
	"Write what became of each call of the compiler there, as JSON."},
    {"explain", SETTING_TEXT, FIELD(explain), "CRATE", NULL,
	"Build nothing: tell why this crate was not taken from the cache in\n"
	"the last build, or stayed here."},
    CLIENT_OPTIONS_TABLE(struct cargo_options),
};

static const struct settings cargo_settings = {
    .command = "cargo",
    .section = "client",
    .synopsis = "[options] [+TOOLCHAIN] CARGO-COMMAND [its options]",
    .about = "Runs cargo; its compiler calls become actions of the server, "
	     "with the\ntoolchain as an input. What cannot be one runs here.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue = "Examples:\n"
		"  cargo toolroot build --release\n"
		"  toolroot cargo --server grpc://cache:8980 test\n"
		"  toolroot cargo --explain serde\n",
};

struct front {
	struct cargo_options options;
	char **words; /* cargo's, borrowed from argv */
	enum stat_ledger_verify verify;
	struct cargo_cache cache;
	char *shim;
	struct cargo_strings cargo;       /* the command line */
	struct cargo_strings metadata;    /* likewise */
	struct cargo_strings environment; /* cargo's */
	unsigned local_jobs;              /* of this machine; 0: no limit */
	char *const *before;              /* the build's environment */
	struct cargo_session *session;
	struct cargo_broker *broker;
	struct cargo_version *version; /* being asked */
	char *stand_in;                /* of the compiler; NULL: none */
};

/* --- our options and cargo's ---------------------------------------------- */

/* How many words of argv, from 1 on, are ours. */
static size_t
count_ours(char **argv)
{
	size_t count = 0;

	while (
	    argv[1 + count] != NULL && strncmp(argv[1 + count], "--", 2) == 0) {
		const char *word = argv[1 + count];
		bool flag =
		    strchr(word, '=') != NULL || strcmp(word, "--help") == 0 ||
		    strcmp(word, "--compress") == 0 || argv[2 + count] == NULL;

		count += flag ? 1 : 2;
	}
	return count;
}

/* 0, 1 when --help was asked for, -1. */
static int
read_settings(struct front *front, char **argv, struct error *err)
{
	struct setting_arguments arguments = {NULL, 0};
	size_t count = count_ours(argv);
	char **ours = xcalloc(count + 2, sizeof(*ours));
	int rc;

	memcpy(ours, argv, (count + 1) * sizeof(*ours));
	front->words = argv + 1 + count;
	rc = settings_read(
	    &cargo_settings, ours, &front->options, &arguments, err);
	free(arguments.items);
	free(ours);
	if (rc == 0 && front->words[0] == NULL &&
	    front->options.explain == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "which command of cargo's? As in: cargo toolroot build");
	return rc;
}

static int
choose_verify(struct front *front, struct error *err)
{
	static const char *const names[] = {"always", "boot", "stat"};
	const char *ci = getenv("CI");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(front->options.verify, names[i]) != 0)
			continue;
		front->verify = (enum stat_ledger_verify)i;
		if (ci != NULL && ci[0] != '\0' && strcmp(ci, "false") != 0)
			front->verify = STAT_LEDGER_ALWAYS;
		return 0;
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "--verify %s: always, boot or stat", front->options.verify);
}

/* --- places --------------------------------------------------------------- */

/* It stands beside this program: a path that stays the same, since build
 * scripts may look at RUSTC_WRAPPER. */
static int
find_shim(struct front *front, struct error *err)
{
	char *program = realpath("/proc/self/exe", NULL);
	char *slash = program != NULL ? strrchr(program, '/') : NULL;

	if (slash != NULL) {
		*slash = '\0';
		front->shim = xasprintf("%s/" CARGO_SHIM_NAME, program);
	}
	free(program);
	if (front->shim == NULL || access(front->shim, X_OK) == -1)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s is not there: install it beside toolroot",
		    front->shim != NULL ? front->shim : CARGO_SHIM_NAME);
	return 0;
}

/* --- cargo ---------------------------------------------------------------- */

/* By its name, which stands at the end of the text. */
static bool
is_shim(const char *text)
{
	size_t length = strlen(text), name = strlen(CARGO_SHIM_NAME);
	const char *start = text + length - name;

	return length >= name && strcmp(start, CARGO_SHIM_NAME) == 0 &&
	       (start == text || start[-1] == '/' || start[-1] == ' ');
}

/* Ours goes in the same place. An empty variable says that there is to be no
 * other, whatever the files say. */
static int
refuse_wrapper(struct error *err)
{
	static const char *const names[] = {
	    "RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"};
	char *directory, *told;
	bool emptied = false;
	int rc = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = getenv(names[i]);

		if (value != NULL && value[0] != '\0' && !is_shim(value))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "%s is set to %s: one wrapper at a time; unset it "
			    "or use plain cargo",
			    names[i], value);
		emptied = emptied || value != NULL;
	}
	directory = emptied ? NULL : getcwd(NULL, 0);
	told = directory != NULL
		   ? cargo_config_find(CARGO_CONFIG_WRAPPER, directory, environ)
		   : NULL;
	if (told != NULL && !is_shim(told))
		rc = error_set(err, ERROR_INVALID_ARGUMENT,
		    "there is another wrapper of the compiler, build."
		    "rustc-wrapper in %s: one at a time; RUSTC_WRAPPER= in the "
		    "environment (empty) turns it off for this build",
		    told);
	free(directory);
	free(told);
	return rc;
}

/* Options that say where the workspace and the target directory are. */
static void
copy_places(struct front *front)
{
	static const char *const names[] = {"--manifest-path", "--config"};

	for (char **word = front->words; *word != NULL; word++) {
		if (strcmp(*word, "--") == 0)
			return;
		for (size_t i = 0; i < 2; i++) {
			size_t length = strlen(names[i]);

			if (strncmp(*word, names[i], length) != 0)
				continue;
			if ((*word)[length] == '=') {
				cargo_strings_add(&front->metadata, *word);
			} else if ((*word)[length] == '\0' && word[1] != NULL) {
				cargo_strings_add(&front->metadata, *word++);
				cargo_strings_add(&front->metadata, *word);
				break;
			}
		}
	}
}

/* --target-dir has no place in `cargo metadata`, but a key of the
 * configuration has. */
static void
copy_target_directory(struct front *front)
{
	for (char **word = front->words; *word != NULL; word++) {
		const char *value = NULL;

		if (strcmp(*word, "--") == 0)
			return;
		if (strncmp(*word, "--target-dir=", 13) == 0)
			value = *word + 13;
		else if (strcmp(*word, "--target-dir") == 0)
			value = word[1];
		if (value == NULL)
			continue;
		cargo_strings_add(&front->metadata, "--config");
		cargo_strings_take(&front->metadata,
		    xasprintf("build.target-dir='%s'", value));
	}
}

static void
make_commands(struct front *front)
{
	const char *given = getenv("CARGO");
	bool toolchain = front->words[0] != NULL && front->words[0][0] == '+';
	const char *cargo = given != NULL && !toolchain ? given : "cargo";

	cargo_strings_add(&front->cargo, cargo);
	cargo_strings_add(&front->metadata, cargo);
	if (toolchain)
		cargo_strings_add(&front->metadata, front->words[0]);
	for (char **word = front->words; *word != NULL; word++)
		cargo_strings_add(&front->cargo, *word);
	cargo_strings_add(&front->metadata, "metadata");
	cargo_strings_add(&front->metadata, "--no-deps");
	cargo_strings_add(&front->metadata, "--format-version=1");
	copy_places(front);
	copy_target_directory(front);
}

/* Of a build that this one runs within, for instance. */
static bool
is_ours(const char *item)
{
	static const char *const names[] = {"RUSTC_WRAPPER", CARGO_SHIM_BROKER,
	    CARGO_STAND_IN_RUSTC, "CARGO_CACHE_RUSTC_INFO"};
	size_t length = strcspn(item, "=");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i]) == length &&
		    strncmp(item, names[i], length) == 0)
			return true;
	}
	return false;
}

/* Only for a cargo that would go past our wrapper. Build scripts may write its
 * path down, and so it has to last. */
static void
make_stand_in(struct front *front)
{
	bool old = cargo_version_end(front->version);

	front->version = NULL;
	if (old && !front->cache.temporary)
		front->stand_in = cargo_rustc_stand_in(
		    front->cache.path, front->shim, front->words, environ);
}

static void
make_environment(struct front *front)
{
	for (char **at = environ; *at != NULL; at++) {
		if (!is_ours(*at) &&
		    (front->stand_in == NULL || strncmp(*at, "RUSTC=", 6) != 0))
			cargo_strings_add(&front->environment, *at);
	}
	if (front->stand_in != NULL)
		cargo_rustc_add(front->stand_in, environ, &front->environment);
	cargo_strings_take(
	    &front->environment, xasprintf("RUSTC_WRAPPER=%s", front->shim));
	cargo_strings_take(
	    &front->environment, xasprintf(CARGO_SHIM_BROKER "=%s",
				     cargo_broker_address(front->broker)));
	/* Cargo would not ask a compiler that looks the same. */
	cargo_strings_add(&front->environment, "CARGO_CACHE_RUSTC_INFO=0");
}

/* --- the build ------------------------------------------------------------ */

static int
open_session(struct front *front, struct error *err)
{
	const struct cargo_session_options options = {
	    .client = &front->options.client,
	    .libraries = &front->options.libraries,
	    .local = &front->options.local,
	    .cache = front->cache.path,
	    .verify = front->verify,
	    .metadata = front->metadata.items,
	    .environment = front->before,
	    .local_jobs = front->local_jobs,
	};

	front->session = cargo_session_open(&options, err);
	return front->session != NULL ? 0 : -1;
}

static int
start_broker(struct front *front, struct error *err)
{
	front->broker = cargo_broker_start(front->session, err);
	return front->broker != NULL ? 0 : -1;
}

/* For --explain; a build with nothing to do leaves the last one's. */
static int
record(struct front *front, struct cargo_summary *summary, struct error *err)
{
	struct cargo_summary_counts counts = cargo_summary_count(summary);
	const struct cargo_layout *layout;
	char *path;
	int rc;

	if (counts.hits + counts.remote + counts.local == 0)
		return 0;
	layout = cargo_session_layout(front->session, err);
	if (layout == NULL)
		return 0; /* the crates' causes say so */
	path = cargo_explain_record(layout->target);
	rc = cargo_summary_write(summary, path, err);
	free(path);
	return rc;
}

static void
report(struct front *front)
{
	struct cargo_summary *summary = cargo_session_summary(front->session);
	struct error err;

	cargo_summary_print(summary);
	if (front->options.stats != NULL &&
	    cargo_summary_write(summary, front->options.stats, &err) < 0)
		fprintf(stderr, "toolroot: %s\n", err.text);
	if (record(front, summary, &err) < 0)
		fprintf(stderr, "toolroot: %s\n", err.text);
}

/* Signal handlers have no other way to know it. */
static volatile pid_t cargo_process;

static void
pass_on(int number)
{
	pid_t process = cargo_process;

	if (process > 0)
		kill(process, number);
}

/* Others tell us alone, the terminal tells cargo, too: twice does no harm. We
 * end when cargo has. */
static void
handle_signals(pid_t process)
{
	static const int numbers[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
	const struct sigaction pass = {.sa_handler = pass_on};

	cargo_process = process;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &pass, NULL);
}

/* Its exit status, or -1. */
static int
run_cargo(struct front *front, struct error *err)
{
	struct cargo_terminal *terminal =
	    front->session != NULL ? cargo_terminal_open(front->words,
					 cargo_session_summary(front->session))
				   : NULL;
	pid_t process;
	int status = -1;

	cargo_terminal_environment(terminal, &front->environment);
	process =
	    cargo_process_start(front->cargo.items, front->environment.items,
		terminal != NULL ? cargo_terminal_fd(terminal) : -1, err);
	cargo_terminal_started(terminal);
	if (process != -1) {
		handle_signals(process);
		status = cargo_process_wait(process, err);
		cargo_process = 0; /* it may be another's soon */
	}
	cargo_terminal_close(terminal);
	return status;
}

/* Cargo as if we were not there; what has gone wrong is in err. */
static int
build_plainly(struct front *front, struct error *err)
{
	fprintf(
	    stderr, "toolroot: %s; cargo runs without Toolroot\n", err->text);
	cargo_session_close(front->session);
	front->session = NULL;
	cargo_strings_clear(&front->environment);
	for (char **at = environ; *at != NULL; at++)
		cargo_strings_add(&front->environment, *at);
	return run_cargo(front, err);
}

/* The exit status, or -1. */
static int
build(struct front *front, struct error *err)
{
	int status;
	bool idle;

	make_commands(front);
	front->before = environ;
	if (cargo_cache_open(&front->cache, err) < 0)
		return build_plainly(front, err);
	front->version =
	    cargo_version_ask(front->cache.path, front->cargo.items[0],
		front->words[0][0] == '+' ? front->words[0] : NULL, environ);
	front->local_jobs =
	    cargo_tuning_add(front->words, environ, &front->environment);
	if (open_session(front, err) < 0)
		return -1;
	if (start_broker(front, err) < 0)
		return build_plainly(front, err);
	make_stand_in(front);
	make_environment(front);
	status = run_cargo(front, err);
	idle = cargo_broker_stop(front->broker);
	if (status >= 0)
		report(front);
	/* Cargo was stopped: so is what was under way for it. */
	if (!idle) {
		cargo_cache_discard(&front->cache);
		_exit(status >= 0 ? status : EXIT_FAILURE);
	}
	cargo_session_close(front->session);
	return status;
}

static int
explain(struct front *front, struct error *err)
{
	const struct cargo_layout *layout;
	int rc = -1;

	make_commands(front);
	front->before = environ;
	if (cargo_cache_open(&front->cache, err) < 0 ||
	    open_session(front, err) < 0)
		return -1;
	layout = cargo_session_layout(front->session, err);
	if (layout != NULL)
		rc = cargo_explain(&front->options.client, layout->target,
		    front->options.explain, err);
	cargo_session_close(front->session);
	return rc;
}

static void
front_clear(struct front *front)
{
	(void)cargo_version_end(front->version);
	cargo_cache_close(&front->cache);
	free(front->stand_in);
	free(front->shim);
	cargo_strings_clear(&front->cargo);
	cargo_strings_clear(&front->metadata);
	cargo_strings_clear(&front->environment);
	settings_clear(&cargo_settings, &front->options);
}

int
cargo_front_main(char **argv)
{
	struct front front = {.words = NULL};
	struct error err;
	int status = EXIT_USAGE;
	int rc = read_settings(&front, argv, &err);

	if (rc > 0) {
		settings_help(&cargo_settings);
		status = EXIT_SUCCESS;
		goto out;
	}
	if (rc == 0)
		rc = choose_verify(&front, &err);
	if (rc == 0)
		rc = refuse_wrapper(&err);
	if (rc == 0) {
		status = EXIT_FAILURE;
		rc = find_shim(&front, &err);
	}
	if (rc == 0) {
		/* Each call has a thread, and each thread would have a heap of
		 * its own, whose pages are new to it. */
		mallopt(M_ARENA_MAX, ARENAS_MAX);
		rpc_init();
		rc = front.options.explain != NULL ? explain(&front, &err)
						   : build(&front, &err);
		rpc_shutdown();
		status = rc >= 0 ? rc : EXIT_FAILURE;
	}
	if (rc < 0)
		fprintf(stderr, "toolroot cargo: %s\n", err.text);
out:
	front_clear(&front);
	return status;
}

/* --- without a front ------------------------------------------------------ */

/* A file of our parent's with strings that end in NUL. */
static void
read_parent(const char *name, struct cargo_strings *out)
{
	char *path = xasprintf("/proc/%d/%s", (int)getppid(), name);
	struct error ignored; /* it is gone: an empty list */
	struct buffer text;
	struct str rest;

	buffer_init(&text, PARENT_MAX);
	if (file_read_all(path, &text, &ignored) == 0) {
		rest = buffer_str(&text);
		while (rest.len > 0) {
			struct str item = str_cut(&rest, '\0');

			cargo_strings_take(out, xstrndup(item.data, item.len));
		}
	}
	cargo_strings_end(out);
	buffer_clear(&text);
	free(path);
}

/* Its directory becomes ours. */
static bool
follow_cargo(void)
{
	char *directory = xasprintf("/proc/%d/cwd", (int)getppid());
	bool followed =
	    cargo_shim_is_called_by_cargo() && chdir(directory) == 0;

	free(directory);
	return followed;
}

static int
answer_alone(struct front *front, const struct cargo_message_call *call,
    struct cargo_message_answer *answer, struct error *err)
{
	struct cargo_strings words = {.count = 0};
	struct cargo_strings before = {.count = 0};
	int rc = -1;

	read_parent("cmdline", &words);
	read_parent("environ", &before);
	front->words = words.items + (words.count > 0 ? 1 : 0);
	if (front->words[0] == NULL) {
		error_set(err, ERROR_UNAVAILABLE, "cargo is gone");
		goto out;
	}
	make_commands(front);
	front->before = before.items;
	if (open_session(front, err) == 0) {
		(void)cargo_unit_answer(front->session, call, answer);
		cargo_session_close(front->session);
		rc = 0;
	}
out:
	cargo_strings_clear(&words);
	cargo_strings_clear(&before);
	return rc;
}

int
cargo_front_alone(char **argv)
{
	char *const none[] = {(char[]){"cargo"}, NULL};
	struct setting_arguments arguments = {NULL, 0};
	struct front front = {.words = NULL};
	struct cargo_message_answer answer;
	struct cargo_message_call call;
	struct error err;
	int status;

	cargo_message_answer_init(&answer);
	if (cargo_shim_call(&call, argv) == 0 && follow_cargo()) {
		int rc = settings_read(&cargo_settings, (char **)none,
		    &front.options, &arguments, &err);

		if (rc == 0)
			rc = choose_verify(&front, &err);
		if (rc == 0)
			rc = cargo_cache_open(&front.cache, &err);
		if (rc == 0) {
			rpc_init();
			rc = answer_alone(&front, &call, &answer, &err);
			rpc_shutdown();
		}
		if (rc != 0)
			fprintf(stderr, "toolroot: %s\n", err.text);
		free(arguments.items);
		front_clear(&front);
	}
	/* The directory was cargo's meanwhile. */
	status = call.directory != NULL && chdir(call.directory) == 0
		     ? cargo_shim_finish(&answer, argv)
		     : EXIT_FAILURE;
	cargo_message_answer_clear(&answer);
	cargo_message_call_clear(&call);
	return status;
}
