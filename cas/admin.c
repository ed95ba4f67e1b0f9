/* SPDX-License-Identifier: Apache-2.0 */
/* The table, and what the methods share. */
#include "cas/admin.h"

#include "base/arena.h"
#include "base/error.h"
#include "cas/admin_internal.h"
#include "cas/digest_message.h"

static const struct admin_method methods[] = {
    {ADMIN_PATH("Collect"), &adminapi__collect_request__descriptor,
	&adminapi__collect_response__descriptor, admin_collect},
    {ADMIN_PATH("WatchCollection"),
	&adminapi__watch_collection_request__descriptor,
	&adminapi__collection_progress__descriptor, admin_watch_collection},
    {ADMIN_PATH("SetPin"), &adminapi__set_pin_request__descriptor,
	&adminapi__set_pin_response__descriptor, admin_set_pin},
    {ADMIN_PATH("RemovePin"), &adminapi__remove_pin_request__descriptor,
	&adminapi__remove_pin_response__descriptor, admin_remove_pin},
    {ADMIN_PATH("ListPins"), &adminapi__list_pins_request__descriptor,
	&adminapi__list_pins_response__descriptor, admin_list_pins},
    {ADMIN_PATH("RemoveResults"), &adminapi__remove_results_request__descriptor,
	&adminapi__remove_results_response__descriptor, admin_remove_results},
    {ADMIN_PATH("GetStatistics"), &adminapi__get_statistics_request__descriptor,
	&adminapi__statistics__descriptor, admin_get_statistics},
};

const struct admin_method *
admin_method_at(size_t n)
{
	return n < sizeof(methods) / sizeof(methods[0]) ? &methods[n] : NULL;
}

const struct admin_method *
admin_method_find(struct str path)
{
	const struct admin_method *method;

	for (size_t i = 0; (method = admin_method_at(i)) != NULL; i++) {
		if (str_equal(str_from(method->path), path))
			return method;
	}
	return NULL;
}

/* --- shared --------------------------------------------------------------- */

void *
admin_no_memory(struct error *err)
{
	error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the answer does not fit the memory of a call; ask for less");
	return NULL;
}

int
admin_copy(struct arena *arena, struct str text, ProtobufCBinaryData *data,
    struct error *err)
{
	data->data = (uint8_t *)arena_copy(arena, text);
	data->len = text.len;
	if (data->data != NULL)
		return 0;
	admin_no_memory(err);
	return -1;
}

Reapi__Digest *
admin_digest(
    struct arena *arena, const struct digest *digest, struct error *err)
{
	Reapi__Digest *message = digest_message_new(arena, digest);

	return message != NULL ? message : admin_no_memory(err);
}

Google__Protobuf__Timestamp *
admin_time(struct arena *arena, int64_t ns, struct error *err)
{
	Google__Protobuf__Timestamp *message =
	    arena_alloc(arena, sizeof(*message));

	if (message == NULL)
		return admin_no_memory(err);
	google__protobuf__timestamp__init(message);
	message->seconds = ns / 1000000000;
	message->nanos = (int32_t)(ns % 1000000000);
	return message;
}
