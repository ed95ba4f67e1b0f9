/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Execute: what happens before an action is queued. The request is checked on
 * the poller; the rest reads the store and runs on the pool: the action cache,
 * joining an equal execution, then the check that Action, Command and every
 * blob of the input root are there. WaitExecution comes along, being short.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "cas/toolchain_root.h"
#include "frontend/action_cache.h"
#include "frontend/execution_internal.h"
#include "frontend/explainer.h"
#include "frontend/operation_message.h"
#include "frontend/request_metadata.h"
#include "frontend/trace_parent.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"
#include "protos/wire.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/status.h"

/* The scheduler keeps Actions in memory; Commands may list many files. */
#define ACTION_MAX (256u << 10)
#define COMMAND_MAX (16u << 20)
#define PREPARE_ARENA (96u << 20)
/* More do not fit into a status anyway (rpc/status.h). */
#define VIOLATIONS_MAX 64

/* In the call's arena. */
struct execute_request {
	struct task task; /* first */
	struct execution_service *service;
	struct rpc_call *call;
	struct execution_stream *stream;
	const Reapi__ExecuteRequest *message;
	struct action_key key;
	int32_t priority;
};

/* What is read on the way; on the pool thread's stack. */
struct preparation {
	const struct execute_request *request;
	struct store *store;
	struct arena arena;
	struct buffer action_bytes;
	Reapi__Action *action;
	Reapi__Command *command;
	int64_t timeout_ms;
	struct digest_list missing;
	/* The first tree that is not whole, when some is not. */
	struct toolchain_root lacking;
	bool lacks_toolchain;
};

/* --- from the cache --------------------------------------------------------
 */

/* An encoded ExecuteResponse around the stored bytes. */
static int
response_around(struct arena *arena, struct str result, struct str *response)
{
	char *bytes = arena_alloc(arena, result.len + 4 * WIRE_VARINT_MAX);
	size_t used;

	if (bytes == NULL)
		return -1;
	/* ExecuteResponse: result = 1, cached_result = 2. */
	used = wire_put_bytes_header((uint8_t *)bytes, 1, result.len);
	memcpy(bytes + used, result.data, result.len);
	used += result.len;
	used += wire_put_varint_field((uint8_t *)bytes + used, 2, 1);
	*response = (struct str){bytes, used};
	return 0;
}

static struct inline_options
inline_wishes(const struct execute_request *request)
{
	const Reapi__ExecuteRequest *message = request->message;

	return (struct inline_options){message->inline_stdout,
	    message->inline_stderr, message->inline_output_files,
	    message->n_inline_output_files};
}

/* The contents that the client asked for are put into the result. */
static int
inline_result(const struct execute_request *request, struct arena *arena,
    struct str *result, struct error *err)
{
	const struct inline_options options = inline_wishes(request);
	Reapi__ActionResult *unpacked;
	struct str packed;

	if (!options.stdout_wanted && !options.stderr_wanted &&
	    options.output_file_count == 0)
		return 0;
	unpacked = protos_unpack(
	    arena, &reapi__action_result__descriptor, *result, err);
	if (unpacked == NULL ||
	    action_cache_inline(request->service->storage->store, &options,
		arena, unpacked, request->key.action.function, err) < 0)
		return -1;
	/* It is a hint: without, the client reads the blobs. */
	if (protos_pack(arena, &unpacked->base, &packed) != NULL &&
	    packed.len < STORAGE_BATCH_MAX)
		*result = packed;
	return 0;
}

/* 1 and the message that answers, 0 when the cache has nothing, -1. */
static int
execute_from_cache(const struct execute_request *request, struct arena *arena,
    struct rpc_message **answer, struct error *err)
{
	struct operation_view view = {
	    .action_digest = request->key.action,
	    .status = {.state = OPERATION_DONE},
	};
	struct str result;
	char *name;
	int found;

	if (request->message->skip_cache_lookup)
		return 0;
	found = store_get_action(request->service->storage->store,
	    &request->key, arena, &result, err);
	if (found <= 0)
		return found;
	if (inline_result(request, arena, &result, err) < 0)
		return -1;
	if (response_around(arena, result, &view.response) < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the cached result is too large");
	name = operation_name_new(request->key.instance);
	view.name = str_from(name);
	*answer = operation_message_pack(&view);
	free(name);
	atomic_fetch_add(&request->service->cache_hits, 1);
	explainer_note(request->service->storage->explainer, EXPLAINER_HIT,
	    &request->key, request_metadata_raw(request->call));
	return 1;
}

/* --- what the action needs -------------------------------------------------
 */

static int
note_missing(
    struct preparation *p, const struct digest *digest, struct error *err)
{
	if (digest_list_add(&p->missing, digest) < 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "more than %zu blobs are missing", p->missing.limit);
	return 0;
}

/* 1 read, 0 absent (and noted), -1. */
static int
read_blob(struct preparation *p, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	int found;

	if (digest->size > content->limit)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s is larger than the %zu bytes allowed for it",
		    digest_format(digest, text), content->limit);
	found = store_read(p->store, digest, content, err);
	if (found == 0 && note_missing(p, digest, err) < 0)
		return -1;
	return found;
}

static int
check_timeout(struct preparation *p, struct error *err)
{
	const struct execution_options *options = &p->request->service->options;
	const Google__Protobuf__Duration *timeout = p->action->timeout;

	p->timeout_ms = options->action_timeout_ms;
	if (timeout == NULL || (timeout->seconds == 0 && timeout->nanos == 0))
		return 0;
	if (timeout->seconds < 0 || timeout->nanos < 0 ||
	    timeout->nanos > 999999999)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the action's timeout is negative or malformed");
	if (timeout->seconds > options->action_timeout_max_ms / 1000 ||
	    timeout->seconds * 1000 + timeout->nanos / 1000000 >
		options->action_timeout_max_ms)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the action's timeout of %lld s is above this server's "
		    "maximum of %lld s (setting action-timeout-max)",
		    (long long)timeout->seconds,
		    (long long)(options->action_timeout_max_ms / 1000));
	p->timeout_ms =
	    timeout->seconds * 1000 + (timeout->nanos + 999999) / 1000000;
	return 0;
}

/* 1 read, 0 absent, -1. */
static int
prepare_action(struct preparation *p, struct error *err)
{
	int found =
	    read_blob(p, &p->request->key.action, &p->action_bytes, err);

	if (found <= 0)
		return found;
	p->action = protos_unpack(&p->arena, &reapi__action__descriptor,
	    buffer_str(&p->action_bytes), err);
	if (p->action == NULL)
		return -1;
	return check_timeout(p, err) < 0 ? -1 : 1;
}

/* 0 also when it is absent; p->command is then NULL. */
static int
prepare_command(struct preparation *p, struct error *err)
{
	struct buffer content;
	struct digest digest;
	int found = -1;

	buffer_init(&content, COMMAND_MAX);
	if (digest_from_message(p->request->key.action.function,
		p->action->command_digest, &digest, err) < 0) {
		error_prefix(err, "command_digest of the action");
		goto out;
	}
	found = read_blob(p, &digest, &content, err);
	if (found <= 0)
		goto out;
	p->command = protos_unpack(
	    &p->arena, &reapi__command__descriptor, buffer_str(&content), err);
	if (p->command == NULL) {
		found = -1;
	} else if (p->command->n_arguments == 0) {
		found = error_set(err, ERROR_INVALID_ARGUMENT,
		    "the command has no arguments: there is nothing to run");
	}
out:
	buffer_clear(&content);
	return found < 0 ? -1 : 0;
}

static int
read_for_closure(void *cookie, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	return store_read(cookie, digest, content, err);
}

static int
note_missing_files(
    struct preparation *p, const struct digest_list *files, struct error *err)
{
	bool *absent = calloc(files->count + 1, sizeof(*absent));
	int rc = -1;

	if (absent == NULL)
		return error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "memory is used up");
	if (store_find_missing(
		p->store, files->items, files->count, absent, err) < 0)
		goto out;
	for (size_t i = 0; i < files->count; i++) {
		if (absent[i] && note_missing(p, &files->items[i], err) < 0)
			goto out;
	}
	rc = 0;
out:
	free(absent);
	return rc;
}

/* Every Directory and file below the root is there, or noted. */
static int
prepare_tree(
    struct preparation *p, const struct digest *root, struct error *err)
{
	const struct closure_source source = {
	    .read = read_for_closure,
	    .cookie = p->store,
	    .function = root->function,
	};
	struct digest_list directories;
	struct digest_list files;
	struct closure closure = {
	    &files, &directories, &p->missing, CLOSURE_ENTRIES_MAX};
	int rc;

	digest_list_init(&files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&directories, CLOSURE_DIRECTORIES_MAX);
	rc = closure_of_directory(&source, root, &closure, err);
	if (rc == 0)
		rc = note_missing_files(p, &files, err);
	digest_list_clear(&files);
	digest_list_clear(&directories);
	return rc;
}

static int
prepare_inputs(struct preparation *p, struct error *err)
{
	struct digest root;

	if (digest_from_message(p->request->key.action.function,
		p->action->input_root_digest, &root, err) < 0) {
		error_prefix(err, "input_root_digest of the action");
		return -1;
	}
	if (prepare_tree(p, &root, err) < 0) {
		error_prefix(err, "input root");
		return -1;
	}
	return 0;
}

/* Toolchains are inputs like any other, only larger. */
static int
prepare_toolchains(struct preparation *p, struct error *err)
{
	struct root_memo *memo = &p->request->service->roots;
	struct toolchain_roots roots;

	if (toolchain_roots_read(&roots,
		toolchain_roots_platform(p->action, p->command),
		p->request->key.action.function, err) < 0)
		return -1;
	for (size_t i = 0; i < roots.count; i++) {
		const struct digest *root = &roots.items[i].digest;
		int64_t now_ms = clock_monotonic_ms();
		size_t missing = p->missing.count;

		if (root_memo_has(memo, root, now_ms))
			continue;
		if (prepare_tree(p, root, err) < 0) {
			error_prefix(err, "toolchain-root at /%.*s",
			    STR_ARG(roots.items[i].path));
			return -1;
		}
		if (p->missing.count == missing) {
			root_memo_add(memo, root, now_ms);
		} else if (!p->lacks_toolchain) {
			p->lacking = roots.items[i];
			p->lacks_toolchain = true;
		}
	}
	return 0;
}

/* 0 when p->missing tells all; -1. */
static int
prepare(struct preparation *p, struct error *err)
{
	int found = prepare_action(p, err);

	if (found <= 0)
		return found;
	if (prepare_command(p, err) < 0 || prepare_inputs(p, err) < 0)
		return -1;
	return prepare_toolchains(p, err);
}

static void
preparation_init(struct preparation *p, const struct execute_request *request)
{
	*p = (struct preparation){
	    .request = request, .store = request->service->storage->store};
	arena_init(&p->arena, PREPARE_ARENA);
	buffer_init(&p->action_bytes, ACTION_MAX);
	digest_list_init(&p->missing, CLOSURE_DIGESTS_MAX);
}

static void
preparation_clear(struct preparation *p)
{
	arena_clear(&p->arena);
	buffer_clear(&p->action_bytes);
	digest_list_clear(&p->missing);
}

/* In the message too, since Bazel does not show violations. A client cannot
 * upload a toolchain that it knows by its digest alone. */
static void
describe_missing(const struct preparation *p, struct error *err)
{
	const struct toolchain_root *lacking = &p->lacking;
	char text[DIGEST_TEXT_MAX];

	digest_format(&p->missing.items[0], text);
	if (p->missing.count == 1)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "blob %s, which the action needs, is missing; upload it "
		    "and ask again",
		    text);
	else
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "%zu blobs that the action needs are missing, the first "
		    "is %s; upload them and ask again",
		    p->missing.count, text);
	if (p->lacks_toolchain)
		error_prefix(err,
		    "this store lacks toolchain-root %s (at /%.*s), or a part "
		    "of it: capture it here with \"toolroot toolchain add\", "
		    "or "
		    "use one that \"toolroot toolchain list\" shows",
		    digest_format(&lacking->digest, text),
		    STR_ARG(lacking->path));
}

/* FAILED_PRECONDITION with a violation for each missing blob (spec: Execute;
 * the digest function is left out of subjects for all that we know). */
static void
fail_missing(const struct execute_request *request, struct preparation *p)
{
	struct rpc_violation violations[VIOLATIONS_MAX];
	char texts[VIOLATIONS_MAX][DIGEST_TEXT_MAX + sizeof("blobs/")];
	size_t count = p->missing.count;
	GrpcStatus__Status *status;
	struct error err;

	describe_missing(p, &err);
	for (size_t i = 0; i < count && i < VIOLATIONS_MAX; i++) {
		char text[DIGEST_TEXT_MAX];

		snprintf(texts[i], sizeof(texts[i]), "blobs/%s",
		    digest_format(&p->missing.items[i], text));
		violations[i] = (struct rpc_violation){
		    STR("MISSING"), str_from(texts[i]), STR("")};
	}
	status = rpc_status_from_error(&p->arena, &err);
	if (status == NULL ||
	    rpc_status_add_violations(&p->arena, status, violations,
		count < VIOLATIONS_MAX ? count : VIOLATIONS_MAX, &err) < 0)
		execution_stream_fail(request->stream, &err);
	else
		execution_stream_fail_status(request->stream, status);
}

/* --- queueing --------------------------------------------------------------
 */

/* Action.platform counts before Command.platform (spec: Action, 2.2). */
static int
read_platform(struct preparation *p, struct operation_request *submission,
    struct error *err)
{
	const Reapi__Platform *platform =
	    toolchain_roots_platform(p->action, p->command);
	struct platform_property *properties;

	if (platform == NULL || platform->n_properties == 0)
		return 0;
	properties = arena_zalloc(
	    &p->arena, platform->n_properties, sizeof(*properties));
	if (properties == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the action has too many platform properties");
	for (size_t i = 0; i < platform->n_properties; i++) {
		properties[i].name = binary_str(platform->properties[i]->name);
		properties[i].value =
		    binary_str(platform->properties[i]->value);
	}
	submission->properties = properties;
	submission->property_count = platform->n_properties;
	return 0;
}

static struct operation *
submit(struct preparation *p, struct error *err)
{
	const struct execute_request *request = p->request;
	struct operation_request submission = {
	    .instance = request->key.instance,
	    .action_digest = request->key.action,
	    .action = buffer_str(&p->action_bytes),
	    .priority = request->priority,
	    .timeout_ms = p->timeout_ms,
	    .queued_ns = clock_wall_ns(),
	    .do_not_cache = p->action->do_not_cache,
	    .fresh = request->message->skip_cache_lookup,
	};
	struct request_metadata metadata;

	request_metadata_read(request->call, &metadata);
	submission.request_metadata = metadata.raw;
	submission.invocation = metadata.tool_invocation_id;
	submission.identity = rpc_call_identity(request->call);
	submission.traceparent = trace_parent_of(request->call);
	/* Without it, be fair to connections. */
	if (submission.invocation.len == 0)
		submission.invocation = rpc_call_peer(request->call);
	if (read_platform(p, &submission, err) < 0)
		return NULL;
	return scheduler_submit(request->service->scheduler, &submission,
	    clock_monotonic_ms(), err);
}

static void
execute_fresh(const struct execute_request *request)
{
	struct execution_service *service = request->service;
	struct operation *operation = NULL;
	struct preparation p;
	struct error err;

	preparation_init(&p, request);
	if (prepare(&p, &err) < 0) {
		execution_stream_fail(request->stream, &err);
	} else if (p.missing.count > 0) {
		fail_missing(request, &p);
	} else {
		operation = submit(&p, &err);
		if (operation == NULL)
			execution_stream_fail(request->stream, &err);
	}
	preparation_clear(&p);
	if (operation == NULL)
		return;
	/* Who does not look has not missed. */
	if (!request->message->skip_cache_lookup)
		explainer_note(service->storage->explainer, EXPLAINER_EXECUTES,
		    &request->key, request_metadata_raw(request->call));
	/* The worker first: its way is longer. The request lives in the
	 * call's arena, which is gone once the stream has ended. */
	execution_service_kick(service);
	execution_stream_watch(request->stream, operation, 0);
}

static void
execute_run(struct task *task)
{
	struct execute_request *request = (struct execute_request *)task;
	const struct inline_options wishes = inline_wishes(request);
	const struct operation_request wanted = {
	    .instance = request->key.instance,
	    .action_digest = request->key.action,
	    .priority = request->priority,
	    .fresh = request->message->skip_cache_lookup,
	};
	struct rpc_message *answer = NULL;
	struct operation *operation;
	struct arena arena;
	struct error err;
	int found;

	arena_init(&arena, PREPARE_ARENA);
	found = execute_from_cache(request, &arena, &answer, &err);
	arena_clear(&arena);
	if (found < 0) {
		execution_stream_fail(request->stream, &err);
		return;
	}
	if (found > 0) {
		execution_stream_answer(request->stream, answer);
		return;
	}
	execution_stream_inlining(request->stream, &wishes);
	operation = scheduler_join(request->service->scheduler, &wanted);
	if (operation != NULL)
		execution_stream_watch(request->stream, operation, 0);
	else
		execute_fresh(request);
}

/* --- the calls -------------------------------------------------------------
 */

static int
execute_parse(struct execute_request *request, struct error *err)
{
	const struct storage *storage = request->service->storage;
	const Reapi__ExecuteRequest *message;
	enum digest_function function;

	message = rpc_message_unpack(rpc_call_request(request->call),
	    &reapi__execute_request__descriptor, rpc_call_arena(request->call),
	    err);
	if (message == NULL)
		return -1;
	request->message = message;
	request->key.instance = binary_str(message->instance_name);
	if (message->execution_policy != NULL)
		request->priority = message->execution_policy->priority;
	if (storage_check_instance(storage, request->key.instance, err) < 0)
		return -1;
	if (message->action_digest == NULL)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "action_digest is missing");
	if (storage_digest_function(storage, (uint64_t)message->digest_function,
		message->action_digest->hash.len, &function, err) < 0 ||
	    digest_from_message(function, message->action_digest,
		&request->key.action, err) < 0) {
		error_prefix(err, "action_digest");
		return -1;
	}
	return 0;
}

void
execute(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	struct execution_stream *stream;
	struct execute_request *request;
	struct error err;

	execution_service_meet(service, call);
	request = rpc_call_new_state(call, sizeof(*request));
	stream = execution_stream_new(service, call, EXECUTION_STREAM);
	request->service = service;
	request->call = call;
	request->stream = stream;
	if (execute_parse(request, &err) < 0) {
		execution_stream_fail(stream, &err);
		return;
	}
	request->task.run = execute_run;
	rpc_call_submit(call, &request->task);
}

void
wait_execution(struct rpc_call *call, void *cookie)
{
	struct execution_service *service = cookie;
	const Reapi__WaitExecutionRequest *message;
	struct operation *operation = NULL;
	struct execution_stream *stream;
	struct error err;

	execution_service_meet(service, call);
	stream = execution_stream_new(service, call, EXECUTION_STREAM);
	message = rpc_message_unpack(rpc_call_request(call),
	    &reapi__wait_execution_request__descriptor, rpc_call_arena(call),
	    &err);
	if (message != NULL)
		operation =
		    operations_find(service, binary_str(message->name), &err);
	if (operation == NULL) {
		execution_stream_fail(stream, &err);
		return;
	}
	scheduler_wait(service->scheduler, operation);
	execution_stream_watch(stream, operation, 0);
}
