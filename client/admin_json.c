/* SPDX-License-Identifier: Apache-2.0 */
/* Around jansson. */
#include "client/admin_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

json_t *
admin_json_bytes(ProtobufCBinaryData data)
{
	json_t *value = json_stringn((const char *)data.data, data.len);
	char *text;

	if (value != NULL)
		return value;
	text = xstrndup((const char *)data.data, data.len);
	for (size_t i = 0; i < data.len; i++) {
		if ((unsigned char)text[i] >= 0x80)
			text[i] = '?';
	}
	value = json_stringn(text, data.len);
	free(text);
	return value;
}

json_t *
admin_json_digest(const Reapi__Digest *digest)
{
	return json_sprintf("%.*s/%" PRId64, (int)digest->hash.len,
	    (const char *)digest->hash.data, digest->size_bytes);
}

static json_t *
json_use(const Adminapi__InstanceUse *use)
{
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "instance",
	    use->nameless ? json_null() : admin_json_bytes(use->name), "bytes",
	    (json_int_t)use->bytes, "blobs", (json_int_t)use->blobs,
	    "action_results", (json_int_t)use->action_results, "quota_bytes",
	    (json_int_t)use->quota_bytes, "floor_bytes",
	    (json_int_t)use->floor_bytes);
}

json_t *
admin_json_uses(Adminapi__InstanceUse *const *uses, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_use(uses[i]));
	return list;
}

int
admin_json_print(json_t *value, struct error *err)
{
	int rc = json_dumpf(value, stdout, JSON_ENSURE_ASCII);

	json_decref(value);
	if (rc < 0)
		return error_set(err, ERROR_INTERNAL,
		    "the report cannot be written as JSON");
	putchar('\n');
	return 0;
}
