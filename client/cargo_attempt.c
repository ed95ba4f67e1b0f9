/* SPDX-License-Identifier: Apache-2.0 */
/* The steps in order; each attempt begins with fresh inputs. */
#include "client/cargo_attempt.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/merkle_builder.h"
#include "client/cargo_action.h"
#include "client/cargo_crate.h"
#include "client/cargo_dep_info.h"
#include "client/cargo_environment.h"
#include "client/cargo_execute.h"
#include "client/cargo_failure.h"
#include "client/cargo_inputs.h"
#include "client/cargo_message.h"
#include "client/cargo_notice.h"
#include "client/cargo_outputs.h"
#include "client/cargo_paths.h"
#include "client/cargo_session.h"
#include "client/cargo_summary.h"
#include "client/cargo_toolchain.h"
#include "client/cas_client.h"
#include "client/request_metadata.h"
#include "client/retry.h"

#define UPLOAD_TRIES 8
#define RESULT_MEMORY (64u << 20)
#define EXECUTION_TIMEOUT_MS (15 * 60 * 1000)
/* Servers tell how far an execution is, ours every 30 s. */
#define SILENCE_MS (90 * 1000)

/* What is known of a result that is still to come. */
struct early {
	bool tried;
	struct buffer dep_info; /* as the action wrote it */
	bool checked;           /* what follows is set */
	int belief;             /* as check() has it, with its error */
	struct error error;
};

struct state {
	const struct cargo_attempt *attempt;
	struct cargo_crate *crate;
	struct cargo_paths paths;
	struct cargo_environment environment;
	struct cargo_inputs inputs;
	struct cargo_strings outputs; /* names */
	char *directory;              /* fixed */
	char *title;
	struct cargo_action action;
	struct arena arena;
	char digest_text[DIGEST_TEXT_MAX];
	struct request_metadata metadata;
	struct cas_transfer transfer;
	struct cargo_outputs results;
	struct early early;
};

/* --- inputs --------------------------------------------------------------- */

/* Where the compiler finds it; the caller frees it. */
static char *
path_of(const struct state *state, const char *path)
{
	return path[0] == '/'
		   ? xstrdup(path)
		   : xasprintf("%s/%s", state->crate->call->directory, path);
}

/* What the workspace and its crates have; what the system has is the
 * toolchain's, and the rest is nothing that we know. */
static int
add_native(struct state *state, struct error *err)
{
	const struct cargo_strings *native = &state->crate->arguments.native;
	int rc = 0;

	for (size_t i = 0; i < native->count && rc == 0; i++) {
		char *path = path_of(state, native->items[i]);
		struct stat status;

		if (stat(path, &status) == 0 && !cargo_paths_is_system(path))
			rc =
			    cargo_inputs_add_package(&state->inputs, path, err);
		free(path);
	}
	return rc;
}

/* A linker passes over a directory that is not there, and takes what it looks
 * for from another one. */
static int
check_linked(struct state *state, struct error *err)
{
	const struct cargo_arguments *arguments = &state->crate->arguments;
	int rc = 0;

	for (size_t i = 0;
	     i < arguments->linked.count && arguments->links && rc == 0; i++) {
		char *path = path_of(state, arguments->linked.items[i]);
		char *fixed = cargo_paths_map_text(
		    &state->paths, CARGO_PATHS_TO_FIXED, path);
		struct stat status;

		if (stat(path, &status) == 0 && !cargo_paths_is_system(path) &&
		    !cargo_inputs_have(&state->inputs, "/", fixed))
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "a link argument names %s, which is no input of it",
			    path);
		free(fixed);
		free(path);
	}
	return rc;
}

/* A macro may read any file of the package; else it is the sources alone. */
static int
add_package(struct state *state, struct error *err)
{
	const struct cargo_crate *crate = state->crate;
	struct cargo_inputs *inputs = &state->inputs;
	int rc;

	if (crate->fetched || inputs->macro)
		rc = cargo_inputs_add_package(inputs, crate->package, err);
	else
		rc = cargo_inputs_add_directory(inputs, crate->package, err);
	for (size_t i = 0; i < crate->sources.count && rc == 0; i++)
		rc =
		    cargo_inputs_add_file(inputs, crate->sources.items[i], err);
	return rc;
}

static int
gather(struct state *state, struct error *err)
{
	const struct cargo_crate *crate = state->crate;
	struct cargo_inputs *inputs = &state->inputs;
	const char *generated = cargo_crate_variable(crate, "OUT_DIR");

	if (cargo_crate_is_moved(crate) &&
	    cargo_inputs_add_toolchain(inputs, crate->toolchain, err) < 0)
		return -1;
	if (cargo_inputs_add_crates(inputs, &crate->arguments.externs, err) <
		0 ||
	    add_package(state, err) < 0 ||
	    cargo_inputs_add_directory(inputs, crate->call->directory, err) <
		0 ||
	    cargo_inputs_add_directory(inputs, crate->arguments.out_dir, err) <
		0)
		return -1;
	if (generated != NULL &&
	    cargo_inputs_add_tree(inputs, generated, err) < 0)
		return -1;
	if (add_native(state, err) < 0 || check_linked(state, err) < 0)
		return -1;
	return cargo_inputs_finish(inputs, err);
}

/* --- the action ----------------------------------------------------------- */

static void
make_action(struct state *state)
{
	const struct cargo_crate *crate = state->crate;
	struct cargo_strings arguments = {.count = 0};
	struct cargo_strings environment = {.count = 0};
	char *out_dir = cargo_paths_map_text(
	    &state->paths, CARGO_PATHS_TO_FIXED, crate->arguments.out_dir);
	const struct cargo_action_parts parts = {
	    .arguments = &arguments,
	    .environment = &environment,
	    .directory = state->directory,
	    .out_dir = out_dir,
	    .outputs = &state->outputs,
	    .root = *merkle_builder_root(state->inputs.builder),
	    .input_root = state->inputs.root,
	    .toolchain =
		cargo_crate_is_moved(crate) ? NULL : &crate->toolchain->root,
	    .early = cargo_arguments_pipelined(&crate->arguments),
	};

	state->environment.macro = state->inputs.macro;
	cargo_crate_command(crate, &state->paths, false, &arguments);
	cargo_environment_choose(&state->environment, &environment);
	cargo_action_make(&state->action, &parts);
	digest_format_hash(&state->action.digest, state->digest_text);
	digest_format(&state->action.digest, state->attempt->row->action);
	cargo_strings_clear(&arguments);
	cargo_strings_clear(&environment);
	free(out_dir);
}

/* --- the result ----------------------------------------------------------- */

static int
send_inputs(struct state *state, struct error *err)
{
	const struct cargo_attempt *attempt = state->attempt;
	struct cas_upload_stats stats = {.sent_bytes = 0};
	struct cas_upload *uploads;
	size_t count;
	int rc;

	if (cargo_session_upload(state->crate->session, state->crate->toolchain,
		&attempt->row->up, err) < 0)
		return -1;
	uploads = cargo_inputs_uploads(&state->inputs, &count);
	uploads[count++] = (struct cas_upload){
	    .digest = state->action.command_digest,
	    .from = CAS_UPLOAD_CONTENT,
	    .content = state->action.command,
	};
	uploads[count++] = (struct cas_upload){
	    .digest = state->action.digest,
	    .from = CAS_UPLOAD_CONTENT,
	    .content = state->action.action,
	};
	rc = cas_client_upload(attempt->server->cas, &state->transfer, uploads,
	    count, &stats, err);
	attempt->row->up += stats.sent_bytes;
	free(uploads);
	return rc;
}

/* A server makes room soon; what was sent stays there. */
static int
send_inputs_patiently(struct state *state, struct error *err)
{
	struct retry retry;
	int rc;

	retry_init(&retry, UPLOAD_TRIES - 1, NULL);
	do
		rc = send_inputs(state, err);
	while (
	    rc < 0 && cargo_session_retry(state->crate->session, &retry, err));
	return rc;
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

/* -1 */
static int
tell_failure(
    struct state *state, const Reapi__ActionResult *result, struct error *err)
{
	struct error ignored; /* there are no messages then */

	(void)cargo_outputs_fetch_errors(&state->results, result, &ignored);
	return cargo_failure_set(
	    result->exit_code, buffer_str(&state->results.errors), err);
}

static int
run(struct state *state, const struct cargo_execute *execute,
    Reapi__ActionResult **result, struct error *err)
{
	struct cargo_crate *crate = state->crate;

	if (crate->warm)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "incremental: there is state for it here");
	if (cargo_session_may_execute(crate->session, err) < 0)
		return -1;
	state->attempt->row->outcome = CARGO_OUTCOME_REMOTE;
	if (send_inputs_patiently(state, err) < 0 ||
	    cargo_execute_run(execute, result, err) < 0) {
		cargo_session_not_executed(crate->session, err);
		return -1;
	}
	cargo_session_executed(crate->session);
	/* The messages are those of the compiler here: what it did not find
	 * there may be here. */
	return (*result)->exit_code != 0 ? tell_failure(state, *result, err)
					 : 0;
}

/* 1, 0 when there is none of use, -1. */
static int
find(struct state *state, struct cargo_execute *execute, struct error *err)
{
	Reapi__ActionResult *result;
	int rc = cargo_execute_find(execute, &result, err);

	state->attempt->row->outcome = CARGO_OUTCOME_HIT;
	if (rc <= 0)
		return rc;
	state->attempt->row->executed_ms = executed_ms(result);
	/* A server that keeps failures: cargo would take it for a success. */
	rc = result->exit_code == 0
		 ? cargo_outputs_fetch(&state->results, result, err)
		 : error_set(err, ERROR_NOT_FOUND, "a failure");
	if (rc == 0)
		return 1;
	if (err->code != ERROR_NOT_FOUND)
		return -1;
	/* A cache that lost a part of it: that is a miss, and mended. */
	cargo_outputs_clear(&state->results);
	cargo_outputs_init(&state->results);
	execute->anew = true;
	return 0;
}

/* --- belief --------------------------------------------------------------- */

/* 1, 0 when variables were learned, -1. */
static int
check_variables(
    struct state *state, const struct cargo_dep_info *info, struct error *err)
{
	struct cargo_crate *crate = state->crate;
	struct cargo_strings names = {.count = 0};
	int rc = 1;

	cargo_environment_mismatches(&state->environment, info, &names);
	for (size_t i = 0; i < names.count && rc >= 0; i++) {
		rc = 0;
		if (cargo_strings_have(&crate->learned, names.items[i]))
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "it reads the variable %s", names.items[i]);
		else
			cargo_strings_add(&crate->learned, names.items[i]);
	}
	cargo_strings_clear(&names);
	return rc;
}

/* 1, 0 when it has to be at its true place, and was not. */
static int
check_place(struct state *state, const struct cargo_dep_info *info)
{
	const char *place =
	    cargo_environment_place(info, &state->paths, CARGO_PATHS_TO_REAL);

	return place != NULL && cargo_crate_move(state->crate, place) ? 0 : 1;
}

static int
check_sources(
    struct state *state, const struct cargo_dep_info *info, struct error *err)
{
	for (size_t i = 0; i < info->sources.count; i++) {
		const char *source = info->sources.items[i];

		if (!cargo_inputs_have(
			&state->inputs, state->directory, source))
			return error_set(err, ERROR_FAILED_PRECONDITION,
			    "its result was made of %s, which is no input of "
			    "it, and is not believed",
			    source);
	}
	return 1;
}

/* 1 believed, 0 when another attempt may be, -1. */
static int
check(struct state *state, struct error *err)
{
	struct cargo_dep_info info;
	int rc;

	cargo_dep_info_parse(&info, buffer_str(&state->results.dep_info));
	rc = check_variables(state, &info, err);
	if (rc > 0)
		rc = check_sources(state, &info, err);
	if (rc > 0)
		rc = check_place(state, &info);
	cargo_dep_info_clear(&info);
	return rc;
}

/* In the place that cargo looks at: only while it does. */
static int
put(struct state *state, struct error *err)
{
	const struct cargo_crate *crate = state->crate;
	int rc;

	if (!cargo_message_is_awaited(crate->call) ||
	    !cargo_session_begin_put(crate->session))
		return error_set(
		    err, ERROR_CANCELLED, "cargo did not wait for it");
	rc = cargo_outputs_put(&state->results, err);
	cargo_session_end_put(crate->session);
	return rc;
}

/* 1 believed, 0 when another attempt may be, -1. Of an early dep-info it was
 * told then. */
static int
check_result(struct state *state, struct error *err)
{
	const struct early *early = &state->early;
	int rc;

	if (early->checked && str_equal(buffer_str(&early->dep_info),
				  buffer_str(&state->results.dep_info))) {
		*err = early->error;
		return early->belief;
	}
	rc = check(state, err);
	if (rc == 0 && state->crate->given)
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "what it reads changed while it was compiled");
	return rc;
}

/* --- before it is done ---------------------------------------------------- */

/* Cargo is told, and goes on. The shim gets all that is to be done when nothing
 * more comes from here. */
static int
tell_cargo(struct state *state, struct error *err)
{
	struct cargo_crate *crate = state->crate;
	struct cargo_summary_row *row = state->attempt->row;
	struct cargo_message_answer notice;
	char *path = cargo_crate_metadata(crate);
	/* One that cannot tell may have told cargo. */
	bool told = true;
	int rc = 0;

	cargo_message_answer_init(&notice);
	crate->given = true;
	cargo_crate_place(crate, &notice);
	notice.kind = CARGO_MESSAGE_EARLY;
	notice.status =
	    cargo_session_repeats(crate->session) == CARGO_REPEATS ? 1 : 0;
	if (cargo_notice_add_metadata(&notice.errors, path) < 0)
		rc = error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "%s: too long", path);
	if (rc == 0)
		rc = cargo_message_send_answer(
		    crate->call->caller, &notice, err);
	if (rc == 0 &&
	    cargo_message_receive_reply(crate->call->caller, &told, err) == 0) {
		cargo_session_set_repeats(crate->session, told);
		crate->given = told;
	}
	if (crate->given)
		row->metadata_ms = clock_monotonic_ms() - row->start_ms;
	cargo_message_answer_clear(&notice);
	free(path);
	return rc;
}

static int
give_metadata(struct state *state, const Reapi__OutputFile *dep_info,
    const Reapi__OutputFile *metadata, struct error *err)
{
	struct early *early = &state->early;
	struct buffer empty;

	int rc = cargo_outputs_fetch_early(&state->results, dep_info, err);

	if (rc == 0) {
		early->belief = check(state, &early->error);
		early->checked = true;
	}
	/* It comes once more. */
	buffer_init(&empty, state->results.dep_info.limit);
	early->dep_info = state->results.dep_info;
	state->results.dep_info = empty;
	if (rc < 0 || early->belief <= 0)
		return rc;
	if (cargo_outputs_fetch_early(&state->results, metadata, err) < 0 ||
	    put(state, err) < 0)
		return -1;
	return tell_cargo(state, err);
}

/* Of cargo_execute. */
static void
take_early(void *cookie, Reapi__OutputFile *const *files, size_t count)
{
	struct state *state = cookie;
	const Reapi__OutputFile *dep_info =
	    cargo_outputs_find(&state->results, files, count, ".d");
	const Reapi__OutputFile *metadata =
	    cargo_outputs_find(&state->results, files, count, ".rmeta");
	/* The result tells the same, or better. */
	struct error ignored;

	if (state->early.tried || dep_info == NULL || metadata == NULL)
		return;
	state->early.tried = true;
	(void)give_metadata(state, dep_info, metadata, &ignored);
}

/* Once in the life of a crate, and never where nobody listens meanwhile. */
static bool
wants_early(const struct state *state)
{
	const struct cargo_crate *crate = state->crate;

	return cargo_arguments_pipelined(&crate->arguments) && !crate->given &&
	       crate->call->caller != -1 &&
	       cargo_session_repeats(crate->session) != CARGO_REPEATS_NOT;
}

/* --- looking and running ----------------------------------------------------
 */

/* Among the paths of outputs, there always is one. */
static const char *
dep_info_of(const struct cargo_strings *outputs)
{
	size_t i = 0;

	while (!cargo_outputs_is_dep_info(outputs->items[i]))
		i++;
	return outputs->items[i];
}

static int
find_or_run(struct state *state, struct error *err)
{
	const struct cargo_attempt *attempt = state->attempt;
	struct cargo_execute execute = {
	    .channel = attempt->server->channel,
	    .instance = attempt->server->instance,
	    .metadata = &state->metadata,
	    .arena = &state->arena,
	    .action = state->action.digest,
	    .wanted_inline = dep_info_of(&state->action.outputs),
	    .timeout_ms = EXECUTION_TIMEOUT_MS,
	    .silence_ms = SILENCE_MS,
	    .early = wants_early(state) ? take_early : NULL,
	    .cookie = state,
	};
	Reapi__ActionResult *result;
	int rc = find(state, &execute, err);

	if (rc != 0)
		return rc > 0 ? 0 : -1;
	if (run(state, &execute, &result, err) < 0)
		return -1;
	attempt->row->executed_ms = executed_ms(result);
	return cargo_outputs_fetch(&state->results, result, err);
}

/* --- the whole ------------------------------------------------------------ */

static void
state_init(struct state *state, const struct cargo_attempt *attempt)
{
	static const struct cargo_paths nowhere = {.count = 0};
	struct cargo_crate *crate = attempt->crate;

	*state = (struct state){.attempt = attempt,
	    .crate = crate,
	    .title = cargo_crate_title(crate)};
	cargo_crate_paths(crate, &state->paths);
	state->directory = cargo_paths_map_text(
	    &state->paths, CARGO_PATHS_TO_FIXED, crate->call->directory);
	state->environment = (struct cargo_environment){
	    .call = crate->call->environment.items,
	    .build = cargo_session_environment(crate->session),
	    .learned = &crate->learned,
	    .paths = crate->exact ? &nowhere : &state->paths,
	    .clippy = crate->driver != NULL,
	};
	state->inputs.paths = &state->paths;
	state->inputs.ledger = cargo_session_ledger(crate->session);
	state->inputs.target = crate->layout->target;
	/* True places are anywhere: then the input root is all there is. */
	state->inputs.root = cargo_crate_is_moved(crate) ? "" : "/b";
	cargo_inputs_init(
	    &state->inputs, cargo_session_function(crate->session));
	cargo_arguments_outputs(&crate->arguments, &state->outputs);
	arena_init(&state->arena, RESULT_MEMORY);
	state->metadata = (struct request_metadata){
	    .tool_name = "toolroot-cargo",
	    .tool_version = TOOLROOT_VERSION,
	    .action_id = state->digest_text,
	    .tool_invocation_id = cargo_session_invocation(crate->session),
	    .action_mnemonic = crate->driver != NULL ? "Clippy" : "Rustc",
	    .target_id = state->title,
	};
	state->transfer.metadata = &state->metadata;
	state->results = (struct cargo_outputs){
	    .client = attempt->server->cas,
	    .ledger = cargo_session_ledger(crate->session),
	    .transfer = &state->transfer,
	    .paths = &state->paths,
	    .directory = crate->arguments.out_dir,
	    .expected = &state->outputs,
	    .arguments = &crate->arguments,
	};
	cargo_outputs_init(&state->results);
}

static void
state_clear(struct state *state)
{
	buffer_clear(&state->early.dep_info);
	cargo_outputs_clear(&state->results);
	cargo_action_clear(&state->action);
	arena_clear(&state->arena);
	cargo_strings_clear(&state->outputs);
	cargo_inputs_clear(&state->inputs);
	cargo_paths_clear(&state->paths);
	free(state->directory);
	free(state->title);
}

static void
fill_answer(struct state *state)
{
	struct cargo_message_answer *answer = state->attempt->answer;

	answer->kind = CARGO_MESSAGE_DONE;
	answer->errors = state->results.errors;
	buffer_init(&state->results.errors, 0);
	if (state->crate->given)
		cargo_notice_drop_metadata(&answer->errors);
}

int
cargo_attempt_run(const struct cargo_attempt *attempt, struct error *err)
{
	struct state state;
	int rc;

	state_init(&state, attempt);
	rc = gather(&state, err);
	if (rc < 0)
		goto out;
	make_action(&state);
	rc = find_or_run(&state, err);
	if (rc < 0) {
		cargo_session_failed(attempt->crate->session, err);
		goto out;
	}
	attempt->row->down += state.results.bytes;
	rc = check_result(&state, err);
	if (rc > 0 && put(&state, err) < 0)
		rc = -1;
	if (rc > 0)
		fill_answer(&state);
out:
	state_clear(&state);
	return rc;
}
