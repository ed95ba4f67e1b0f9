/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values of the actions table. Pure; any thread. */
#include "cas/action_value.h"

#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "cas/crc32c.h"
#include "cas/digest_list.h"
#include "cas/little_endian.h"
#include "cas/provenance.h"
#include "cas/store_internal.h"
#include "protos/wire.h"

#define VALUE_HEADER_SIZE 32
/* Behind the fields of the provenance, with a number of its own. */
#define OWNER_FIELD 14
#define CHECKSUM_FIELD 15

void
action_key_digest(const struct action_key *key, struct digest *name)
{
	struct digest_hasher *hasher = digest_hasher_new(DIGEST_SHA256);
	uint8_t function = (uint8_t)key->action.function;
	uint8_t size[8];

	little_endian_put64(size, key->action.size);
	/* The instance comes last: all before it has a fixed length. */
	digest_hasher_update(hasher, &function, 1);
	digest_hasher_update(hasher, key->action.hash, DIGEST_HASH_MAX);
	digest_hasher_update(hasher, size, sizeof(size));
	digest_hasher_update(hasher, key->instance.data, key->instance.len);
	digest_hasher_finish(hasher, name);
	digest_hasher_free(hasher);
}

struct str
action_key_bytes(const struct digest *name)
{
	return (struct str){(const char *)name->hash, 32};
}

static int
action_value_append_digest(struct buffer *value, const struct digest *digest)
{
	uint8_t bytes[9 + DIGEST_HASH_MAX];
	size_t length = digest_hash_length(digest->function);

	bytes[0] = (uint8_t)digest->function;
	little_endian_put64(bytes + 1, digest->size);
	memcpy(bytes + 9, digest->hash, length);
	return buffer_append(value, bytes, 9 + length);
}

/* Of what stands before the checksum, but for the epoch, which changes in its
 * place. */
static uint32_t
action_value_checksum(const uint8_t *bytes, size_t len)
{
	uint32_t crc = crc32c(0, bytes, INDEX_ACTION_EPOCH);

	return crc32c(
	    crc, bytes + INDEX_ACTION_EPOCH + 4, len - INDEX_ACTION_EPOCH - 4);
}

static int
action_value_seal(struct buffer *value)
{
	uint8_t field[1 + 4] = {CHECKSUM_FIELD << 3 | WIRE_FIXED32};

	little_endian_put32(field + 1,
	    action_value_checksum((const uint8_t *)value->data, value->len));
	return buffer_append(value, field, sizeof(field));
}

static int
action_value_append_owner(struct buffer *value, uint16_t owner)
{
	uint8_t field[2 * WIRE_VARINT_MAX];

	if (owner == 0)
		return 0;
	return buffer_append(
	    value, field, wire_put_varint_field(field, OWNER_FIELD, owner));
}

int
action_value_encode(const struct action_key *key, uint16_t owner,
    struct str result, const struct digest_list *blobs,
    const struct provenance *provenance, struct buffer *value)
{
	uint8_t header[VALUE_HEADER_SIZE] = {0};
	int rc;

	little_endian_put64(header, (uint64_t)clock_wall_ns());
	little_endian_put32(header + INDEX_ACTION_EPOCH, store_epoch());
	little_endian_put32(header + 12, (uint32_t)blobs->count);
	little_endian_put64(header + 16, result.len);
	little_endian_put64(header + 24, key->instance.len);
	rc = buffer_append(value, header, sizeof(header));
	if (rc == 0)
		rc = action_value_append_digest(value, &key->action);
	if (rc == 0)
		rc =
		    buffer_append(value, key->instance.data, key->instance.len);
	if (rc == 0)
		rc = buffer_append(value, result.data, result.len);
	for (size_t i = 0; rc == 0 && i < blobs->count; i++)
		rc = action_value_append_digest(value, &blobs->items[i]);
	if (rc == 0 && provenance != NULL)
		rc = provenance_encode(provenance, value);
	if (rc == 0)
		rc = action_value_append_owner(value, owner);
	if (rc == 0)
		rc = action_value_seal(value);
	return rc;
}

int
action_value_take_digest(struct str *rest, struct digest *digest)
{
	const uint8_t *in = (const uint8_t *)rest->data;
	size_t length;

	memset(digest, 0, sizeof(*digest));
	if (rest->len < 9)
		return -1;
	digest->function = (enum digest_function)in[0];
	digest->size = little_endian_get64(in + 1);
	length = digest_hash_length(digest->function);
	if (length == 0 || rest->len < 9 + length)
		return -1;
	memcpy(digest->hash, in + 9, length);
	rest->data += 9 + length;
	rest->len -= 9 + length;
	return 0;
}

int
action_value_decode(
    struct str bytes, struct action_value *value, struct error *err)
{
	const uint8_t *in = (const uint8_t *)bytes.data;
	uint64_t instance_length, result_length;

	if (bytes.len < VALUE_HEADER_SIZE)
		goto malformed;
	value->written_at = little_endian_get64(in);
	value->epoch = little_endian_get32(in + INDEX_ACTION_EPOCH);
	value->count = little_endian_get32(in + 12);
	result_length = little_endian_get64(in + 16);
	instance_length = little_endian_get64(in + 24);
	bytes.data += VALUE_HEADER_SIZE;
	bytes.len -= VALUE_HEADER_SIZE;
	if (action_value_take_digest(&bytes, &value->action) < 0 ||
	    instance_length > bytes.len ||
	    result_length > bytes.len - instance_length)
		goto malformed;
	value->instance = (struct str){bytes.data, (size_t)instance_length};
	value->result =
	    (struct str){bytes.data + instance_length, (size_t)result_length};
	value->blobs =
	    (const uint8_t *)bytes.data + instance_length + result_length;
	value->blobs_length = bytes.len - instance_length - result_length;
	return 0;
malformed:
	return error_set(
	    err, ERROR_DATA_LOSS, "store index: an action result is malformed");
}

/* What stands behind the blobs; data NULL when they are malformed. */
static struct str
action_value_rest(const struct action_value *value)
{
	struct str rest = {(const char *)value->blobs, value->blobs_length};
	struct digest ignored;

	for (uint32_t i = 0; i < value->count; i++) {
		if (action_value_take_digest(&rest, &ignored) < 0)
			return (struct str){NULL, 0};
	}
	return rest;
}

bool
action_value_is_sound(
    struct str key, struct str bytes, const struct action_value *value)
{
	const struct action_key own = {value->instance, value->action};
	struct str rest = action_value_rest(value);
	struct wire_field field = {.number = 0};
	struct digest name;

	action_key_digest(&own, &name);
	if (rest.data == NULL || !str_equal(key, action_key_bytes(&name)))
		return false;
	if (rest.len == 0)
		return true;
	while (wire_next(&rest, &field) > 0)
		continue;
	/* The last field is the checksum. */
	return rest.len == 0 && field.number == CHECKSUM_FIELD &&
	       field.type == WIRE_FIXED32 &&
	       field.value == action_value_checksum(
				  (const uint8_t *)bytes.data, bytes.len - 5);
}

uint16_t
action_value_owner(struct str bytes)
{
	struct action_value value;
	struct wire_field field;
	struct error ignored;
	struct str rest;

	if (action_value_decode(bytes, &value, &ignored) < 0)
		return 0;
	rest = action_value_rest(&value);
	while (rest.len > 0 && wire_next(&rest, &field) > 0) {
		if (field.number == OWNER_FIELD && field.type == WIRE_VARINT &&
		    field.value <= UINT16_MAX)
			return (uint16_t)field.value;
	}
	return 0;
}

bool
action_value_provenance(
    const struct action_value *value, struct provenance *provenance)
{
	return provenance_decode(action_value_rest(value), provenance);
}
