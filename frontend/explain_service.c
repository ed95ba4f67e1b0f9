/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Explanations for people. The history answers from memory; one action is
 * compared anew, on the pool, with room for all that differs.
 */
#include "frontend/explain_service.h"

#include <stdio.h>
#include <toolroot/explain/v1/explain.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "executor/history.h"
#include "frontend/explainer.h"
#include "frontend/method_table.h"
#include "frontend/storage.h"
#include "frontend/unary_call.h"
#include "protos/binary.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/toolroot.explain.v1.Explanations/"
#define CHANGES_DEFAULT 100
#define CHANGES_MAX 1000
#define MISSES_DEFAULT 100
#define MISSES_MAX 1000

static const struct explain_limits request_limits = {
    .directories = 200000, .bytes = 512u << 20};

static size_t
limit_of(int32_t wanted, size_t initial, size_t most)
{
	if (wanted <= 0)
		return initial;
	return (size_t)wanted < most ? (size_t)wanted : most;
}

/* --- messages ------------------------------------------------------------- */

/* NULL at the arena's cap. */
static Explainapi__Miss *
miss_message(struct arena *arena, const struct history_miss *miss)
{
	Explainapi__Miss *message = arena_alloc(arena, sizeof(*message));
	Google__Protobuf__Timestamp *time = arena_alloc(arena, sizeof(*time));

	if (message == NULL || time == NULL)
		return NULL;
	explainapi__miss__init(message);
	google__protobuf__timestamp__init(time);
	time->seconds = miss->time_ns / 1000000000;
	time->nanos = (int32_t)(miss->time_ns % 1000000000);
	message->time = time;
	message->action_digest = digest_message_new(arena, &miss->action);
	message->digest_function =
	    (Reapi__DigestFunction__Value)miss->action.function;
	if (miss->has_previous)
		message->previous_action_digest =
		    digest_message_new(arena, &miss->previous);
	message->cause = (char *)(uintptr_t)explain_cause_name(miss->cause);
	message->target = binary_of(miss->target);
	message->mnemonic = binary_of(miss->mnemonic);
	message->invocation_id = binary_of(miss->invocation);
	message->summary = binary_of(miss->summary);
	return message;
}

static char *
text_or_empty(const char *text)
{
	return (char *)(uintptr_t)(text != NULL ? text : "");
}

static Explainapi__Change *
change_message(struct arena *arena, const struct explain_change *change)
{
	Explainapi__Change *message = arena_alloc(arena, sizeof(*message));

	if (message == NULL)
		return NULL;
	explainapi__change__init(message);
	message->kind = (char *)(uintptr_t)explain_kind_name(change->kind);
	message->name = text_or_empty(change->name);
	message->before = text_or_empty(change->before);
	message->after = text_or_empty(change->after);
	message->added = change->before == NULL;
	message->removed = change->after == NULL;
	if (change->has_before_digest)
		message->before_digest =
		    digest_message_new(arena, &change->before_digest);
	if (change->has_after_digest)
		message->after_digest =
		    digest_message_new(arena, &change->after_digest);
	return message;
}

/* Whether anything is remembered of it. */
static int
check_remembered(
    const struct storage *storage, struct str instance, struct error *err)
{
	if (!explainer_leaves_out(storage->explainer, instance))
		return 0;
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "nothing of the instance \"%.*s\" is remembered: it is among those "
	    "of the server's setting \"unexplained\"",
	    STR_ARG(instance));
}

/* --- Explain -------------------------------------------------------------- */

/* The miss that is asked for, or the pair that is given. */
static int
find_miss(const struct unary_call *call,
    const Explainapi__ExplainRequest *request, struct history_miss *miss,
    struct error *err)
{
	const struct storage *storage = call->service;
	struct history *history = explainer_history(storage->explainer);
	struct str action = binary_str(request->action);
	struct str rest = action;

	if (request->against.len > 0) {
		*miss = (struct history_miss){
		    .has_previous = true, .cause = EXPLAIN_UNKNOWN};
		if (digest_parse_text(
			DIGEST_UNKNOWN, action, &miss->action, err) < 0 ||
		    digest_parse_text(miss->action.function,
			binary_str(request->against), &miss->previous, err) < 0)
			return -1;
		return 0;
	}
	if (check_remembered(storage, binary_str(request->instance_name), err) <
	    0)
		return -1;
	if (history_find_miss(history, binary_str(request->instance_name),
		str_cut(&rest, '/'), rpc_call_arena(call->rpc), miss) > 0)
		return 0;
	return error_set(err, ERROR_NOT_FOUND,
	    "no miss of the action \"%.*s\" is remembered; the history holds "
	    "the "
	    "last 50,000 actions",
	    action.len > DIGEST_TEXT_MAX ? DIGEST_TEXT_MAX : (int)action.len,
	    action.data);
}

static int
fill_changes(struct arena *arena, const struct explanation *explanation,
    Explainapi__ExplainResponse *response, struct error *err)
{
	response->changes = arena_zalloc(
	    arena, explanation->count + 1, sizeof(*response->changes));
	if (response->changes == NULL)
		return unary_call_out_of_memory(err);
	for (size_t i = 0; i < explanation->count; i++) {
		response->changes[i] =
		    change_message(arena, &explanation->changes[i]);
		if (response->changes[i] == NULL)
			return unary_call_out_of_memory(err);
	}
	response->n_changes = explanation->count;
	response->total_changes = explanation->total;
	response->note = (char *)(uintptr_t)explanation->note;
	return 0;
}

static int
explain_reply(struct unary_call *call, struct history_miss *miss,
    const struct explanation *explanation, struct error *err)
{
	struct arena *arena = rpc_call_arena(call->rpc);
	Explainapi__ExplainResponse response =
	    EXPLAINAPI__EXPLAIN_RESPONSE__INIT;

	if (fill_changes(arena, explanation, &response, err) < 0)
		return -1;
	if (miss->cause == EXPLAIN_UNKNOWN)
		miss->cause = explanation->cause;
	response.miss = miss_message(arena, miss);
	if (response.miss == NULL)
		return unary_call_out_of_memory(err);
	rpc_call_reply_packed(call->rpc, &response.base);
	return 0;
}

/* An action or a tree that cannot be decoded ends the comparison; what was
 * found before is told, and why there is no more. */
static int
note_malformed(struct explanation *explanation, const struct error *err)
{
	if (err->code != ERROR_INVALID_ARGUMENT)
		return -1;
	explanation->incomplete = true;
	snprintf(
	    explanation->note, sizeof(explanation->note), "%.255s", err->text);
	return 0;
}

static int
explain_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	struct closure_source source;
	struct explanation explanation = {.cause = EXPLAIN_UNKNOWN};
	struct explain_limits limits = request_limits;
	const Explainapi__ExplainRequest *request;
	struct history_miss miss;
	int rc;

	request = unary_call_unpack(
	    call, &explainapi__explain_request__descriptor, err);
	if (request == NULL ||
	    storage_check_instance(
		storage, binary_str(request->instance_name), err) < 0 ||
	    find_miss(call, request, &miss, err) < 0)
		return -1;
	limits.changes = limit_of(request->limit, CHANGES_DEFAULT, CHANGES_MAX);
	source = closure_source_of_store(storage->store, miss.action.function);
	rc = miss.has_previous ? explain_actions(&explanation, &source, &limits,
				     &miss.previous, &miss.action, err)
			       : 0;
	if (rc < 0)
		rc = note_malformed(&explanation, err);
	if (rc == 0)
		rc = explain_reply(call, &miss, &explanation, err);
	explanation_clear(&explanation);
	return rc;
}

/* --- ListMisses ----------------------------------------------------------- */

static int
list_reply(struct unary_call *call, struct str of,
    const struct history_miss *misses, size_t count, struct error *err)
{
	Explainapi__ListMissesResponse response =
	    EXPLAINAPI__LIST_MISSES_RESPONSE__INIT;
	const struct storage *storage = call->service;
	struct arena *arena = rpc_call_arena(call->rpc);

	explainer_progress(
	    storage->explainer, &response.noted, &response.explained);
	response.of = binary_of(of);
	response.misses =
	    arena_zalloc(arena, count + 1, sizeof(*response.misses));
	if (response.misses == NULL)
		return unary_call_out_of_memory(err);
	for (size_t i = 0; i < count; i++) {
		response.misses[i] = miss_message(arena, &misses[i]);
		if (response.misses[i] == NULL)
			return unary_call_out_of_memory(err);
	}
	response.n_misses = count;
	rpc_call_reply_packed(call->rpc, &response.base);
	return 0;
}

static int
list_run(struct unary_call *call, struct error *err)
{
	const struct storage *storage = call->service;
	struct history *history = explainer_history(storage->explainer);
	struct arena *arena = rpc_call_arena(call->rpc);
	const Explainapi__ListMissesRequest *request;
	struct history_miss *misses;
	struct str instance, of;
	size_t limit;

	request = unary_call_unpack(
	    call, &explainapi__list_misses_request__descriptor, err);
	if (request == NULL)
		return -1;
	instance = binary_str(request->instance_name);
	if (storage_check_instance(storage, instance, err) < 0 ||
	    check_remembered(storage, instance, err) < 0)
		return -1;
	limit = limit_of(request->limit, MISSES_DEFAULT, MISSES_MAX);
	misses = arena_zalloc(arena, limit, sizeof(*misses));
	if (misses == NULL)
		return unary_call_out_of_memory(err);
	of = binary_str(request->of);
	/* Where no client tells its builds apart, any miss is of the last. */
	if (of.len == 0)
		of = history_last_invocation(history, instance, arena);
	limit =
	    history_list_misses(history, instance, of, arena, misses, limit);
	return list_reply(call, of, misses, limit, err);
}

/* --- the service ---------------------------------------------------------- */

static void
submit(struct rpc_call *rpc, void *cookie, unary_call_fn *run)
{
	const struct storage *storage = cookie;
	struct error err;

	if (storage->explainer != NULL) {
		unary_call_submit(rpc, cookie, run);
		return;
	}
	error_set(&err, ERROR_UNIMPLEMENTED,
	    "this server runs with --explain=no and remembers nothing");
	rpc_call_finish(rpc, &err);
}

static void
explain(struct rpc_call *call, void *storage)
{
	submit(call, storage, explain_run);
}

static void
list_misses(struct rpc_call *call, void *storage)
{
	submit(call, storage, list_run);
}

void
explain_service_add(struct method_table *table, struct storage *storage)
{
	method_table_add(table, (struct rpc_method){SERVICE "Explain",
				    RPC_UNARY, explain, storage});
	method_table_add(table, (struct rpc_method){SERVICE "ListMisses",
				    RPC_UNARY, list_misses, storage});
}
