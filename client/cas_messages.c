/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and scanning; field numbers are those of the .proto files. Pure. */
#include "client/cas_messages.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "cas/digest_message.h"
#include "protos/wire.h"
#include "rpc/message.h"
#include "rpc/status.h"

/* What precedes a digest's bytes, its two fields, and its text. */
#define DIGEST_FIELD_MAX (6 * WIRE_VARINT_MAX + DIGEST_TEXT_MAX)

/* --- requests ------------------------------------------------------------- */

static size_t
put_bytes(uint8_t *out, uint32_t field, struct str bytes)
{
	size_t len = wire_put_bytes_header(out, field, bytes.len);

	if (bytes.len > 0)
		memcpy(out + len, bytes.data, bytes.len);
	return len + bytes.len;
}

/* A Digest message as a field. */
static size_t
put_digest(uint8_t *out, uint32_t field, const struct digest *digest)
{
	uint8_t body[DIGEST_FIELD_MAX];
	char text[DIGEST_TEXT_MAX];
	size_t len;

	digest_format_hash(digest, text);
	len = put_bytes(body, 1, str_from(text));
	if (digest->size > 0)
		len += wire_put_varint_field(body + len, 2, digest->size);
	return put_bytes(out, field, (struct str){(const char *)body, len});
}

static void
add_bytes(struct rpc_message *message, uint32_t field, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];

	if (bytes.len == 0)
		return;
	rpc_message_add(
	    message, header, wire_put_bytes_header(header, field, bytes.len));
	rpc_message_add(message, bytes.data, bytes.len);
}

static void
add_varint(struct rpc_message *message, uint32_t field, uint64_t value)
{
	uint8_t out[2 * WIRE_VARINT_MAX];

	if (value > 0)
		rpc_message_add(
		    message, out, wire_put_varint_field(out, field, value));
}

static struct rpc_message *
digests_message(struct str instance, const struct digest *digests, size_t count,
    enum digest_function function, uint32_t function_field)
{
	struct rpc_message *message = rpc_message_new();
	struct buffer list;

	/* Never reached: each digest has less. */
	buffer_init(&list, count * DIGEST_FIELD_MAX);
	for (size_t i = 0; i < count; i++) {
		char *room = buffer_reserve(&list, DIGEST_FIELD_MAX);

		list.len += put_digest((uint8_t *)room, 2, &digests[i]);
	}
	add_bytes(message, 1, instance);
	/* The message takes the list's memory. */
	rpc_message_add_take(message, list.data, list.len);
	add_varint(message, function_field, function);
	return message;
}

struct rpc_message *
cas_message_find_missing(struct str instance, enum digest_function function,
    const struct digest *digests, size_t count)
{
	return digests_message(instance, digests, count, function, 3);
}

struct rpc_message *
cas_message_batch_read(struct str instance, enum digest_function function,
    const struct digest *digests, size_t count)
{
	return digests_message(instance, digests, count, function, 4);
}

struct rpc_message *
cas_message_batch_update(struct str instance, enum digest_function function)
{
	struct rpc_message *message = rpc_message_new();

	add_bytes(message, 1, instance);
	add_varint(message, 5, function);
	return message;
}

void
cas_message_batch_update_add(struct rpc_message *message,
    const struct digest *digest, void *data, size_t len)
{
	uint8_t inner[DIGEST_FIELD_MAX + 2 * WIRE_VARINT_MAX];
	uint8_t outer[2 * WIRE_VARINT_MAX];
	size_t inner_len = put_digest(inner, 1, digest);

	inner_len += wire_put_bytes_header(inner + inner_len, 2, len);
	rpc_message_add(
	    message, outer, wire_put_bytes_header(outer, 2, inner_len + len));
	rpc_message_add(message, inner, inner_len);
	rpc_message_add_take(message, data, len);
}

struct rpc_message *
cas_message_read(struct str resource, uint64_t offset)
{
	struct rpc_message *message = rpc_message_new();

	add_bytes(message, 1, resource);
	add_varint(message, 2, offset);
	return message;
}

struct rpc_message *
cas_message_write(const struct cas_write_piece *piece)
{
	struct rpc_message *message = rpc_message_new();
	uint8_t header[2 * WIRE_VARINT_MAX];

	add_bytes(message, 1, piece->resource);
	add_varint(message, 2, piece->offset);
	add_varint(message, 3, piece->finish);
	if (piece->len > 0)
		rpc_message_add(message, header,
		    wire_put_bytes_header(header, 10, piece->len));
	rpc_message_add_take(message, piece->data, piece->len);
	return message;
}

/* --- responses ------------------------------------------------------------ */

static int
malformed(struct error *err)
{
	return error_set(
	    err, ERROR_INTERNAL, "the server's response is malformed");
}

static int
read_digest(struct str bytes, enum digest_function function,
    struct digest *digest, struct error *err)
{
	struct str hash;
	int64_t size;

	if (digest_message_read(bytes, &hash, &size) < 0)
		return malformed(err);
	return digest_parse(function, hash, size, digest, err);
}

static int
read_status(struct str bytes, struct cas_batch_item *item, struct error *err)
{
	struct str rest = bytes;
	struct wire_field field;
	int more;

	while ((more = wire_next(&rest, &field)) == 1) {
		if (field.number == 1 && field.type == WIRE_VARINT)
			item->code = (uint32_t)field.value;
		else if (field.number == 2 && field.type == WIRE_BYTES)
			item->text = field.bytes;
	}
	if (more < 0)
		return malformed(err);
	if (item->code != ERROR_OK)
		item->retry_delay_ms = rpc_status_retry_delay(bytes);
	return 0;
}

static int
read_item(struct str bytes, enum cas_batch_kind kind,
    enum digest_function function, struct cas_batch_item *item,
    struct error *err)
{
	uint32_t status = kind == CAS_BATCH_READ ? 3 : 2;
	struct wire_field field;
	bool has_digest = false;
	int more;

	*item = (struct cas_batch_item){.data = {"", 0}, .text = {"", 0}};
	while ((more = wire_next(&bytes, &field)) == 1) {
		if (field.number == 4 && field.type == WIRE_VARINT) {
			item->compressor = (uint32_t)field.value;
		} else if (field.type != WIRE_BYTES) {
			continue;
		} else if (field.number == 1) {
			has_digest = true;
			if (read_digest(
				field.bytes, function, &item->digest, err) < 0)
				return -1;
		} else if (field.number == status) {
			if (read_status(field.bytes, item, err) < 0)
				return -1;
		} else if (field.number == 2) {
			item->data = field.bytes;
		}
	}
	return more < 0 || !has_digest ? malformed(err) : 1;
}

int
cas_batch_next(struct str *rest, enum cas_batch_kind kind,
    enum digest_function function, struct cas_batch_item *item,
    struct error *err)
{
	struct wire_field field;
	int more;

	while ((more = wire_next(rest, &field)) == 1) {
		if (field.number == 1 && field.type == WIRE_BYTES)
			return read_item(
			    field.bytes, kind, function, item, err);
	}
	return more < 0 ? malformed(err) : 0;
}

/* --- resource names ------------------------------------------------------- */

void
cas_resource_name(struct buffer *name, struct str instance, const char *uuid,
    const struct digest *digest, bool zstd)
{
	char text[DIGEST_TEXT_MAX];
	int rc;

	rc = buffer_printf(name, "%.*s%s%s%s%s%s/%s", STR_ARG(instance),
	    instance.len > 0 ? "/" : "", uuid != NULL ? "uploads/" : "",
	    uuid != NULL ? uuid : "", uuid != NULL ? "/" : "",
	    zstd ? "compressed-blobs/zstd" : "blobs",
	    digest_format(digest, text));
	/* An instance is at most CAS_INSTANCE_MAX: cas_client_open. */
	if (rc < 0)
		abort();
}
