/* SPDX-License-Identifier: Apache-2.0 */
/* Lines told by how the compiler begins them; nothing is parsed. */
#include "client/cargo_notice.h"

#include "base/buffer.h"

/* The second form is of compilers before 1.70; cargo reads both. */
#define NOTICE "{\"$message_type\":\"artifact\""
#define OLD_NOTICE "{\"artifact\":"
#define METADATA ".rmeta\""

bool
cargo_notice_is(struct str line)
{
	return str_starts_with(line, STR(NOTICE)) ||
	       str_starts_with(line, STR(OLD_NOTICE));
}

bool
cargo_notice_is_metadata(struct str line)
{
	return cargo_notice_is(line) &&
	       memmem(line.data, line.len, METADATA, strlen(METADATA)) != NULL;
}

static int
add_character(struct buffer *out, char c)
{
	if (c == '"' || c == '\\')
		return buffer_printf(out, "\\%c", c);
	if ((unsigned char)c < ' ')
		return buffer_printf(out, "\\u%04x", (unsigned)c);
	return buffer_append(out, &c, 1);
}

int
cargo_notice_add_metadata(struct buffer *out, const char *path)
{
	int rc = buffer_printf(out, NOTICE ",\"artifact\":\"");

	for (; *path != '\0' && rc == 0; path++)
		rc = add_character(out, *path);
	return rc == 0 ? buffer_printf(out, "\",\"emit\":\"metadata\"}\n") : -1;
}

void
cargo_notice_drop_metadata(struct buffer *text)
{
	struct str rest = buffer_str(text);
	size_t kept = 0;

	while (rest.len > 0) {
		const char *end = memchr(rest.data, '\n', rest.len);
		struct str line = {rest.data,
		    end != NULL ? (size_t)(end - rest.data) + 1 : rest.len};

		if (!cargo_notice_is_metadata(line)) {
			memmove(text->data + kept, line.data, line.len);
			kept += line.len;
		}
		rest.data += line.len;
		rest.len -= line.len;
	}
	text->len = kept;
}
