/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of REAPI's Digest message. Pure. */
#include "cas/digest_message.h"

#include "base/arena.h"
#include "base/error.h"
#include "protos/wire.h"

int
digest_from_message(enum digest_function function, const Reapi__Digest *message,
    struct digest *digest, struct error *err)
{
	struct str hash;

	if (message == NULL)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "a digest is absent");
	hash =
	    (struct str){(const char *)message->hash.data, message->hash.len};
	return digest_parse(function, hash, message->size_bytes, digest, err);
}

int
digest_message_read(struct str encoded, struct str *hash, int64_t *size)
{
	struct wire_field field;
	int more;

	*hash = STR("");
	*size = 0;
	while ((more = wire_next(&encoded, &field)) > 0) {
		if (field.number == 1 && field.type == WIRE_BYTES)
			*hash = field.bytes;
		else if (field.number == 2 && field.type == WIRE_VARINT)
			*size = (int64_t)field.value;
	}
	return more;
}

void
digest_to_message(const struct digest *digest,
    char text[static DIGEST_TEXT_MAX], Reapi__Digest *message)
{
	reapi__digest__init(message);
	digest_format_hash(digest, text);
	message->hash.data = (uint8_t *)text;
	message->hash.len = strlen(text);
	message->size_bytes = (int64_t)digest->size;
}

Reapi__Digest *
digest_message_new(struct arena *arena, const struct digest *digest)
{
	Reapi__Digest *message = arena_alloc(arena, sizeof(*message));
	char *text = arena_alloc(arena, DIGEST_TEXT_MAX);

	if (message == NULL || text == NULL)
		return NULL;
	digest_to_message(digest, text, message);
	return message;
}
