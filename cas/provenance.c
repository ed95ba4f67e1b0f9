/* SPDX-License-Identifier: Apache-2.0 */
/* Fields in the protobuf wire format, so that later ones can be added. */
#include "cas/provenance.h"

#include <stdio.h>
#include <string.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "protos/arena_allocator.h"
#include "protos/wire.h"

/* Larger Actions and Commands are not looked into. */
#define MESSAGE_MAX ((size_t)4 << 20)
#define UNPACKED_MAX ((size_t)32 << 20)

enum {
	PROVENANCE_WRITER = 1,
	PROVENANCE_WORKER = 2,
	PROVENANCE_TARGET = 3,
	PROVENANCE_MNEMONIC = 4,
	PROVENANCE_INVOCATION = 5,
	PROVENANCE_TOOLCHAIN = 6, /* <function>/<hash>/<size> */
};

/* --- bytes ---------------------------------------------------------------- */

static int
provenance_put(struct buffer *buffer, uint32_t number, struct str text)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t length;

	if (text.len == 0)
		return 0;
	if (text.len > PROVENANCE_TEXT_MAX)
		text.len = PROVENANCE_TEXT_MAX;
	length = wire_put_bytes_header(header, number, text.len);
	if (buffer_append(buffer, header, length) < 0)
		return -1;
	return buffer_append(buffer, text.data, text.len);
}

int
provenance_encode(const struct provenance *provenance, struct buffer *buffer)
{
	const struct str texts[] = {provenance->writer, provenance->worker,
	    provenance->target, provenance->mnemonic, provenance->invocation};
	char text[DIGEST_TEXT_MAX + 8], digest[DIGEST_TEXT_MAX];
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < 5; i++)
		rc = provenance_put(buffer, PROVENANCE_WRITER + i, texts[i]);
	for (size_t i = 0; rc == 0 && i < provenance->toolchain_count; i++) {
		const struct digest *root = &provenance->toolchains[i];

		snprintf(text, sizeof(text), "%s/%s",
		    digest_function_name(root->function),
		    digest_format(root, digest));
		rc = provenance_put(
		    buffer, PROVENANCE_TOOLCHAIN, str_from(text));
	}
	return rc;
}

static void
provenance_take_toolchain(struct provenance *provenance, struct str text)
{
	struct str function = str_cut(&text, '/');
	struct error ignored;

	if (provenance->toolchain_count < TOOLCHAIN_ROOTS_MAX &&
	    digest_parse_text(digest_function_parse(function), text,
		&provenance->toolchains[provenance->toolchain_count],
		&ignored) == 0)
		provenance->toolchain_count++;
}

bool
provenance_decode(struct str bytes, struct provenance *provenance)
{
	struct str *const texts[] = {&provenance->writer, &provenance->worker,
	    &provenance->target, &provenance->mnemonic,
	    &provenance->invocation};
	struct wire_field field;
	bool known = false;

	memset(provenance, 0, sizeof(*provenance));
	for (size_t i = 0; i < 5; i++)
		*texts[i] = STR("");
	while (wire_next(&bytes, &field) > 0) {
		if (field.type != WIRE_BYTES)
			continue;
		known = true;
		if (field.number >= PROVENANCE_WRITER &&
		    field.number <= PROVENANCE_INVOCATION)
			*texts[field.number - PROVENANCE_WRITER] = field.bytes;
		else if (field.number == PROVENANCE_TOOLCHAIN)
			provenance_take_toolchain(provenance, field.bytes);
	}
	return known;
}

/* --- toolchains ----------------------------------------------------------- */

/* NULL when it is not there, or no such message. A failing disk counts as "not
 * there" too: the result is worth more than this note, and what else reads the
 * disk says so. */
static void *
provenance_message(struct store *store, const struct digest *digest,
    const ProtobufCMessageDescriptor *descriptor, struct arena *arena)
{
	struct buffer content;
	struct error ignored;
	void *message = NULL;

	buffer_init(&content, MESSAGE_MAX);
	if (digest->size <= MESSAGE_MAX &&
	    store_read(store, digest, &content, &ignored) == 1)
		message = protos_unpack(
		    arena, descriptor, buffer_str(&content), &ignored);
	buffer_clear(&content);
	return message;
}

void
provenance_find_toolchains(struct store *store, const struct digest *digest,
    struct provenance *provenance)
{
	const Reapi__Command *command = NULL;
	const Reapi__Action *action;
	struct toolchain_roots roots = {.count = 0};
	struct digest command_digest;
	struct error ignored;
	struct arena arena;

	arena_init(&arena, UNPACKED_MAX);
	action = provenance_message(
	    store, digest, &reapi__action__descriptor, &arena);
	if (action == NULL)
		goto out;
	if (action->platform == NULL &&
	    digest_from_message(digest->function, action->command_digest,
		&command_digest, &ignored) == 0)
		command = provenance_message(store, &command_digest,
		    &reapi__command__descriptor, &arena);
	if (toolchain_roots_read(&roots,
		toolchain_roots_platform(action, command), digest->function,
		&ignored) < 0)
		goto out;
	for (size_t i = 0; i < roots.count; i++)
		provenance->toolchains[i] = roots.items[i].digest;
	provenance->toolchain_count = roots.count;
out:
	arena_clear(&arena);
}
