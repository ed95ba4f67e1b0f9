/* SPDX-License-Identifier: Apache-2.0 */
/* Replaces prefixes of paths, the longest that fits. No other state. */
#include "client/cargo_paths.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

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

/* The byte ends a colour, "ESC[0m", as it is or as JSON has it; or an escaped
 * line end or tab of JSON: nothing that a path goes on from. */
static bool
ends_escape(struct str text, size_t at)
{
	const char *letters = "mnrt";
	size_t start = at;

	if (strchr(letters, text.data[at]) == NULL)
		return false;
	if (at > 0 && text.data[at] != 'm')
		return text.data[at - 1] == '\\';
	while (start > 0 && (isdigit((unsigned char)text.data[start - 1]) ||
				text.data[start - 1] == ';'))
		start--;
	if (start < 2 || text.data[start - 1] != '[')
		return false;
	return text.data[start - 2] == '\033' ||
	       (start >= 7 && memcmp(text.data + start - 7, "\\u001b", 6) == 0);
}

/* A path may begin after the byte before at. */
static bool
is_boundary(struct str text, size_t at)
{
	if (at == 0)
		return true;
	if (text.data[at - 1] == '/')
		return false;
	return !is_name(text.data[at - 1]) || ends_escape(text, at - 1);
}

static const struct cargo_path *
find(const struct cargo_paths *paths, enum cargo_paths_direction direction,
    struct str text, size_t at)
{
	if (!is_boundary(text, at))
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

char *
cargo_paths_plain(const char *path)
{
	char *out = xmalloc(strlen(path) + 2);
	struct str rest = str_from(path);
	size_t length = 0;

	while (rest.len > 0) {
		struct str name = str_cut(&rest, '/');

		if (name.len == 0 || str_equal(name, STR(".")))
			continue;
		if (str_equal(name, STR(".."))) {
			while (length > 0 && out[--length] != '/')
				;
			continue;
		}
		out[length++] = '/';
		memcpy(out + length, name.data, name.len);
		length += name.len;
	}
	if (length == 0)
		out[length++] = '/';
	out[length] = '\0';
	return out;
}

bool
cargo_paths_is_system(const char *path)
{
	static const char *const libraries[] = {
	    "/usr/lib64", "/usr/lib", "/lib64", "/lib"};
	char *plain = cargo_paths_plain(path);
	bool is = false;

	for (size_t i = 0; i < 4 && !is; i++) {
		size_t length = strlen(libraries[i]);
		const char *rest = plain + length;

		/* "", or one name, that of a target. */
		is = strncmp(plain, libraries[i], length) == 0 &&
		     (*rest == '\0' ||
			 (*rest == '/' && strchr(rest + 1, '/') == NULL &&
			     strstr(rest, "-linux-") != NULL));
	}
	free(plain);
	return is;
}
