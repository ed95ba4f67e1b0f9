/* SPDX-License-Identifier: Apache-2.0 */
/* Making and freeing of operations. */
#include "executor/operation.h"

#include <stdlib.h>
#include <uuid/uuid.h>

#include "base/clock.h"
#include "base/memory.h"

struct str
operation_merge_key(struct str instance, const struct digest *action_digest)
{
	uint32_t function = (uint32_t)action_digest->function;
	size_t fixed = sizeof(function) + sizeof(action_digest->size) +
		       sizeof(action_digest->hash);
	char *key = xmalloc(fixed + instance.len);
	char *next = key;

	memcpy(next, &function, sizeof(function));
	next += sizeof(function);
	memcpy(next, &action_digest->size, sizeof(action_digest->size));
	next += sizeof(action_digest->size);
	memcpy(next, action_digest->hash, sizeof(action_digest->hash));
	next += sizeof(action_digest->hash);
	if (instance.len > 0)
		memcpy(next, instance.data, instance.len);
	return (struct str){key, fixed + instance.len};
}

char *
operation_name_new(struct str instance)
{
	char uuid_text[UUID_STR_LEN];
	uuid_t uuid;

	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, uuid_text);
	return xasprintf("%.*s%s%s%s", STR_ARG(instance),
	    instance.len > 0 ? "/" : "", OPERATION_NAME_MIDDLE, uuid_text);
}

const char *
operation_stage_name(enum operation_stage stage)
{
	static const char *const names[OPERATION_STAGES] = {
	    "queue", "fetch", "stage", "run", "collect", "upload"};

	return names[stage];
}

static struct str
operation_store(char **next, struct str text)
{
	struct str copy = {*next, text.len};

	if (text.len > 0)
		memcpy(*next, text.data, text.len);
	*next += text.len;
	return copy;
}

static int32_t
operation_clamp(int32_t priority)
{
	if (priority < OPERATION_PRIORITY_MIN)
		return OPERATION_PRIORITY_MIN;
	if (priority > OPERATION_PRIORITY_MAX)
		return OPERATION_PRIORITY_MAX;
	return priority;
}

struct operation *
operation_new(const struct operation_request *request, struct error *err)
{
	struct operation *operation = xcalloc(1, sizeof(*operation));
	char *next;

	if (platform_init(&operation->platform, request->properties,
		request->property_count, err) < 0) {
		free(operation);
		return NULL;
	}
	atomic_init(&operation->references, 1);
	operation->bytes = request->instance.len + request->action.len +
			   request->request_metadata.len +
			   request->invocation.len + request->traceparent.len +
			   request->identity.len;
	operation->memory = xmalloc(operation->bytes + 1);
	next = operation->memory;
	operation->instance = operation_store(&next, request->instance);
	operation->action = operation_store(&next, request->action);
	operation->request_metadata =
	    operation_store(&next, request->request_metadata);
	operation->invocation_id = operation_store(&next, request->invocation);
	operation->traceparent = operation_store(&next, request->traceparent);
	operation->identity = operation_store(&next, request->identity);
	operation->name = str_from(operation_name_new(request->instance));
	operation->merge_key =
	    operation_merge_key(request->instance, &request->action_digest);
	operation->action_digest = request->action_digest;
	operation->timeout_ms = request->timeout_ms;
	operation->queued_ns = request->queued_ns;
	operation->do_not_cache = request->do_not_cache;
	operation->priority = operation_clamp(request->priority);
	operation->abandoned_ms = CLOCK_NEVER;
	operation->turn.position = HEAP_OUTSIDE;
	operation->deadline.position = HEAP_OUTSIDE;
	return operation;
}

struct operation *
operation_ref(struct operation *operation)
{
	atomic_fetch_add_explicit(
	    &operation->references, 1, memory_order_relaxed);
	return operation;
}

void
operation_unref(struct operation *operation)
{
	if (operation == NULL ||
	    atomic_fetch_sub_explicit(
		&operation->references, 1, memory_order_acq_rel) != 1)
		return;
	platform_clear(&operation->platform);
	free((char *)(uintptr_t)operation->name.data);
	free((char *)(uintptr_t)operation->merge_key.data);
	free((char *)(uintptr_t)operation->early.data);
	free((char *)(uintptr_t)operation->response.data);
	free(operation->memory);
	free(operation);
}
