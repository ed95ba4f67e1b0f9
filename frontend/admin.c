/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administration. Every method runs on the pool, since each may wait for the
 * disk; a collection holds its thread until it is done.
 */
#include "frontend/admin.h"

#include <stdlib.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cas/collector.h"
#include "cas/digest_message.h"
#include "cas/pins.h"
#include "cas/store.h"
#include "frontend/method_table.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define SERVICE "/toolroot.admin.v1.Admin/"
/* In one answer. */
#define PINS_MAX 10000

/* In the call's arena. */
struct admin_call {
	struct task task; /* first */
	struct rpc_call *call;
	struct admin_service *service;
	/* Does the work and ends the call with OK, or -1. */
	int (*run)(struct admin_call *call, struct error *err);
};

static struct str
binary_str(ProtobufCBinaryData data)
{
	return (struct str){
	    data.data != NULL ? (const char *)data.data : "", data.len};
}

/* --- who may -------------------------------------------------------------- */

static int
admin_check_peer(struct rpc_call *call, struct error *err)
{
	static const struct str local[] = {{"unix:", 5}, {"ipv4:127.", 9},
	    {"ipv6:%5B::1%5D", 14}, {"ipv6:[::1]", 10}};
	struct str peer = rpc_call_peer(call);

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
		if (str_starts_with(peer, local[i]))
			return 0;
	}
	return error_set(err, ERROR_PERMISSION_DENIED,
	    "the store is administered from the server's own machine only");
}

static void *
admin_request(const struct admin_call *call,
    const ProtobufCMessageDescriptor *descriptor, struct error *err)
{
	return rpc_message_unpack(rpc_call_request(call->call), descriptor,
	    rpc_call_arena(call->call), err);
}

/* --- collections ---------------------------------------------------------- */

static void
collect_fill_wish(const Adminapi__CollectRequest *request, uint64_t used,
    struct collection_wish *wish)
{
	*wish = (struct collection_wish){
	    .run = request->run, .max_age_ms = request->max_age_ms};
	if (request->target_case ==
	    ADMINAPI__COLLECT_REQUEST__TARGET_MAX_BYTES) {
		wish->sized = true;
		wish->target_size = request->max_bytes;
	}
	if (request->target_case ==
	    ADMINAPI__COLLECT_REQUEST__TARGET_FREE_BYTES) {
		wish->sized = true;
		wish->target_size =
		    used > request->free_bytes ? used - request->free_bytes : 0;
	}
	if (request->one_instance)
		wish->instance = binary_str(request->instance_name);
}

static void
collect_fill_response(
    const struct collection_report *report, Adminapi__CollectResponse *response)
{
	response->bytes_before = report->bytes_before;
	response->bytes_after = report->bytes_after;
	response->limit_bytes = report->max_bytes;
	response->blobs = report->blobs;
	response->blob_bytes = report->blob_bytes;
	response->large_blobs = report->files;
	response->action_results = report->results;
	response->action_result_bytes = report->result_bytes;
	response->segments_removed = report->segments_removed;
	response->segments_compacted = report->segments_compacted;
	response->moved_bytes = report->moved_bytes;
	response->pinned_blobs = report->kept_blobs;
	response->pinned_bytes = report->kept_bytes;
	response->young_blobs = report->young_blobs;
	response->young_bytes = report->young_bytes;
	response->roots = report->roots;
	response->youngest_age_ms = report->youngest_age_ms;
	response->oldest_young_age_ms = report->oldest_age_ms;
	response->min_age_ms = report->min_age_ms;
	response->short_of = report->short_of;
}

static int
collect_run(struct admin_call *call, struct error *err)
{
	Adminapi__CollectResponse response = ADMINAPI__COLLECT_RESPONSE__INIT;
	const Adminapi__CollectRequest *request;
	struct collection_report report;
	struct collection_wish wish;
	struct store_usage usage;

	request =
	    admin_request(call, &adminapi__collect_request__descriptor, err);
	if (request == NULL)
		return -1;
	if (request->max_age_ms < 0)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "max_age_ms is negative");
	store_usage(call->service->store, &usage);
	collect_fill_wish(request, usage.bytes, &wish);
	if (collector_collect(call->service->collector, &wish, &report, err) <
	    0)
		return -1;
	collect_fill_response(&report, &response);
	rpc_call_reply_packed(call->call, &response.base);
	return 0;
}

/* --- pins ----------------------------------------------------------------- */

static int
set_pin_run(struct admin_call *call, struct error *err)
{
	const Adminapi__SetPinResponse response =
	    ADMINAPI__SET_PIN_RESPONSE__INIT;
	struct pin pin = {.created_ns = clock_wall_ns()};
	const Adminapi__SetPinRequest *request;
	char text[DIGEST_TEXT_MAX];

	request =
	    admin_request(call, &adminapi__set_pin_request__descriptor, err);
	if (request == NULL)
		return -1;
	if (request->pin == NULL ||
	    (request->pin->kind != ADMINAPI__PIN__KIND__BLOB &&
		request->pin->kind != ADMINAPI__PIN__KIND__TREE))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "pin.kind must be BLOB or TREE");
	pin.name = binary_str(request->pin->name);
	pin.kind = request->pin->kind == ADMINAPI__PIN__KIND__TREE ? PIN_TREE
								   : PIN_BLOB;
	if (digest_from_message(
		(enum digest_function)request->pin->digest_function,
		request->pin->digest, &pin.digest, err) < 0 ||
	    pin_set(call->service->store, &pin, err) < 0)
		return -1;
	log_info("pin_set", "name=\"%.*s\" digest=%s", STR_ARG(pin.name),
	    digest_format(&pin.digest, text));
	rpc_call_reply_packed(call->call, &response.base);
	return 0;
}

static int
remove_pin_run(struct admin_call *call, struct error *err)
{
	const Adminapi__RemovePinResponse response =
	    ADMINAPI__REMOVE_PIN_RESPONSE__INIT;
	const Adminapi__RemovePinRequest *request;
	struct str name;
	int rc;

	request =
	    admin_request(call, &adminapi__remove_pin_request__descriptor, err);
	if (request == NULL)
		return -1;
	name = binary_str(request->name);
	rc = pin_remove(call->service->store, name, err);
	if (rc == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "there is no pin \"%.*s\"",
		    name.len > PIN_NAME_MAX ? PIN_NAME_MAX : (int)name.len,
		    name.data);
	if (rc < 0)
		return -1;
	log_info("pin_removed", "name=\"%.*s\"", STR_ARG(name));
	rpc_call_reply_packed(call->call, &response.base);
	return 0;
}

struct pin_list {
	struct arena *arena;
	Adminapi__Pin **items; /* PINS_MAX of them */
	size_t count;
};

static int
list_pins_add(void *cookie, const struct pin *pin, struct error *err)
{
	struct pin_list *list = cookie;
	Adminapi__Pin *message = arena_alloc(list->arena, sizeof(*message));
	Google__Protobuf__Timestamp *created =
	    arena_alloc(list->arena, sizeof(*created));
	Reapi__Digest *digest = arena_alloc(list->arena, sizeof(*digest));
	char *text = arena_alloc(list->arena, DIGEST_TEXT_MAX);
	const char *name = arena_copy(list->arena, pin->name);

	if (list->count == PINS_MAX || message == NULL || created == NULL ||
	    digest == NULL || text == NULL || name == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "there are too many pins for one answer");
	adminapi__pin__init(message);
	google__protobuf__timestamp__init(created);
	reapi__digest__init(digest);
	digest_to_message(&pin->digest, text, digest);
	created->seconds = pin->created_ns / 1000000000;
	message->name =
	    (ProtobufCBinaryData){pin->name.len, (uint8_t *)(uintptr_t)name};
	message->kind = (Adminapi__Pin__Kind)pin->kind;
	message->digest = digest;
	message->digest_function =
	    (Reapi__DigestFunction__Value)pin->digest.function;
	message->created = created;
	list->items[list->count++] = message;
	return 0;
}

static int
list_pins_run(struct admin_call *call, struct error *err)
{
	Adminapi__ListPinsResponse response =
	    ADMINAPI__LIST_PINS_RESPONSE__INIT;
	struct pin_list list = {.arena = rpc_call_arena(call->call)};

	list.items = arena_zalloc(list.arena, PINS_MAX, sizeof(*list.items));
	if (list.items == NULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the call's memory is used up");
	if (pins_list(call->service->store, list_pins_add, &list, err) < 0)
		return -1;
	response.pins = list.items;
	response.n_pins = list.count;
	rpc_call_reply_packed(call->call, &response.base);
	return 0;
}

/* --- calls ---------------------------------------------------------------- */

static void
admin_task(struct task *task)
{
	struct admin_call *call = (struct admin_call *)task;
	struct error err;

	if (call->run(call, &err) < 0)
		rpc_call_finish(call->call, &err);
}

static void
admin_start(struct rpc_call *call, struct admin_service *service,
    int (*run)(struct admin_call *call, struct error *err))
{
	struct admin_call *admin;
	struct error err;

	if (admin_check_peer(call, &err) < 0) {
		rpc_call_finish(call, &err);
		return;
	}
	admin = arena_zalloc(rpc_call_arena(call), 1, sizeof(*admin));
	if (admin == NULL) {
		error_set(&err, ERROR_RESOURCE_EXHAUSTED,
		    "the call's memory is used up");
		rpc_call_finish(call, &err);
		return;
	}
	admin->task.run = admin_task;
	admin->call = call;
	admin->service = service;
	admin->run = run;
	rpc_call_submit(call, &admin->task);
}

static void
collect(struct rpc_call *call, void *cookie)
{
	admin_start(call, cookie, collect_run);
}

static void
set_pin(struct rpc_call *call, void *cookie)
{
	admin_start(call, cookie, set_pin_run);
}

static void
remove_pin(struct rpc_call *call, void *cookie)
{
	admin_start(call, cookie, remove_pin_run);
}

static void
list_pins(struct rpc_call *call, void *cookie)
{
	admin_start(call, cookie, list_pins_run);
}

void
admin_add(struct method_table *table, struct admin_service *service)
{
	const struct rpc_method methods[] = {
	    {SERVICE "Collect", RPC_UNARY, collect, service},
	    {SERVICE "SetPin", RPC_UNARY, set_pin, service},
	    {SERVICE "RemovePin", RPC_UNARY, remove_pin, service},
	    {SERVICE "ListPins", RPC_UNARY, list_pins, service},
	};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		method_table_add(table, methods[i]);
}
