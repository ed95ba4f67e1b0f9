/* SPDX-License-Identifier: Apache-2.0 */
/* A line at a time. Form: rustc's write_out_deps; seen with 1.63 to 1.97. */
#include "client/cargo_dep_info.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "client/cargo_paths.h"

#define VARIABLE "# env-dep:"

/* rustc escapes a backslash and line ends in values; make a blank in paths.
 * text is at its place, which only gets shorter. */
static void
unescape(char *text, const char *from, const char *to)
{
	char *out = text;

	for (const char *in = text; *in != '\0'; in++) {
		const char *found =
		    in[0] == '\\' && in[1] != '\0' ? strchr(from, in[1]) : NULL;

		if (found == NULL) {
			*out++ = *in;
			continue;
		}
		*out++ = to[found - from];
		in++;
	}
	*out = '\0';
}

void
cargo_dep_info_parse(struct cargo_dep_info *info, struct str text)
{
	const struct str mark = STR(VARIABLE);

	*info = (struct cargo_dep_info){0};
	while (text.len > 0) {
		struct str line = str_cut(&text, '\n');
		char *item;

		if (str_starts_with(line, mark)) {
			item =
			    xstrndup(line.data + mark.len, line.len - mark.len);
			unescape(item, "\\nr", "\\\n\r");
			cargo_strings_take(&info->variables, item);
		} else if (line.len > 1 && line.data[0] != '#' &&
			   line.data[line.len - 1] == ':') {
			/* "source:", the rule that lets it be gone */
			item = xstrndup(line.data, line.len - 1);
			unescape(item, " ", " ");
			cargo_strings_take(&info->sources, item);
		}
	}
}

void
cargo_dep_info_clear(struct cargo_dep_info *info)
{
	cargo_strings_clear(&info->sources);
	cargo_strings_clear(&info->variables);
}

/* --- true paths ----------------------------------------------------------- */

/* The caller frees it. */
static char *
escape_blanks(const char *text)
{
	char *out = xmalloc(2 * strlen(text) + 1);
	char *at = out;

	for (; *text != '\0'; text++) {
		if (*text == ' ')
			*at++ = '\\';
		*at++ = *text;
	}
	*at = '\0';
	return out;
}

/* How much of the line is as rustc was told it, not escaped: a variable, or
 * the output before the sources of a rule. */
static size_t
unescaped_length(struct str line)
{
	const char *end;

	if (str_starts_with(line, STR(VARIABLE)))
		return line.len;
	end = memmem(line.data, line.len, ": ", 2);
	return end != NULL ? (size_t)(end - line.data) : 0;
}

static int
map_line(const struct cargo_paths *paths, const struct cargo_paths *escaped,
    struct str line, struct buffer *out)
{
	size_t length = unescaped_length(line);
	const struct str first = {line.data, length};
	const struct str rest = {line.data + length, line.len - length};

	if (cargo_paths_map(paths, CARGO_PATHS_TO_REAL, first, out) < 0)
		return -1;
	return cargo_paths_map(escaped, CARGO_PATHS_TO_REAL, rest, out);
}

int
cargo_dep_info_map(
    const struct cargo_paths *paths, struct str text, struct buffer *out)
{
	struct cargo_paths escaped = {.count = 0};
	int rc = 0;

	for (size_t i = 0; i < paths->count; i++) {
		char *real = escape_blanks(paths->items[i].real);

		cargo_paths_add(&escaped, real, paths->items[i].fixed);
		free(real);
	}
	while (text.len > 0 && rc == 0) {
		const char *end = memchr(text.data, '\n', text.len);
		struct str line = {text.data,
		    end != NULL ? (size_t)(end - text.data) + 1 : text.len};

		rc = map_line(paths, &escaped, line, out);
		text.data += line.len;
		text.len -= line.len;
	}
	cargo_paths_clear(&escaped);
	return rc;
}
