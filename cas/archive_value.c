/* SPDX-License-Identifier: Apache-2.0 */
/* Texts stand behind their length, 4 bytes. */
#include "cas/archive_value.h"

#include "base/buffer.h"
#include "base/error.h"
#include "cas/action_value.h"
#include "cas/little_endian.h"
#include "cas/names.h"
#include "cas/pins.h"
#include "cas/provenance.h"
#include "cas/store.h"

/* --- encoding ------------------------------------------------------------- */

static int
put_text(struct buffer *buffer, struct str text)
{
	uint8_t length[4];

	little_endian_put32(length, (uint32_t)text.len);
	if (buffer_append(buffer, length, sizeof(length)) < 0)
		return -1;
	return buffer_append(buffer, text.data, text.len);
}

static int
put_number(struct buffer *buffer, uint64_t number)
{
	uint8_t bytes[8];

	little_endian_put64(bytes, number);
	return buffer_append(buffer, bytes, sizeof(bytes));
}

static int
put_digest(struct buffer *buffer, const struct digest *digest)
{
	const uint8_t function = (uint8_t)digest->function;

	if (buffer_append(buffer, &function, 1) < 0 ||
	    put_number(buffer, digest->size) < 0)
		return -1;
	return buffer_append(
	    buffer, digest->hash, digest_hash_length(digest->function));
}

void
archive_value_digest(struct buffer *buffer, const struct digest *digest)
{
	/* The limit has room. */
	(void)!put_digest(buffer, digest);
}

int
archive_value_result(struct buffer *buffer, const struct action_value *value,
    const struct provenance *provenance)
{
	if (put_text(buffer, value->instance) < 0 ||
	    put_digest(buffer, &value->action) < 0 ||
	    put_text(buffer, value->result) < 0)
		return -1;
	return provenance_encode(provenance, buffer);
}

void
archive_value_name(struct buffer *buffer, const struct name_key *key,
    const struct name_entry *entry)
{
	(void)!put_text(buffer, key->instance);
	(void)!put_text(buffer, key->name);
	(void)!put_digest(buffer, &entry->root);
	(void)!put_number(buffer, (uint64_t)entry->created_ns);
	(void)!put_text(buffer, entry->details);
}

void
archive_value_pin(struct buffer *buffer, const struct pin *pin)
{
	const uint8_t kind = (uint8_t)pin->kind;

	(void)!put_text(buffer, pin->name);
	(void)!buffer_append(buffer, &kind, 1);
	(void)!put_number(buffer, (uint64_t)pin->created_ns);
	(void)!put_digest(buffer, &pin->digest);
}

/* --- decoding ------------------------------------------------------------- */

static int
take(struct str *rest, size_t length, struct str *bytes)
{
	if (length > rest->len)
		return -1;
	*bytes = (struct str){rest->data, length};
	rest->data += length;
	rest->len -= length;
	return 0;
}

static int
take_text(struct str *rest, struct str *text)
{
	struct str length;

	if (take(rest, 4, &length) < 0)
		return -1;
	return take(
	    rest, little_endian_get32((const uint8_t *)length.data), text);
}

static int
take_number(struct str *rest, uint64_t *number)
{
	struct str bytes;

	if (take(rest, 8, &bytes) < 0)
		return -1;
	*number = little_endian_get64((const uint8_t *)bytes.data);
	return 0;
}

static int
malformed(const char *what, struct error *err)
{
	return error_set(
	    err, ERROR_INVALID_ARGUMENT, "the archive is malformed: %s", what);
}

int
archive_decode_result(struct str bytes, struct action_key *key,
    struct str *result, struct provenance *provenance, struct error *err)
{
	if (take_text(&bytes, &key->instance) < 0 ||
	    action_value_take_digest(&bytes, &key->action) < 0 ||
	    take_text(&bytes, result) < 0)
		return malformed("an action result", err);
	(void)provenance_decode(bytes, provenance);
	return 0;
}

int
archive_decode_name(struct str bytes, struct name_key *key,
    struct name_entry *entry, struct error *err)
{
	uint64_t created;

	if (take_text(&bytes, &key->instance) < 0 ||
	    take_text(&bytes, &key->name) < 0 ||
	    action_value_take_digest(&bytes, &entry->root) < 0 ||
	    take_number(&bytes, &created) < 0 ||
	    take_text(&bytes, &entry->details) < 0 || bytes.len > 0)
		return malformed("the name of a toolchain", err);
	entry->created_ns = (int64_t)created;
	return 0;
}

int
archive_decode_pin(struct str bytes, struct pin *pin, struct error *err)
{
	uint64_t created;
	struct str kind;

	if (take_text(&bytes, &pin->name) < 0 || take(&bytes, 1, &kind) < 0 ||
	    take_number(&bytes, &created) < 0 ||
	    action_value_take_digest(&bytes, &pin->digest) < 0 ||
	    bytes.len > 0 ||
	    (kind.data[0] != PIN_BLOB && kind.data[0] != PIN_TREE))
		return malformed("a pin", err);
	pin->kind = (enum pin_kind)kind.data[0];
	pin->created_ns = (int64_t)created;
	return 0;
}
