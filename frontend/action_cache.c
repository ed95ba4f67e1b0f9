/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ActionCache. A look-up is answered on the poller with the stored bytes as
 * they are; only where the client wants contents inline is the message taken
 * apart, on the pool. Updates are checked and made durable on the pool.
 */
#include "frontend/action_cache.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "cas/digest_message.h"
#include "cas/provenance.h"
#include "cas/store.h"
#include "frontend/explainer.h"
#include "frontend/method_table.h"
#include "frontend/request_metadata.h"
#include "frontend/result_provenance.h"
#include "frontend/storage.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/build.bazel.remote.execution.v2.ActionCache/"

/* In the call's arena. */
struct action_request {
	struct task task; /* first */
	struct rpc_call *call;
	const struct storage *storage;
	struct action_key key;
	struct str result; /* serialised ActionResult */
	uint64_t expected; /* by the explainer */
	const Reapi__GetActionResultRequest *get;
};

/* --- inlining --------------------------------------------------------------
 */

struct inlining {
	struct store *store;
	struct arena *arena;
	enum digest_function function;
	size_t left;
};

static int
inline_blob(struct inlining *inlining, const Reapi__Digest *message,
    ProtobufCBinaryData *content, struct error *err)
{
	struct digest digest;
	struct buffer bytes;
	struct error ignored;
	char *copy;
	int found;

	/* Results of cache-only clients may name anything. */
	if (message == NULL || content->len > 0 ||
	    digest_from_message(
		inlining->function, message, &digest, &ignored) < 0 ||
	    digest.size > inlining->left)
		return 0;
	buffer_init(&bytes, (size_t)digest.size);
	found = store_read(inlining->store, &digest, &bytes, err);
	copy =
	    found > 0 ? arena_copy(inlining->arena, buffer_str(&bytes)) : NULL;
	if (copy != NULL) {
		*content = (ProtobufCBinaryData){bytes.len, (uint8_t *)copy};
		inlining->left -= bytes.len;
	}
	buffer_clear(&bytes);
	return found < 0 ? -1 : 0;
}

static bool
path_wanted(
    const struct inline_options *options, const ProtobufCBinaryData *path)
{
	for (size_t i = 0; i < options->output_file_count; i++) {
		const ProtobufCBinaryData *wanted = &options->output_files[i];

		if (wanted->len == path->len &&
		    memcmp(wanted->data, path->data, path->len) == 0)
			return true;
	}
	return false;
}

int
action_cache_inline(struct store *store, const struct inline_options *options,
    struct arena *arena, Reapi__ActionResult *result,
    enum digest_function function, struct error *err)
{
	struct inlining inlining = {
	    store, arena, function, ACTION_CACHE_INLINE_MAX};

	if (options->stdout_wanted &&
	    inline_blob(
		&inlining, result->stdout_digest, &result->stdout_raw, err) < 0)
		return -1;
	if (options->stderr_wanted &&
	    inline_blob(
		&inlining, result->stderr_digest, &result->stderr_raw, err) < 0)
		return -1;
	if (options->output_file_count == 0)
		return 0;
	for (size_t i = 0; i < result->n_output_files; i++) {
		Reapi__OutputFile *file = result->output_files[i];

		if (path_wanted(options, &file->path) &&
		    inline_blob(&inlining, file->digest, &file->contents, err) <
			0)
			return -1;
	}
	return 0;
}

static void
note(const struct action_request *request, enum explainer_event event)
{
	explainer_note(request->storage->explainer, event, &request->key,
	    request_metadata_raw(request->call));
}

/* --- GetActionResult -------------------------------------------------------
 */

static void
get_inlined(struct task *task)
{
	struct action_request *request = (struct action_request *)task;
	struct arena *arena = rpc_call_arena(request->call);
	const struct inline_options options = {request->get->inline_stdout,
	    request->get->inline_stderr, request->get->inline_output_files,
	    request->get->n_inline_output_files};
	Reapi__ActionResult *result;
	struct error err;

	result = protos_unpack(
	    arena, &reapi__action_result__descriptor, request->result, &err);
	if (result == NULL ||
	    action_cache_inline(request->storage->store, &options, arena,
		result, request->key.action.function, &err) < 0)
		rpc_call_finish(request->call, &err);
	else
		rpc_call_reply_packed(request->call, &result->base);
}

static int
action_key_read(struct action_request *request, struct str instance,
    const Reapi__Digest *digest, uint64_t function, struct error *err)
{
	enum digest_function resolved;

	request->key.instance = instance;
	if (storage_check_instance(request->storage, instance, err) < 0)
		return -1;
	if (digest == NULL)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "action_digest is missing");
	if (storage_digest_function(request->storage, function,
		digest->hash.len, &resolved, err) < 0)
		return -1;
	return digest_from_message(resolved, digest, &request->key.action, err);
}

/* 1 found, 0 absent, -1. */
static int
get_look_up(struct action_request *request, struct error *err)
{
	struct arena *arena = rpc_call_arena(request->call);
	const Reapi__GetActionResultRequest *get;

	get = rpc_message_unpack(rpc_call_request(request->call),
	    &reapi__get_action_result_request__descriptor, arena, err);
	if (get == NULL)
		return -1;
	request->get = get;
	if (action_key_read(request, binary_str(get->instance_name),
		get->action_digest, get->digest_function, err) < 0)
		return -1;
	request->expected =
	    explainer_expect(request->storage->explainer, &request->key);
	return store_get_action(request->storage->store, &request->key, arena,
	    &request->result, err);
}

static struct action_request *
action_request_new(struct rpc_call *call, const struct storage *storage)
{
	struct action_request *request =
	    rpc_call_new_state(call, sizeof(*request));

	request->call = call;
	request->storage = storage;
	return request;
}

static void
get_action_result(struct rpc_call *call, void *storage)
{
	struct action_request *request = action_request_new(call, storage);
	char text[DIGEST_TEXT_MAX];
	struct rpc_message *reply;
	struct error err;
	int found;

	found = get_look_up(request, &err);
	if (found > 0)
		explainer_note_hit(request->storage->explainer, &request->key,
		    request->expected, request_metadata_raw(call));
	if (found == 0) {
		note(request, EXPLAINER_NO_RESULT);
		error_set(&err, ERROR_NOT_FOUND,
		    "there is no result for action %s",
		    digest_format(&request->key.action, text));
	}
	if (found <= 0) {
		rpc_call_finish(call, &err);
		return;
	}
	if (request->get->inline_stdout || request->get->inline_stderr ||
	    request->get->n_inline_output_files > 0) {
		request->task.run = get_inlined;
		rpc_call_submit(call, &request->task);
		return;
	}
	reply = rpc_message_new();
	rpc_message_add(reply, request->result.data, request->result.len);
	rpc_call_reply(call, reply);
}

/* --- UpdateActionResult ----------------------------------------------------
 */

enum {
	UPDATE_INSTANCE_NAME = 1,
	UPDATE_ACTION_DIGEST = 2,
	UPDATE_ACTION_RESULT = 3,
	UPDATE_DIGEST_FUNCTION = 5,
};

/* The result is stored as the client serialised it. */
static int
update_parse(struct action_request *request, struct error *err)
{
	struct str message = rpc_message_flat(rpc_call_request(request->call));
	struct str instance = {"", 0};
	struct str digest = {NULL, 0};
	uint64_t function = 0;
	struct wire_field field;
	int more;

	while ((more = wire_next(&message, &field)) > 0) {
		if (field.number == UPDATE_INSTANCE_NAME)
			instance = field.bytes;
		else if (field.number == UPDATE_ACTION_DIGEST)
			digest = field.bytes;
		else if (field.number == UPDATE_ACTION_RESULT)
			request->result = field.bytes;
		else if (field.number == UPDATE_DIGEST_FUNCTION)
			function = field.value;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the UpdateActionResultRequest is malformed");
	if (digest.data == NULL || request->result.data == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "action_digest and action_result are both needed");
	request->key.instance = instance;
	if (storage_check_instance(request->storage, instance, err) < 0)
		return -1;
	return storage_parse_digest(
	    request->storage, digest, function, &request->key.action, err);
}

static void
update_run(struct task *task)
{
	struct action_request *request = (struct action_request *)task;
	struct provenance provenance;
	struct rpc_message *reply;
	struct error err;
	char *writer;
	int rc;

	if (update_parse(request, &err) < 0) {
		rpc_call_finish(request->call, &err);
		return;
	}
	result_provenance_read(request_metadata_raw(request->call),
	    request->storage->store, &request->key.action, &provenance);
	writer = result_provenance_writer(request->call);
	provenance.writer = str_from(writer);
	rc = store_put_action(request->storage->store, &request->key,
	    request->result, &provenance, &err);
	free(writer);
	if (rc < 0) {
		rpc_call_finish(request->call, &err);
		return;
	}
	note(request, EXPLAINER_UPDATED);
	reply = rpc_message_new();
	rpc_message_add(reply, request->result.data, request->result.len);
	rpc_call_reply(request->call, reply);
}

static void
update_action_result(struct rpc_call *call, void *storage)
{
	struct action_request *request = action_request_new(call, storage);
	struct error err;

	if (!request->storage->cache_updates) {
		error_set(&err, ERROR_PERMISSION_DENIED,
		    "clients may not write action results on this server; "
		    "only its workers do (setting cache-updates)");
		rpc_call_finish(call, &err);
		return;
	}
	request->task.run = update_run;
	rpc_call_submit(call, &request->task);
}

void
action_cache_add(struct method_table *table, struct storage *storage)
{
	method_table_add(table, (struct rpc_method){SERVICE "GetActionResult",
				    RPC_UNARY, get_action_result, storage});
	method_table_add(
	    table, (struct rpc_method){SERVICE "UpdateActionResult", RPC_UNARY,
		       update_action_result, storage});
}
