/* SPDX-License-Identifier: Apache-2.0 */
/* Results of leases, from the worker's stream to the waiting clients. */
#include "frontend/lease_result.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/provenance.h"
#include "cas/store.h"
#include "frontend/execution_internal.h"
#include "frontend/explainer.h"
#include "frontend/result_provenance.h"
#include "frontend/stage_metrics.h"
#include "protos/arena_allocator.h"
#include "rpc/call.h"

/* A result on its way into the store; on the pool. */
struct storing {
	struct task task; /* first */
	struct execution_service *service;
	struct operation *operation; /* a reference */
	struct worker_message *message;
	const Workerapi__LeaseResult *result;
	char *writer; /* who sent it; owned */
};

static void
worker_message_free(struct worker_message *message)
{
	arena_clear(&message->arena);
	free(message);
}

/* --- storing ---------------------------------------------------------------
 */

/* Contents are inlined for the clients that ask (spec: ActionResult, "SHOULD
 * NOT inline" otherwise), never in what is stored and shared. */
static void
strip_inlined(Reapi__ActionResult *result)
{
	if (result == NULL)
		return;
	if (result->stdout_digest != NULL)
		result->stdout_raw.len = 0;
	if (result->stderr_digest != NULL)
		result->stderr_raw.len = 0;
	for (size_t i = 0; i < result->n_output_files; i++)
		result->output_files[i]->contents.len = 0;
}

static bool
may_be_cached(const struct storing *storing)
{
	const Workerapi__LeaseResult *result = storing->result;

	return !storing->operation->do_not_cache && result->result != NULL &&
	       (result->status == NULL || result->status->code == ERROR_OK) &&
	       result->result->exit_code == 0;
}

static int
put_in_cache(const struct storing *storing, struct error *err)
{
	const struct action_key key = {
	    storing->operation->instance, storing->operation->action_digest};
	struct provenance provenance;
	struct str bytes;

	if (protos_pack(&storing->message->arena,
		&storing->result->result->base, &bytes) == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the result is too large to be packed");
	result_provenance_read(storing->operation->request_metadata,
	    storing->service->storage->store, &key.action, &provenance);
	provenance.writer = str_from(storing->writer);
	provenance.worker = str_from(storing->operation->worker);
	if (store_put_action(storing->service->storage->store, &key, bytes,
		&provenance, err) < 0)
		return -1;
	explainer_note(storing->service->storage->explainer, EXPLAINER_STORED,
	    &key, storing->operation->request_metadata);
	return 0;
}

/* What is not cached must be whole all the same. */
static int
check_whole(const struct storing *storing, struct error *err)
{
	struct store *store = storing->service->storage->store;
	const struct closure_source source = closure_source_of_store(
	    store, storing->operation->action_digest.function);
	char text[DIGEST_TEXT_MAX];
	struct digest_list blobs;
	bool *missing = NULL;
	int rc = -1;

	if (storing->result->result == NULL)
		return 0;
	digest_list_init(&blobs, CLOSURE_DIGESTS_MAX);
	if (closure_of_action_result(
		&source, storing->result->result, &blobs, err) < 0)
		goto out;
	missing = xcalloc(blobs.count + 1, sizeof(*missing));
	if (store_find_missing(store, blobs.items, blobs.count, missing, err) <
	    0)
		goto out;
	for (size_t i = 0; i < blobs.count; i++) {
		if (missing[i]) {
			error_set(err, ERROR_FAILED_PRECONDITION,
			    "blob %s is missing",
			    digest_format(&blobs.items[i], text));
			goto out;
		}
	}
	rc = 0;
out:
	free(missing);
	digest_list_clear(&blobs);
	return rc;
}

/* Encoded ExecuteResponse; malloced. */
static struct str
make_response(const struct storing *storing, const struct error *not_cached)
{
	const Workerapi__LeaseResult *result = storing->result;
	Reapi__ExecuteResponse response = REAPI__EXECUTE_RESPONSE__INIT;
	Reapi__ExecuteResponse__ServerLogsEntry *logs;
	char *message = NULL;
	struct str packed;

	response.result = result->result;
	if (result->status != NULL && result->status->code != ERROR_OK)
		response.status = result->status;
	response.message = result->message;
	if (not_cached != NULL)
		response.message = message = xasprintf(
		    "%s%sthe result could not be cached: %s", result->message,
		    result->message[0] != '\0' ? "; " : "", not_cached->text);
	logs = xcalloc(result->n_server_logs + 1, sizeof(*logs));
	response.server_logs =
	    xcalloc(result->n_server_logs + 1, sizeof(*response.server_logs));
	for (size_t i = 0; i < result->n_server_logs; i++) {
		reapi__execute_response__server_logs_entry__init(&logs[i]);
		logs[i].key = result->server_logs[i]->key;
		logs[i].value = result->server_logs[i]->value;
		response.server_logs[response.n_server_logs++] = &logs[i];
	}
	packed.len = reapi__execute_response__get_packed_size(&response);
	packed.data = xmalloc(packed.len + 1);
	reapi__execute_response__pack(
	    &response, (uint8_t *)(uintptr_t)packed.data);
	free(response.server_logs);
	free(logs);
	free(message);
	return packed;
}

/* The worker named what is not there, or what cannot be read. */
static bool
is_fault_of_worker(const struct error *err)
{
	return err->code == ERROR_FAILED_PRECONDITION ||
	       err->code == ERROR_INVALID_ARGUMENT;
}

static void
store_result(struct task *task)
{
	struct storing *storing = (struct storing *)task;
	struct scheduler *scheduler = storing->service->scheduler;
	const struct error *not_cached = NULL;
	struct operation_run run;
	struct error err;
	int rc;

	strip_inlined(storing->result->result);
	stage_metrics_observe(
	    storing->service->options.stages, storing->result->result);
	stage_read(storing->result->result, &run);
	rc = may_be_cached(storing) ? put_in_cache(storing, &err)
				    : check_whole(storing, &err);
	if (rc < 0 && is_fault_of_worker(&err)) {
		err.code = ERROR_INTERNAL;
		error_prefix(
		    &err, "result of worker %s", storing->operation->worker);
		scheduler_retry(
		    scheduler, storing->operation, &err, clock_monotonic_ms());
	} else {
		/* The client has a good result even if the disk is full. */
		if (rc < 0) {
			not_cached = &err;
			log_warn("result_not_cached",
			    "operation=%.*s error=\"%s\"",
			    STR_ARG(storing->operation->name), err.text);
		}
		scheduler_complete(scheduler, storing->operation,
		    make_response(storing, not_cached), &run,
		    clock_monotonic_ms());
	}
	execution_service_kick(storing->service);
	operation_unref(storing->operation);
	worker_message_free(storing->message);
	free(storing->writer);
	free(storing);
}

/* --- judging ---------------------------------------------------------------
 */

static enum lease_outcome
judge(const Workerapi__LeaseResult *result, struct error *err)
{
	int32_t code = result->status != NULL ? result->status->code : 0;

	error_set(err, (enum error_code)code, "%s",
	    result->status != NULL ? result->status->message : "");
	switch (code) {
	case ERROR_OK:
		if (result->result != NULL)
			return LEASE_FINISHED;
		error_set(err, ERROR_INTERNAL, "it sent no result");
		return LEASE_TROUBLE;
	case ERROR_DEADLINE_EXCEEDED:
	case ERROR_FAILED_PRECONDITION:
	case ERROR_INVALID_ARGUMENT:
		return LEASE_FINISHED;
	case ERROR_CANCELLED:
		return LEASE_RETURNED;
	case ERROR_UNAVAILABLE:
	case ERROR_RESOURCE_EXHAUSTED:
		return LEASE_TROUBLE;
	default:
		/* The rest has no business in a client's eyes. */
		err->code = ERROR_INTERNAL;
		return LEASE_TROUBLE;
	}
}

void
lease_result_take(struct execution_service *service, struct rpc_call *call,
    struct worker_session *session, struct worker_message *message)
{
	const Workerapi__LeaseResult *result = message->message->lease_result;
	const struct str id = {
	    (const char *)result->lease_id.data, result->lease_id.len};
	struct lease_end end = {.lease_id = id};
	struct operation *operation;
	enum lease_reply reply;
	struct storing *storing;
	char values[2][LOG_VALUE_MAX];
	struct error err;

	end.outcome = judge(result, &err);
	end.error = &err;
	reply = scheduler_end_lease(service->scheduler, session, &end,
	    clock_monotonic_ms(), &operation);
	if (reply == LEASE_UNKNOWN)
		log_warn("lease_unknown", "worker=\"%s\" session=%s lease=%s",
		    log_value(session->worker_name, values[0]), session->id,
		    log_word(id, values[1]));
	execution_service_kick(service);
	if (reply != LEASE_STORE) {
		worker_message_free(message);
		return;
	}
	storing = xcalloc(1, sizeof(*storing));
	storing->task.run = store_result;
	storing->service = service;
	storing->operation = operation;
	storing->message = message;
	storing->result = result;
	storing->writer = result_provenance_writer(call);
	rpc_call_submit(call, &storing->task);
}
