/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of one action in order. Thread: the slot's. */
#include "worker/run_action.h"

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/store.h"
#include "protos/early_outputs.h"
#include "worker/early_outputs.h"
#include "worker/outputs.h"
#include "worker/run_command.h"
#include "worker/run_limits.h"
#include "worker/run_roots.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"
#include "worker/stage.h"
#include "worker/stage_image.h"

/* Where an action that does not ask finds its input root. */
#define DEFAULT_INPUT_ROOT "/b"
#define INPUT_ROOT_PROPERTY STR("InputRootAbsolutePath")

struct execution {
	struct run_action *run;
	struct run_command command;
	const Reapi__Platform *platform; /* what holds for it; or NULL */
	struct run_roots roots;
	struct run_limits limits;
	struct sandbox *sandbox;
	struct sandbox_outcome outcome;
	struct stage_image image; /* of the inputs, with images */
	struct stage stage;
	struct outputs outputs;
	Reapi__ActionResult *result;
};

static void
progress(const struct execution *execution, enum run_stage stage)
{
	if (execution->run->progress != NULL)
		execution->run->progress(execution->run->cookie, stage);
}

static int
load_command(struct execution *execution, struct error *err)
{
	struct run_action *run = execution->run;
	struct digest digest;
	struct buffer content;
	char text[DIGEST_TEXT_MAX];
	int found;
	int rc = -1;

	buffer_init(&content, CLOSURE_MESSAGE_MAX);
	if (digest_from_message(
		run->function, run->action->command_digest, &digest, err) < 0)
		goto out;
	found = store_read(run->store, &digest, &content, err);
	if (found < 0)
		goto out;
	if (found == 0) {
		if (run->missing != NULL)
			(void)!digest_list_add(run->missing, &digest);
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "command %s is missing from the store",
		    digest_format(&digest, text));
		goto out;
	}
	rc = run_command_decode(&execution->command, run->arena,
	    buffer_str(&content), run->default_path, err);
out:
	buffer_clear(&content);
	return rc;
}

/* Without its leading slash. */
static const char *
find_input_root(struct execution *execution, struct error *err)
{
	struct str path =
	    run_command_property(execution->platform, INPUT_ROOT_PROPERTY);
	const char *plain;

	if (path.data == NULL)
		path = STR(DEFAULT_INPUT_ROOT);
	if (path.len == 0 || path.data[0] != '/') {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "platform property InputRootAbsolutePath must start with "
		    "\"/\"");
		return NULL;
	}
	while (path.len > 0 && path.data[0] == '/') {
		path.data++;
		path.len--;
	}
	plain = run_command_resolve(execution->run->arena, STR(""), path, err);
	if (plain == NULL)
		error_prefix(err, "platform property InputRootAbsolutePath");
	return plain;
}

static int
make_sandbox(struct execution *execution, struct error *err)
{
	struct run_action *run = execution->run;
	struct sandbox_view view = {
	    .input_root = find_input_root(execution, err),
	    .grafts = execution->roots.grafts,
	    .graft_count = execution->roots.count,
	    .inputs = execution->image.files != NULL ? &execution->image.inputs
						     : NULL};

	if (view.input_root == NULL)
		return -1;
	execution->sandbox = sandbox_new(run->spawner, run->slot, err);
	if (execution->sandbox == NULL)
		return -1;
	execution->stage = (struct stage){.store = run->store,
	    .files = run->files,
	    .sandbox = execution->sandbox,
	    .missing = run->missing};
	execution->stage.input_root =
	    sandbox_lay_out(execution->sandbox, &view, err);
	return execution->stage.input_root < 0 ? -1 : 0;
}

/* Before the stage of staging, for it is still a matter of fetching. */
static int
get_roots(struct execution *execution, struct error *err)
{
	struct run_action *run = execution->run;

	execution->platform =
	    toolchain_roots_platform(run->action, execution->command.message);
	if (run_limits_read(&execution->limits, spawner_options(run->spawner),
		execution->platform, err) < 0)
		return -1;
	if (run_roots_get(&execution->roots, run, execution->platform, err) < 0)
		return -1;
	run->roots = execution->roots.wanted;
	run->roots_laid_out = execution->roots.laid_out;
	if (run->times.input_fetch_start != 0 && run->roots.count > 0)
		run->times.input_fetch_completed = clock_wall_ns();
	return 0;
}

/* Before the sandbox is taken: it is mounted there. */
static int
make_image(
    struct execution *execution, const struct digest *root, struct error *err)
{
	const struct run_action *run = execution->run;

	if (!staging_has_images(spawner_staging(run->spawner)))
		return 0;
	execution->image = (struct stage_image){.store = run->store,
	    .files = run->files,
	    .subtrees = run->subtrees,
	    .missing = run->missing,
	    .max_bytes = spawner_options(run->spawner)->scratch_bytes,
	    .cancel_fd = run->cancel_fd};
	return stage_image_make(&execution->image, root, err);
}

static int
stage(struct execution *execution, struct error *err)
{
	struct run_action *run = execution->run;
	const struct run_command *command = &execution->command;
	struct digest root;

	progress(execution, RUN_STAGING);
	if (digest_from_message(run->function, run->action->input_root_digest,
		&root, err) < 0 ||
	    make_image(execution, &root, err) < 0 ||
	    make_sandbox(execution, err) < 0)
		return -1;
	if (execution->image.files == NULL &&
	    stage_input_root(&execution->stage, &root, err) < 0)
		return -1;
	for (size_t i = 0; i < command->output_count; i++)
		if (stage_make_parents(&execution->stage,
			str_from(command->outputs[i].place), false, err) < 0)
			return -1;
	return 0;
}

/* A tree at "/" comes first. */
static bool
has_root(const struct run_action *run)
{
	return (run->roots.count > 0 && run->roots.items[0].path.len == 0) ||
	       spawner_options(run->spawner)->host_root;
}

/* There is no such program. The advice goes first: texts are cut at their
 * end. */
static void
advise_on_absence(const struct execution *execution, struct error *err)
{
	const struct run_action *run = execution->run;
	const Reapi__Platform *platform = execution->platform;
	char name[DIRECTORY_PRINTABLE_MAX];

	if (spawner_tier(run->spawner) == SANDBOX_NONE)
		error_prefix(err,
		    "this worker runs with --sandbox=none: paths from / are "
		    "those of its host");
	else if (has_root(run))
		return;
	else if (platform != NULL && platform->n_properties > 0)
		error_prefix(err,
		    "the action names no toolchain for /: it has %s, and Bazel "
		    "leaves out --remote_default_exec_properties where a "
		    "target or platform has exec_properties; add "
		    "\"toolchain-root\": \"<hash>/<size>\" to them, with a "
		    "digest that \"toolroot toolchain list\" shows",
		    directory_printable(
			directory_str(platform->properties[0]->name), name));
	else
		error_prefix(err,
		    "the action names no toolchain: add \"build "
		    "--remote_default_exec_properties="
		    "toolchain-root=<hash>/<size>\" to .bazelrc, with a "
		    "digest that \"toolroot toolchain list\" shows");
}

static struct early_outputs *
start_early_outputs(const struct execution *execution)
{
	const struct run_action *run = execution->run;
	const struct early_outputs_options options = {
	    .wanted = run_command_property(
		execution->platform, STR(EARLY_OUTPUTS_PROPERTY)),
	    .command = &execution->command,
	    .input_root = execution->stage.input_root,
	    .function = run->function,
	    .max_file_size = spawner_options(run->spawner)->scratch_bytes,
	    .upload = run->upload,
	    .report = run->early,
	    .cookie = run->cookie};

	return run->early != NULL ? early_outputs_start(&options) : NULL;
}

static int
execute(struct execution *execution, struct error *err)
{
	const struct run_action *run = execution->run;
	const struct run_command *command = &execution->command;
	struct sandbox_command what = {.arguments = command->arguments,
	    .argument_count = command->argument_count,
	    .environment = command->environment,
	    .environment_count = command->environment_count,
	    .search_path = command->search_path,
	    .working_directory = command->working_directory,
	    .timeout_ms = run->timeout_ms,
	    .cancel_fd = run->cancel_fd,
	    .stream_limit = run->stream_limit,
	    .limits = execution->limits.limits,
	    .network = execution->limits.network,
	    .live = run->live};
	struct early_outputs *early = start_early_outputs(execution);
	int rc;

	progress(execution, RUN_RUNNING);
	rc = sandbox_run(execution->sandbox, &what, &execution->outcome, err);
	early_outputs_stop(early);
	if (rc == 0)
		return 0;
	if (err->code == ERROR_FAILED_PRECONDITION)
		advise_on_absence(execution, err);
	return -1;
}

static int
add_stream(struct execution *execution, const struct capture *capture,
    Reapi__Digest **digest, struct error *err)
{
	struct str content = buffer_str(&capture->content);

	if (content.len == 0)
		return 0;
	return outputs_add_content(&execution->outputs, content, digest, err);
}

/* In the result itself, where it is small enough. The bytes are the arena's.
 */
static int
inline_stream(const struct execution *execution, const struct capture *capture,
    uint32_t limit, ProtobufCBinaryData *raw, struct error *err)
{
	struct str content = buffer_str(&capture->content);
	char *copy;

	if (content.len == 0 || content.len > limit)
		return 0;
	copy = arena_copy(execution->run->arena, content);
	if (copy == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the result does not fit into memory");
	raw->data = (uint8_t *)copy;
	raw->len = content.len;
	return 0;
}

static int
add_streams(struct execution *execution, struct error *err)
{
	const struct run_action *run = execution->run;
	const struct sandbox_outcome *outcome = &execution->outcome;
	Reapi__ActionResult *result = execution->result;

	if (add_stream(
		execution, &outcome->output, &result->stdout_digest, err) < 0 ||
	    add_stream(
		execution, &outcome->errors, &result->stderr_digest, err) < 0 ||
	    inline_stream(execution, &outcome->output, run->inline_stdout_limit,
		&result->stdout_raw, err) < 0)
		return -1;
	return inline_stream(execution, &outcome->errors,
	    run->inline_stderr_limit, &result->stderr_raw, err);
}

static int
collect(struct execution *execution, struct error *err)
{
	struct run_action *run = execution->run;
	bool whole =
	    !execution->outcome.timed_out && !execution->outcome.cancelled;
	Reapi__ActionResult *result = arena_alloc(run->arena, sizeof(*result));

	progress(execution, RUN_COLLECTING);
	if (result == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the result does not fit into memory");
	reapi__action_result__init(result);
	execution->result = result;
	result->exit_code = execution->outcome.exit_code;
	execution->outputs = (struct outputs){.arena = run->arena,
	    .command = &execution->command,
	    .input_root = execution->stage.input_root,
	    .function = run->function,
	    .max_file_size = spawner_options(run->spawner)->scratch_bytes};
	if (add_streams(execution, err) < 0)
		return -1;
	/* What an action left that was stopped half-way is no output. */
	return whole ? outputs_collect(&execution->outputs, result, err) : 0;
}

static int
upload(struct execution *execution, struct error *err)
{
	struct run_action *run = execution->run;

	progress(execution, RUN_UPLOADING);
	run->times.output_upload_start = clock_wall_ns();
	if (run->upload(run->cookie, &execution->outputs, err) < 0) {
		error_prefix(err, "upload outputs");
		return -1;
	}
	run->times.output_upload_completed = clock_wall_ns();
	return 0;
}

static int
report_early_end(const struct execution *execution, struct error *err)
{
	if (execution->outcome.cancelled)
		return error_set(
		    err, ERROR_CANCELLED, "the action was cancelled");
	if (execution->outcome.timed_out)
		return error_set(err, ERROR_DEADLINE_EXCEEDED,
		    "the command was stopped after its timeout of %lld ms",
		    (long long)execution->run->timeout_ms);
	return 0;
}

static int
run_steps(struct execution *execution, struct error *err)
{
	if (load_command(execution, err) < 0 || get_roots(execution, err) < 0 ||
	    stage(execution, err) < 0)
		return -1;
	if (execute(execution, err) < 0 || collect(execution, err) < 0)
		return -1;
	return upload(execution, err);
}

/* A result that could not be completed must not be seen: its blobs may be
 * absent. */
static int
complete_result(struct execution *execution, Reapi__ActionResult **result,
    struct error *err)
{
	struct run_action *run = execution->run;
	const struct run_place place = {.worker = run->worker_name,
	    .sandbox_tier = sandbox_tier_name(spawner_tier(run->spawner)),
	    .staging = staging_name(spawner_staging(run->spawner)),
	    .host_root = sandbox_shows_host(execution->sandbox),
	    .roots = &run->roots,
	    .roots_laid_out = execution->roots.laid_out,
	    .limits = &execution->limits,
	    .limited_by = cgroup_kind_name(spawner_limits_kind(run->spawner))};

	run->message = run_limits_explain(run->arena, &execution->limits,
	    spawner_options(run->spawner), &execution->outcome);
	if (run->message == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the result does not fit into memory");
	run->times.worker_completed = clock_wall_ns();
	execution->result->execution_metadata = run_metadata_make(
	    run->arena, &place, &run->times, &execution->outcome, err);
	if (execution->result->execution_metadata == NULL)
		return -1;
	*result = execution->result;
	return report_early_end(execution, err);
}

int
run_action(
    struct run_action *run, Reapi__ActionResult **result, struct error *err)
{
	struct execution execution = {.run = run};
	int rc;

	*result = NULL;
	run->message = "";
	rc = run_steps(&execution, err);
	if (rc == 0)
		rc = complete_result(&execution, result, err);
	outputs_clear(&execution.outputs);
	sandbox_outcome_clear(&execution.outcome);
	sandbox_free(execution.sandbox);
	stage_image_clear(&execution.image);
	run_roots_clear(&execution.roots, run);
	return rc;
}
