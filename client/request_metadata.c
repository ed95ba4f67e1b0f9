/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes RequestMetadata. Pure. */
#include "client/request_metadata.h"

#include "base/buffer.h"
#include "protos/wire.h"

/* Far above the 8 KiB that most servers take as metadata. */
#define METADATA_MAX (1u << 20)

/* A field that is too long for the limit is left out: it is only advice. */
static void
append_bytes(struct buffer *out, uint32_t field, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t len = wire_put_bytes_header(header, field, bytes.len);

	if (bytes.len == 0 || len + bytes.len > out->limit - out->len)
		return;
	if (buffer_append(out, header, len) < 0 ||
	    buffer_append(out, bytes.data, bytes.len) < 0)
		return; /* cannot be: there was room for both */
}

static void
append_text(struct buffer *out, uint32_t field, const char *text)
{
	append_bytes(out, field, str_from(text));
}

struct str
request_metadata_pack(const struct request_metadata *metadata)
{
	struct buffer details;
	struct buffer out;

	buffer_init(&details, METADATA_MAX / 2);
	append_text(&details, 1, metadata->tool_name);
	append_text(&details, 2, metadata->tool_version);
	buffer_init(&out, METADATA_MAX);
	append_bytes(&out, 1, buffer_str(&details));
	append_text(&out, 2, metadata->action_id);
	append_text(&out, 3, metadata->tool_invocation_id);
	append_text(&out, 4, metadata->correlated_invocations_id);
	append_text(&out, 5, metadata->action_mnemonic);
	append_text(&out, 6, metadata->target_id);
	append_text(&out, 7, metadata->configuration_id);
	buffer_clear(&details);
	return (struct str){out.data, out.len};
}
