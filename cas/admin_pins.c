/* SPDX-License-Identifier: Apache-2.0 */
/* SetPin, RemovePin, ListPins. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cas/admin_internal.h"
#include "cas/digest_message.h"
#include "cas/pins.h"
#include "protos/binary.h"

/* In one answer. */
#define PINS_MAX 10000

const ProtobufCMessage *
admin_set_pin(const struct admin_target *target, const ProtobufCMessage *base,
    struct arena *arena, struct error *err)
{
	static const Adminapi__SetPinResponse response =
	    ADMINAPI__SET_PIN_RESPONSE__INIT;
	const Adminapi__SetPinRequest *request =
	    (const Adminapi__SetPinRequest *)base;
	struct pin pin = {.created_ns = clock_wall_ns()};
	char text[DIGEST_TEXT_MAX];

	(void)arena;
	if (request->pin == NULL ||
	    (request->pin->kind != ADMINAPI__PIN__KIND__BLOB &&
		request->pin->kind != ADMINAPI__PIN__KIND__TREE)) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "pin.kind must be BLOB or TREE");
		return NULL;
	}
	pin.name = binary_str(request->pin->name);
	pin.kind = request->pin->kind == ADMINAPI__PIN__KIND__TREE ? PIN_TREE
								   : PIN_BLOB;
	if (digest_from_message(
		(enum digest_function)request->pin->digest_function,
		request->pin->digest, &pin.digest, err) < 0 ||
	    pin_set(target->store, &pin, err) < 0)
		return NULL;
	log_info("pin_set", "name=\"%.*s\" digest=%s", STR_ARG(pin.name),
	    digest_format(&pin.digest, text));
	return &response.base;
}

const ProtobufCMessage *
admin_remove_pin(const struct admin_target *target,
    const ProtobufCMessage *base, struct arena *arena, struct error *err)
{
	static const Adminapi__RemovePinResponse response =
	    ADMINAPI__REMOVE_PIN_RESPONSE__INIT;
	const struct str name =
	    binary_str(((const Adminapi__RemovePinRequest *)base)->name);
	int rc = pin_remove(target->store, name, err);

	(void)arena;
	if (rc == 0)
		error_set(err, ERROR_NOT_FOUND, "there is no pin \"%.*s\"",
		    name.len > PIN_NAME_MAX ? PIN_NAME_MAX : (int)name.len,
		    name.data);
	if (rc != 1)
		return NULL;
	log_info("pin_removed", "name=\"%.*s\"", STR_ARG(name));
	return &response.base;
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

	if (list->count == PINS_MAX)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "there are more than %d pins, too many for one answer",
		    PINS_MAX);
	if (message == NULL) {
		admin_no_memory(err);
		return -1;
	}
	adminapi__pin__init(message);
	message->kind = (Adminapi__Pin__Kind)pin->kind;
	message->digest_function =
	    (Reapi__DigestFunction__Value)pin->digest.function;
	message->digest = admin_digest(list->arena, &pin->digest, err);
	message->created = admin_time(list->arena, pin->created_ns, err);
	if (message->digest == NULL || message->created == NULL ||
	    admin_copy(list->arena, pin->name, &message->name, err) < 0)
		return -1;
	list->items[list->count++] = message;
	return 0;
}

const ProtobufCMessage *
admin_list_pins(const struct admin_target *target, const ProtobufCMessage *base,
    struct arena *arena, struct error *err)
{
	Adminapi__ListPinsResponse *response =
	    arena_alloc(arena, sizeof(*response));
	struct pin_list list = {.arena = arena};

	(void)base;
	list.items = arena_zalloc(arena, PINS_MAX, sizeof(struct pin *));
	if (response == NULL || list.items == NULL)
		return admin_no_memory(err);
	if (pins_list(target->store, list_pins_add, &list, err) < 0)
		return NULL;
	adminapi__list_pins_response__init(response);
	response->pins = list.items;
	response->n_pins = list.count;
	return &response->base;
}
