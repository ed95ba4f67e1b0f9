/* SPDX-License-Identifier: Apache-2.0 */
/* Making, cutting and reading google.rpc.Status. No state. */
#include "rpc/status.h"

#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "protos/arena_allocator.h"

#define STATUS_URL_RETRY "type.googleapis.com/google.rpc.RetryInfo"
#define STATUS_URL_PRECONDITION \
	"type.googleapis.com/google.rpc.PreconditionFailure"
/* What a peer's status may take while we look for RetryInfo. */
#define STATUS_PARSE_MEMORY (64u << 10)

static int
status_no_memory(const struct arena *arena, struct error *err)
{
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the details of an error do not fit into the memory of one call "
	    "(%zu bytes)",
	    arena->cap);
}

static Google__Protobuf__Any *
status_any(
    struct arena *arena, const char *url, const ProtobufCMessage *content)
{
	Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));
	struct str bytes;

	if (any == NULL || protos_pack(arena, content, &bytes) == NULL)
		return NULL;
	google__protobuf__any__init(any);
	any->type_url = arena_copy(arena, str_from(url));
	any->value.data = (uint8_t *)(uintptr_t)bytes.data;
	any->value.len = bytes.len;
	return any->type_url != NULL ? any : NULL;
}

static int
status_append(struct arena *arena, GrpcStatus__Status *status,
    Google__Protobuf__Any *any, struct error *err)
{
	Google__Protobuf__Any **details;

	if (any == NULL)
		return status_no_memory(arena, err);
	details = arena_zalloc(arena, status->n_details + 1, sizeof(*details));
	if (details == NULL)
		return status_no_memory(arena, err);
	for (size_t i = 0; i < status->n_details; i++)
		details[i] = status->details[i];
	details[status->n_details++] = any;
	status->details = details;
	return 0;
}

int
rpc_status_add_retry(struct arena *arena, GrpcStatus__Status *status,
    uint32_t delay_ms, struct error *err)
{
	Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
	GrpcStatus__RetryInfo retry = GRPC_STATUS__RETRY_INFO__INIT;

	delay.seconds = delay_ms / 1000;
	delay.nanos = (int32_t)(delay_ms % 1000 * 1000000);
	retry.retry_delay = &delay;
	return status_append(arena, status,
	    status_any(arena, STATUS_URL_RETRY, &retry.base), err);
}

GrpcStatus__Status *
rpc_status_from_error(struct arena *arena, const struct error *error)
{
	GrpcStatus__Status *status = arena_alloc(arena, sizeof(*status));
	struct error cap;

	if (status == NULL)
		return NULL;
	grpc_status__status__init(status);
	status->code = (int32_t)error->code;
	status->message = arena_copy(arena, str_from(error->text));
	if (status->message == NULL)
		return NULL;
	if (error->retry_delay_ms > 0 && rpc_status_add_retry(arena, status,
					     error->retry_delay_ms, &cap) < 0)
		return NULL;
	return status;
}

static GrpcStatus__PreconditionFailure__Violation *
status_violation(struct arena *arena, const struct rpc_violation *from)
{
	GrpcStatus__PreconditionFailure__Violation *to =
	    arena_alloc(arena, sizeof(*to));

	if (to == NULL)
		return NULL;
	grpc_status__precondition_failure__violation__init(to);
	to->type = arena_copy(arena, from->type);
	to->subject.data = (uint8_t *)(uintptr_t)from->subject.data;
	to->subject.len = from->subject.len;
	to->description = arena_copy(arena, from->description);
	return to->type != NULL && to->description != NULL ? to : NULL;
}

int
rpc_status_add_violations(struct arena *arena, GrpcStatus__Status *status,
    const struct rpc_violation *violations, size_t count, struct error *err)
{
	GrpcStatus__PreconditionFailure failure =
	    GRPC_STATUS__PRECONDITION_FAILURE__INIT;

	failure.violations =
	    arena_zalloc(arena, count, sizeof(*failure.violations));
	if (failure.violations == NULL)
		return status_no_memory(arena, err);
	for (; failure.n_violations < count; failure.n_violations++) {
		size_t i = failure.n_violations;

		failure.violations[i] = status_violation(arena, &violations[i]);
		if (failure.violations[i] == NULL)
			return status_no_memory(arena, err);
	}
	return status_append(arena, status,
	    status_any(arena, STATUS_URL_PRECONDITION, &failure.base), err);
}

struct str
rpc_status_text(const char *text)
{
	struct str cut = str_from(text);

	if (cut.len <= RPC_STATUS_TEXT_MAX)
		return cut;
	cut.len = RPC_STATUS_TEXT_MAX;
	/* Back to the first byte of the character that would be cut. */
	while (cut.len > 0 && ((uint8_t)cut.data[cut.len] & 0xc0) == 0x80)
		cut.len--;
	return cut;
}

/* Leaves out violations of the detail until at least `excess` bytes are gone;
 * NULL when that leaves none, or it is of another type. */
static Google__Protobuf__Any *
status_shorten(
    struct arena *arena, const Google__Protobuf__Any *any, size_t excess)
{
	GrpcStatus__PreconditionFailure *failure;
	struct error err;
	size_t saved = 0;

	if (strcmp(any->type_url, STATUS_URL_PRECONDITION) != 0)
		return NULL;
	failure = protos_unpack(arena,
	    &grpc_status__precondition_failure__descriptor,
	    (struct str){(const char *)any->value.data, any->value.len}, &err);
	if (failure == NULL)
		return NULL;
	/* Tag and length of a violation come on top: a little more is saved. */
	while (failure->n_violations > 0 && saved < excess)
		saved += protobuf_c_message_get_packed_size(
		    &failure->violations[--failure->n_violations]->base);
	return failure->n_violations > 0
		   ? status_any(arena, any->type_url, &failure->base)
		   : NULL;
}

struct str
rpc_status_pack(struct arena *arena, const GrpcStatus__Status *status)
{
	GrpcStatus__Status cut = *status;
	struct str text = rpc_status_text(status->message);
	struct str packed = {NULL, 0};
	size_t size;

	cut.message = arena_copy(arena, text);
	cut.details =
	    arena_zalloc(arena, status->n_details + 1, sizeof(*cut.details));
	if (cut.message == NULL || cut.details == NULL)
		return packed;
	for (size_t i = 0; i < status->n_details; i++)
		cut.details[i] = status->details[i];
	while ((size = protobuf_c_message_get_packed_size(&cut.base)) >
		   RPC_STATUS_DETAILS_MAX &&
	       cut.n_details > 0) {
		Google__Protobuf__Any **last = &cut.details[cut.n_details - 1];

		*last =
		    status_shorten(arena, *last, size - RPC_STATUS_DETAILS_MAX);
		if (*last == NULL)
			cut.n_details--;
	}
	protos_pack(arena, &cut.base, &packed);
	return packed;
}

static uint32_t
status_delay_ms(const Google__Protobuf__Duration *delay)
{
	int64_t ms;

	if (delay == NULL || delay->seconds < 0 || delay->nanos < 0)
		return 0;
	if (delay->seconds > UINT32_MAX / 1000 - 1)
		return UINT32_MAX;
	ms = delay->seconds * 1000 + delay->nanos / 1000000;
	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

uint32_t
rpc_status_retry_delay(struct str packed)
{
	struct arena arena;
	struct error err;
	GrpcStatus__Status *status;
	GrpcStatus__RetryInfo *retry;
	uint32_t delay = 0;

	arena_init(&arena, STATUS_PARSE_MEMORY);
	status = protos_unpack(
	    &arena, &grpc_status__status__descriptor, packed, &err);
	for (size_t i = 0; status != NULL && i < status->n_details; i++) {
		const Google__Protobuf__Any *any = status->details[i];

		if (strcmp(any->type_url, STATUS_URL_RETRY) != 0)
			continue;
		retry = protos_unpack(&arena,
		    &grpc_status__retry_info__descriptor,
		    (struct str){(const char *)any->value.data, any->value.len},
		    &err);
		if (retry != NULL)
			delay = status_delay_ms(retry->retry_delay);
	}
	arena_clear(&arena);
	return delay;
}
