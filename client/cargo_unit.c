/* SPDX-License-Identifier: Apache-2.0 */
/* The steps in order; each attempt begins with fresh inputs. */
#include "client/cargo_unit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/merkle_builder.h"
#include "client/capture_rust.h"
#include "client/cargo_action.h"
#include "client/cargo_arguments.h"
#include "client/cargo_dep_info.h"
#include "client/cargo_environment.h"
#include "client/cargo_execute.h"
#include "client/cargo_inputs.h"
#include "client/cargo_message.h"
#include "client/cargo_outputs.h"
#include "client/cargo_paths.h"
#include "client/cargo_session.h"
#include "client/cargo_summary.h"
#include "client/cargo_toolchain.h"
#include "client/cas_client.h"
#include "client/request_metadata.h"

#define RESULT_MEMORY (64u << 20)
#define EXECUTION_TIMEOUT_MS (15 * 60 * 1000)
/* As it is, with the variables that it reads, at its true place. */
#define ATTEMPTS 4
#define DEBIAN_REGISTRY "/usr/share/cargo/registry"

struct unit {
	struct cargo_session *session;
	const struct cargo_message_call *call;
	struct cargo_message_answer *answer;
	struct cargo_arguments arguments;
	const struct cargo_layout *layout;
	const struct cargo_toolchain *toolchain;
	const struct cargo_server *server;
	struct cargo_strings learned; /* variables that the crate reads */
	bool exact;                   /* the workspace is where it is */
	struct cargo_summary_row row;
};

/* One attempt's. */
struct attempt {
	struct unit *unit;
	struct cargo_paths paths;
	struct cargo_environment environment;
	struct cargo_inputs inputs;
	struct cargo_strings outputs; /* names */
	struct cargo_action action;
	struct arena arena;
	char digest_text[DIGEST_TEXT_MAX];
	struct request_metadata metadata;
	struct cas_transfer transfer;
	struct cargo_outputs results;
};

static const char *
variable(const struct unit *unit, const char *name)
{
	return cargo_strings_value(unit->call->environment.items, name);
}

/* --- where things are in the action --------------------------------------- */

static bool
is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strncmp(path, directory, length) == 0 &&
	       (path[length] == '/' || path[length] == '\0');
}

/* Sources that were fetched: the same everywhere, never changed. */
static bool
is_fetched(const struct unit *unit, const char *package)
{
	char *registry = xasprintf("%s/registry", unit->layout->home);
	char *git = xasprintf("%s/git", unit->layout->home);
	bool fetched = is_below(package, registry) || is_below(package, git) ||
		       is_below(package, DEBIAN_REGISTRY);

	free(registry);
	free(git);
	return fetched;
}

static void
set_paths(struct attempt *attempt, const char *package)
{
	const struct unit *unit = attempt->unit;
	const struct cargo_layout *layout = unit->layout;
	struct cargo_paths *paths = &attempt->paths;
	char *registry = xasprintf("%s/registry/src", layout->home);
	char *git = xasprintf("%s/git/checkouts", layout->home);
	char *fixed;

	cargo_paths_add(
	    paths, layout->workspace, unit->exact ? layout->workspace : "/b/w");
	cargo_paths_add(
	    paths, layout->target, unit->exact ? layout->target : "/b/t");
	cargo_paths_add(paths, registry, "/b/r");
	cargo_paths_add(paths, git, "/b/g");
	cargo_paths_add(paths, DEBIAN_REGISTRY, "/b/d");
	if (unit->toolchain->sysroot != NULL)
		cargo_paths_add(
		    paths, unit->toolchain->sysroot, "/" CAPTURE_RUST_SYSROOT);
	if (!cargo_paths_cover(paths, package)) {
		fixed = xasprintf("/b/p/%s", unit->arguments.crate_name);
		cargo_paths_add(paths, package, unit->exact ? package : fixed);
		free(fixed);
	}
	free(registry);
	free(git);
}

/* --- the action ----------------------------------------------------------- */

/* Only what is below the target directory: the rest is the toolchain's or
 * nothing that we know. */
static int
add_native(struct attempt *attempt, struct error *err)
{
	const struct cargo_strings *native = &attempt->unit->arguments.native;
	int rc = 0;

	for (size_t i = 0; i < native->count && rc == 0; i++) {
		struct stat status;

		if (stat(native->items[i], &status) == -1)
			continue;
		rc = cargo_inputs_add_tree(
		    &attempt->inputs, native->items[i], err);
	}
	return rc;
}

static int
gather(struct attempt *attempt, const char *package, struct error *err)
{
	const struct unit *unit = attempt->unit;
	struct cargo_inputs *inputs = &attempt->inputs;
	const char *generated = variable(unit, "OUT_DIR");

	if (unit->exact &&
	    cargo_inputs_add_toolchain(inputs, unit->toolchain, err) < 0)
		return -1;
	if (cargo_inputs_add_tree(inputs, package, err) < 0 ||
	    cargo_inputs_add_directory(inputs, unit->call->directory, err) <
		0 ||
	    cargo_inputs_add_directory(inputs, unit->arguments.out_dir, err) <
		0)
		return -1;
	if (generated != NULL &&
	    cargo_inputs_add_tree(inputs, generated, err) < 0)
		return -1;
	if (cargo_inputs_add_crates(inputs, &unit->arguments.externs, err) <
		0 ||
	    add_native(attempt, err) < 0)
		return -1;
	return cargo_inputs_finish(inputs, err);
}

static void
make_action(struct attempt *attempt)
{
	const struct unit *unit = attempt->unit;
	struct cargo_strings arguments = {.count = 0};
	struct cargo_strings environment = {.count = 0};
	char *directory = cargo_paths_map_text(
	    &attempt->paths, CARGO_PATHS_TO_FIXED, unit->call->directory);
	char *out_dir = cargo_paths_map_text(
	    &attempt->paths, CARGO_PATHS_TO_FIXED, unit->arguments.out_dir);
	const struct cargo_action_parts parts = {
	    .arguments = &arguments,
	    .environment = &environment,
	    .directory = directory,
	    .out_dir = out_dir,
	    .outputs = &attempt->outputs,
	    .root = *merkle_builder_root(attempt->inputs.builder),
	    .input_root = attempt->inputs.root,
	    .toolchain = unit->exact ? NULL : &unit->toolchain->root,
	};

	cargo_strings_add(&arguments, unit->toolchain->program);
	cargo_arguments_map(
	    unit->call->arguments.items + 1, &attempt->paths, &arguments);
	cargo_environment_choose(&attempt->environment, &environment);
	cargo_action_make(&attempt->action, &parts);
	cargo_strings_clear(&arguments);
	cargo_strings_clear(&environment);
	free(directory);
	free(out_dir);
}

/* --- the result ----------------------------------------------------------- */

static int
send_inputs(struct attempt *attempt, struct error *err)
{
	struct unit *unit = attempt->unit;
	struct cas_upload_stats stats = {.sent_bytes = 0};
	struct cas_upload *uploads;
	size_t count;
	int rc;

	if (cargo_session_upload(
		unit->session, unit->toolchain, &unit->row.up, err) < 0)
		return -1;
	uploads = cargo_inputs_uploads(&attempt->inputs, &count);
	uploads[count++] = (struct cas_upload){
	    .digest = attempt->action.command_digest,
	    .from = CAS_UPLOAD_CONTENT,
	    .content = attempt->action.command,
	};
	uploads[count++] = (struct cas_upload){
	    .digest = attempt->action.digest,
	    .from = CAS_UPLOAD_CONTENT,
	    .content = attempt->action.action,
	};
	rc = cas_client_upload(
	    unit->server->cas, &attempt->transfer, uploads, count, &stats, err);
	unit->row.up += stats.sent_bytes;
	free(uploads);
	return rc;
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

static int64_t
executed_ms(const Reapi__ActionResult *result)
{
	const Reapi__ExecutedActionMetadata *metadata =
	    result->execution_metadata;
	const Google__Protobuf__Timestamp *start, *end;

	if (metadata == NULL || metadata->execution_start_timestamp == NULL ||
	    metadata->execution_completed_timestamp == NULL)
		return 0;
	start = metadata->execution_start_timestamp;
	end = metadata->execution_completed_timestamp;
	return (end->seconds - start->seconds) * 1000 +
	       (end->nanos - start->nanos) / 1000000;
}

static int
find_or_run(
    struct attempt *attempt, Reapi__ActionResult **result, struct error *err)
{
	struct unit *unit = attempt->unit;
	const struct cargo_execute execute = {
	    .channel = unit->server->channel,
	    .instance = unit->server->instance,
	    .metadata = &attempt->metadata,
	    .arena = &attempt->arena,
	    .action = attempt->action.digest,
	    .timeout_ms = EXECUTION_TIMEOUT_MS,
	};
	int rc = cargo_execute_find(&execute, result, err);

	unit->row.outcome = CARGO_OUTCOME_HIT;
	if (rc == 0 && is_warm(&unit->arguments))
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "incremental: there is state for it here");
	if (rc == 0) {
		unit->row.outcome = CARGO_OUTCOME_REMOTE;
		rc = send_inputs(attempt, err);
		if (rc == 0)
			rc = cargo_execute_run(&execute, result, err);
	}
	if (rc < 0)
		return -1;
	unit->row.executed_ms = executed_ms(*result);
	/* The messages are those of the compiler here: what it did not find
	 * there may be here. */
	if ((*result)->exit_code != 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the compiler failed on the worker with status %d",
		    (*result)->exit_code);
	return 0;
}

/* 1 believed, 0 when another attempt may be, -1. */
static int
check(struct attempt *attempt, const char *package, struct error *err)
{
	struct unit *unit = attempt->unit;
	struct cargo_dep_info info;
	const char *seen;
	int rc = 1;

	cargo_dep_info_parse(&info, buffer_str(&attempt->results.dep_info));
	seen = cargo_environment_mismatch(&attempt->environment, &info);
	if (seen != NULL) {
		char *name = xstrndup(seen, strcspn(seen, "="));

		rc = 0;
		if (cargo_strings_have(&unit->learned, name))
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "it reads the variable %s", name);
		else
			cargo_strings_add(&unit->learned, name);
		free(name);
	} else if (!unit->exact && !is_fetched(unit, package) &&
		   cargo_environment_place(&info) != NULL) {
		unit->exact = true;
		rc = 0;
	}
	cargo_dep_info_clear(&info);
	return rc;
}

/* --- attempts ------------------------------------------------------------- */

static void
attempt_init(struct attempt *attempt, struct unit *unit, const char *package)
{
	*attempt = (struct attempt){.unit = unit};
	set_paths(attempt, package);
	attempt->environment = (struct cargo_environment){
	    .call = unit->call->environment.items,
	    .build = cargo_session_environment(unit->session),
	    .learned = &unit->learned,
	    .paths = &attempt->paths,
	};
	attempt->inputs.paths = &attempt->paths;
	attempt->inputs.ledger = cargo_session_ledger(unit->session);
	attempt->inputs.target = unit->layout->target;
	/* True places are anywhere: then the input root is all there is. */
	attempt->inputs.root = unit->exact ? "" : "/b";
	cargo_inputs_init(
	    &attempt->inputs, cargo_session_function(unit->session));
	cargo_arguments_outputs(&unit->arguments, &attempt->outputs);
	arena_init(&attempt->arena, RESULT_MEMORY);
	attempt->metadata = (struct request_metadata){
	    .tool_name = "toolroot-cargo",
	    .tool_version = TOOLROOT_VERSION,
	    .action_id = attempt->digest_text,
	    .tool_invocation_id = cargo_session_invocation(unit->session),
	    .action_mnemonic = "Rustc",
	    .target_id = unit->arguments.crate_name,
	};
	attempt->transfer.metadata = &attempt->metadata;
	attempt->results = (struct cargo_outputs){
	    .client = unit->server->cas,
	    .transfer = &attempt->transfer,
	    .paths = &attempt->paths,
	    .directory = unit->arguments.out_dir,
	    .expected = &attempt->outputs,
	};
	cargo_outputs_init(&attempt->results);
}

static void
attempt_clear(struct attempt *attempt)
{
	cargo_outputs_clear(&attempt->results);
	cargo_action_clear(&attempt->action);
	arena_clear(&attempt->arena);
	cargo_strings_clear(&attempt->outputs);
	cargo_inputs_clear(&attempt->inputs);
	cargo_paths_clear(&attempt->paths);
}

/* 1 done, 0 to be tried again, -1. */
static int
try(struct unit *unit, const char *package, struct error *err)
{
	struct attempt attempt;
	Reapi__ActionResult *result;
	int rc = -1;

	attempt_init(&attempt, unit, package);
	if (gather(&attempt, package, err) < 0)
		goto out;
	make_action(&attempt);
	digest_format_hash(&attempt.action.digest, attempt.digest_text);
	if (find_or_run(&attempt, &result, err) < 0 ||
	    cargo_outputs_fetch(&attempt.results, result, err) < 0)
		goto failed;
	unit->row.down += attempt.results.bytes;
	rc = check(&attempt, package, err);
	if (rc > 0 && cargo_outputs_put(&attempt.results, err) < 0)
		rc = -1;
	if (rc > 0) {
		unit->answer->kind = CARGO_MESSAGE_DONE;
		unit->answer->errors = attempt.results.errors;
		buffer_init(&attempt.results.errors, 0);
	}
	goto out;
failed:
	cargo_session_failed(unit->session, err);
out:
	attempt_clear(&attempt);
	return rc;
}

/* Which crates it uses, for those that will use it. */
static int
note_crates(struct unit *unit, struct error *err)
{
	const struct cargo_inputs inputs = {.target = unit->layout->target};
	char *name = xasprintf("lib%s%s.", unit->arguments.crate_name,
	    unit->arguments.extra_filename);
	int rc =
	    cargo_inputs_note(&inputs, name, &unit->arguments.externs, err);

	free(name);
	return rc;
}

static int
compile(struct unit *unit, struct error *err)
{
	const char *package = variable(unit, "CARGO_MANIFEST_DIR");
	int rc = 0;

	unit->layout = cargo_session_layout(unit->session, err);
	if (unit->layout == NULL || note_crates(unit, err) < 0)
		return -1;
	if (unit->arguments.call == CARGO_CALL_LOCAL)
		return error_set(err, ERROR_FAILED_PRECONDITION, "%s",
		    unit->arguments.reason);
	if (package == NULL || package[0] != '/')
		return error_set(
		    err, ERROR_FAILED_PRECONDITION, "no package of cargo's");
	unit->server = cargo_session_server(unit->session, err);
	if (unit->server == NULL)
		return -1;
	unit->toolchain = cargo_session_toolchain(
	    unit->session, unit->call->arguments.items[0], err);
	if (unit->toolchain == NULL)
		return -1;
	for (int i = 0; i < ATTEMPTS && rc == 0; i++)
		rc = try(unit, package, err);
	if (rc == 0)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "what it reads changes with each attempt");
	return rc > 0 ? 0 : -1;
}

/* --- the whole ------------------------------------------------------------ */

static void
answer_version(struct unit *unit)
{
	struct error ignored; /* noted in the summary */
	const struct cargo_toolchain *toolchain = cargo_session_toolchain(
	    unit->session, unit->call->arguments.items[0], &ignored);

	if (toolchain != NULL &&
	    buffer_append(&unit->answer->output, toolchain->version,
		strlen(toolchain->version)) == 0)
		unit->answer->kind = CARGO_MESSAGE_DONE;
}

static void
answer_compile(struct unit *unit)
{
	int64_t start = clock_monotonic_ms();
	struct error err;

	unit->row.crate = unit->arguments.crate_name;
	unit->row.type = unit->arguments.crate_type;
	if (compile(unit, &err) < 0) {
		unit->answer->kind = CARGO_MESSAGE_LOCAL;
		unit->row.outcome = CARGO_OUTCOME_LOCAL;
		unit->row.cause = err.text;
	}
	unit->row.wall_ms = clock_monotonic_ms() - start;
	cargo_summary_add(cargo_session_summary(unit->session), &unit->row);
	unit->row.cause = NULL; /* err ends here */
}

void
cargo_unit_answer(struct cargo_session *session,
    const struct cargo_message_call *call, struct cargo_message_answer *answer)
{
	struct unit unit = {.session = session, .call = call, .answer = answer};
	const struct cargo_arguments *arguments = &unit.arguments;

	answer->kind = CARGO_MESSAGE_LOCAL;
	if (call->environment.items == NULL)
		return;
	cargo_arguments_parse(&unit.arguments, call->arguments.items + 1);
	if (arguments->call == CARGO_CALL_VERSION)
		answer_version(&unit);
	else if (arguments->crate_name != NULL && arguments->out_dir != NULL &&
		 arguments->extra_filename[0] != '\0')
		answer_compile(&unit);
	cargo_arguments_clear(&unit.arguments);
	cargo_strings_clear(&unit.learned);
}
