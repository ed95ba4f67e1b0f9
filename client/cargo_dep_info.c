/* SPDX-License-Identifier: Apache-2.0 */
/* A line at a time. Form: rustc's write_out_deps; seen with 1.63 to 1.97. */
#include "client/cargo_dep_info.h"

#include "base/memory.h"

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
	const struct str mark = STR("# env-dep:");

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
