/* SPDX-License-Identifier: Apache-2.0 */
/* Replaces prefixes of paths, the longest that fits. No other state. */
#include "client/cargo_paths.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"

void
cargo_paths_add(struct cargo_paths *paths, const char *real, const char *fixed)
{
	size_t at = paths->count;

	assert(paths->count < CARGO_PATHS_MAX);
	while (at > 0 && strlen(paths->items[at - 1].real) < strlen(real)) {
		paths->items[at] = paths->items[at - 1];
		at--;
	}
	paths->items[at] = (struct cargo_path){xstrdup(real), xstrdup(fixed)};
	paths->count++;
}

void
cargo_paths_clear(struct cargo_paths *paths)
{
	for (size_t i = 0; i < paths->count; i++) {
		free(paths->items[i].real);
		free(paths->items[i].fixed);
	}
	paths->count = 0;
}

/* Bytes that go on with a name. */
static bool
is_name(char byte)
{
	return isalnum((unsigned char)byte) || byte == '_' || byte == '-' ||
	       byte == '.' || (byte & 0x80) != 0;
}

static bool
stands_at(struct str text, size_t at, const char *prefix, size_t length)
{
	return length > 0 && at + length <= text.len &&
	       memcmp(text.data + at, prefix, length) == 0 &&
	       (at + length == text.len || !is_name(text.data[at + length]));
}

static const struct cargo_path *
find(const struct cargo_paths *paths, enum cargo_paths_direction direction,
    struct str text, size_t at)
{
	if (at > 0 && (is_name(text.data[at - 1]) || text.data[at - 1] == '/'))
		return NULL;
	for (size_t i = 0; i < paths->count; i++) {
		const struct cargo_path *path = &paths->items[i];
		const char *from = direction == CARGO_PATHS_TO_FIXED
				       ? path->real
				       : path->fixed;

		if (stands_at(text, at, from, strlen(from)))
			return path;
	}
	return NULL;
}

int
cargo_paths_map(const struct cargo_paths *paths,
    enum cargo_paths_direction direction, struct str text, struct buffer *out)
{
	bool fixed = direction == CARGO_PATHS_TO_FIXED;
	size_t before = out->len;
	size_t kept = 0; /* up to here all is in out */
	size_t at = 0;

	while (at < text.len) {
		const char *slash = memchr(text.data + at, '/', text.len - at);
		const struct cargo_path *path;
		const char *to;

		if (slash == NULL)
			break;
		at = (size_t)(slash - text.data);
		path = find(paths, direction, text, at);
		if (path == NULL) {
			at++;
			continue;
		}
		to = fixed ? path->fixed : path->real;
		if (buffer_append(out, text.data + kept, at - kept) < 0 ||
		    buffer_append(out, to, strlen(to)) < 0)
			goto full;
		at += strlen(fixed ? path->real : path->fixed);
		kept = at;
	}
	if (buffer_append(out, text.data + kept, text.len - kept) == 0)
		return 0;
full:
	out->len = before;
	return -1;
}

char *
cargo_paths_map_text(const struct cargo_paths *paths,
    enum cargo_paths_direction direction, const char *text)
{
	struct buffer out;

	buffer_init(&out, SIZE_MAX);
	if (cargo_paths_map(paths, direction, str_from(text), &out) < 0)
		abort(); /* there is no limit */
	if (out.data == NULL)
		return xstrdup("");
	return out.data;
}

bool
cargo_paths_cover(const struct cargo_paths *paths, const char *path)
{
	return find(paths, CARGO_PATHS_TO_FIXED, str_from(path), 0) != NULL;
}
