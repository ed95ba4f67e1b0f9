/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a lease around run_action. Thread: the slot's. */
#include "worker/lease_run.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "client/cas_client.h"
#include "client/request_metadata.h"
#include "worker/cas_clients.h"
#include "worker/file_cache.h"
#include "worker/input_fetch.h"
#include "worker/lease_result.h"
#include "worker/lease_table.h"
#include "worker/outputs.h"
#include "worker/run_action.h"
#include "worker/run_roots.h"
#include "worker/session.h"
#include "worker/spawner.h"
#include "worker/worker_metrics.h"
#include "worker/worker_state.h"

#define MISSING_MAX 100000
/* Longer than any server grants; keeps sums of milliseconds in range. */
#define TIMEOUT_MAX_S (INT64_C(366) * 24 * 3600)

struct lease_run {
	struct worker *worker;
	struct held_lease *lease;
	struct cas_peer peer;
	struct request_metadata metadata;
	struct cas_transfer transfer;
	struct digest_list missing;
	struct run_action action;
};

static enum digest_function
function_of(const struct held_lease *lease)
{
	return (enum digest_function)lease->message->digest_function;
}

/* A NUL-terminated copy; NULL for nothing, or when there is no room: then it
 * is not said. */
static const char *
text_of(struct held_lease *lease, ProtobufCBinaryData data)
{
	return data.len > 0 ? arena_copy(&lease->arena, directory_str(data))
			    : NULL;
}

static void
fill_metadata(struct lease_run *run)
{
	struct held_lease *lease = run->lease;
	const Reapi__RequestMetadata *message =
	    lease->message->request_metadata;

	if (message == NULL)
		return;
	if (message->tool_details != NULL) {
		run->metadata.tool_name = message->tool_details->tool_name;
		run->metadata.tool_version =
		    message->tool_details->tool_version;
	}
	run->metadata.action_id = text_of(lease, message->action_id);
	run->metadata.tool_invocation_id =
	    text_of(lease, message->tool_invocation_id);
	run->metadata.correlated_invocations_id =
	    text_of(lease, message->correlated_invocations_id);
	run->metadata.action_mnemonic =
	    text_of(lease, message->action_mnemonic);
	run->metadata.target_id = text_of(lease, message->target_id);
	run->metadata.configuration_id =
	    text_of(lease, message->configuration_id);
}

static int64_t
timeout_of(const struct held_lease *lease)
{
	const Google__Protobuf__Duration *timeout = lease->message->timeout;
	int64_t seconds = timeout->seconds;

	if (seconds > TIMEOUT_MAX_S)
		seconds = TIMEOUT_MAX_S;
	/* Rounded up: never less than was asked for. */
	return seconds * 1000 + (timeout->nanos + 999999) / 1000000;
}

static void
progress(void *cookie, enum run_stage stage)
{
	static const Workerapi__LeaseState__Stage stages[] = {
	    [RUN_STAGING] = WORKERAPI__LEASE_STATE__STAGE__STAGING,
	    [RUN_RUNNING] = WORKERAPI__LEASE_STATE__STAGE__RUNNING,
	    [RUN_COLLECTING] = WORKERAPI__LEASE_STATE__STAGE__COLLECTING,
	    [RUN_UPLOADING] = WORKERAPI__LEASE_STATE__STAGE__UPLOADING};
	struct lease_run *run = cookie;

	atomic_store(&run->lease->stage, stages[stage]);
}

/* Files are found as when their digests were taken, since those of early
 * outputs are still their action's; the upload checks the digests again. */
static int
upload(void *cookie, const struct outputs *outputs, struct error *err)
{
	struct lease_run *run = cookie;
	struct cas_upload *uploads =
	    xcalloc(outputs->blob_count + 1, sizeof(*uploads));
	int rc;

	for (size_t i = 0; i < outputs->blob_count; i++) {
		const struct output_blob *blob = &outputs->blobs[i];

		uploads[i].digest = blob->digest;
		uploads[i].from = CAS_UPLOAD_CONTENT;
		uploads[i].content = blob->content;
		if (blob->content.data != NULL)
			continue;
		uploads[i].from = CAS_UPLOAD_FILE;
		uploads[i].path = blob->path;
		uploads[i].beneath = true;
		uploads[i].directory = outputs->input_root;
	}
	rc = cas_client_upload(run->peer.client, &run->transfer, uploads,
	    outputs->blob_count, NULL, err);
	free(uploads);
	return rc;
}

static void
send_early(void *cookie, Workerapi__EarlyOutputs *message)
{
	struct lease_run *run = cookie;

	message->lease_id = run->lease->message->lease_id;
	session_send_early(run->worker->session, message);
	message->lease_id.len = 0;
}

/* A tree's blobs, for one that is not laid out yet. */
static int
fetch_tree(void *cookie, const struct digest *root, struct error *err)
{
	struct lease_run *run = cookie;

	return input_fetch_tree(
	    run->peer.fetch, root, &run->transfer, &run->missing, err);
}

/* Both, so that a client hears of all missing blobs at once. */
static int
fetch_inputs(struct lease_run *run, struct error *err)
{
	const Reapi__Action *action = run->lease->message->action;
	enum digest_function function = function_of(run->lease);
	struct digest_list command;
	struct digest_list missing;
	struct digest digest;
	struct digest root;
	int rc = -1;

	digest_list_init(&command, 1);
	digest_list_init(&missing, 1);
	if (digest_from_message(
		function, action->command_digest, &digest, err) < 0 ||
	    digest_from_message(
		function, action->input_root_digest, &root, err) < 0 ||
	    digest_list_add(&command, &digest) < 0)
		goto out;
	rc = input_fetch_tree(
	    run->peer.fetch, &root, &run->transfer, &run->missing, err);
	if (rc < 0 && err->code != ERROR_FAILED_PRECONDITION)
		goto out;
	if (input_fetch_blobs(
		run->peer.fetch, &command, &run->transfer, &missing, err) < 0)
		rc = -1;
	/* A full list names enough. */
	if (missing.count > 0)
		(void)!digest_list_add(&run->missing, &digest);
out:
	digest_list_clear(&command);
	digest_list_clear(&missing);
	return rc;
}

static int
run_steps(
    struct lease_run *run, Reapi__ActionResult **result, struct error *err)
{
	const Workerapi__Lease *message = run->lease->message;
	struct run_times *times = &run->action.times;

	if (message->queued != NULL)
		times->queued = message->queued->seconds * 1000000000 +
				message->queued->nanos;
	times->worker_start = run->lease->received_wall_ns;
	if (cas_clients_get(run->worker->clients,
		directory_str(message->instance_name), function_of(run->lease),
		&run->peer, err) < 0)
		return -1;
	times->input_fetch_start = clock_wall_ns();
	if (fetch_inputs(run, err) < 0) {
		error_prefix(err, "fetch inputs");
		return -1;
	}
	times->input_fetch_completed = clock_wall_ns();
	return run_action(&run->action, result, err);
}

static void
log_result(const struct lease_run *run, const Reapi__ActionResult *result,
    const struct error *err)
{
	char hash[DIGEST_TEXT_MAX] = "";
	char roots[RUN_ROOTS_TEXT_MAX];
	bool limited =
	    run->action.message != NULL && run->action.message[0] != '\0';
	struct error shown = {.code = ERROR_OK};
	struct digest action;
	struct error ignored;

	/* It may name what the action has. */
	if (err != NULL)
		shown = *err;
	if (digest_from_message(function_of(run->lease),
		run->lease->message->action_digest, &action, &ignored) == 0)
		digest_format(&action, hash);
	log_info("action_done",
	    "lease=%.*s action=%s status=%s exit=%d ms=%" PRId64
	    " tier=%s staging=%s roots=\"%s\"%s%s%s%s%s%s",
	    STR_ARG(held_lease_id(run->lease)), hash,
	    error_code_name(shown.code),
	    result != NULL ? result->exit_code : -1,
	    (clock_wall_ns() - run->lease->received_wall_ns) / 1000000,
	    sandbox_tier_name(spawner_tier(run->worker->spawner)),
	    staging_name(spawner_staging(run->worker->spawner)),
	    run_roots_format(&run->action.roots, roots),
	    limited ? " limits=\"" : "", limited ? run->action.message : "",
	    limited ? "\"" : "", err != NULL ? " error=\"" : "",
	    log_text(shown.text), err != NULL ? "\"" : "");
}

static void
count_result(const struct lease_run *run, const Reapi__ActionResult *result,
    const struct error *err)
{
	const struct worker_lease_end end = {
	    .code = err != NULL ? err->code : ERROR_OK,
	    .metadata = result != NULL ? result->execution_metadata : NULL,
	    .trees = run->action.roots.count,
	    .laid_out = run->action.roots_laid_out,
	};

	worker_metrics_count(run->worker->metrics, &end);
}

static void
prepare(struct lease_run *run)
{
	const struct worker_options *options = run->worker->options;
	const Workerapi__Lease *message = run->lease->message;

	digest_list_init(&run->missing, MISSING_MAX);
	fill_metadata(run);
	run->transfer = (struct cas_transfer){
	    .metadata = &run->metadata, .cancelled = &run->lease->cancelled};
	run->action = (struct run_action){.spawner = run->worker->spawner,
	    .slot = run->lease->slot,
	    .store = run->worker->store,
	    .files = run->worker->files,
	    .subtrees = run->worker->subtrees,
	    .trees = run->worker->trees,
	    .worker_name = run->worker->name,
	    .default_path = options->default_path,
	    .stream_limit = (size_t)options->stream_limit,
	    .action = message->action,
	    .function = function_of(run->lease),
	    .timeout_ms = timeout_of(run->lease),
	    .inline_stdout_limit = message->inline_stdout_limit,
	    .inline_stderr_limit = message->inline_stderr_limit,
	    .cancel_fd = run->lease->cancel_fd,
	    .live = &run->lease->output,
	    .arena = &run->lease->arena,
	    .missing = &run->missing,
	    .progress = progress,
	    .fetch = fetch_tree,
	    .upload = upload,
	    .early = send_early,
	    .cookie = run};
}

void
lease_run(struct worker *worker, struct held_lease *lease)
{
	struct lease_run run = {.worker = worker, .lease = lease};
	Reapi__ActionResult *result = NULL;
	struct lease_result answer = {.missing = &run.missing};
	struct error err;

	prepare(&run);
	if (run_steps(&run, &result, &err) < 0)
		answer.error = &err;
	if (answer.error != NULL && atomic_load(&lease->cancelled))
		error_set(&err, ERROR_CANCELLED, "the lease was cancelled");
	live_output_end(&lease->output);
	log_result(&run, result, answer.error);
	count_result(&run, result, answer.error);
	answer.result = result;
	answer.message = run.action.message;
	atomic_store(&lease->answered, true);
	lease_result_send(worker->session, lease, &answer);
	digest_list_clear(&run.missing);
	/* For the next one's inputs; nobody waits now. */
	spawner_settle(worker->spawner, lease->slot);
	if (staging_has_images(spawner_staging(worker->spawner)))
		file_cache_prepare(worker->files);
}
