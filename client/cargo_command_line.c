/* SPDX-License-Identifier: Apache-2.0 */
/* Words, one by one. */
#include "client/cargo_command_line.h"

#include <string.h>

static bool
is_end(const char *word)
{
	return word == NULL || strcmp(word, "--") == 0;
}

static bool
is_compiling(const char *command)
{
	static const char *const names[] = {"build", "b", "check", "c",
	    "clippy", "rustc", "doc", "d", "rustdoc", "fix"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(command, names[i]) == 0)
			return true;
	}
	return false;
}

/* The command is behind cargo's own options and "+toolchain". */
bool
cargo_command_line_compiles(char *const *words)
{
	for (; !is_end(*words); words++) {
		if ((*words)[0] != '-' && (*words)[0] != '+')
			return is_compiling(*words);
	}
	return false;
}

bool
cargo_command_line_is_quiet(char *const *words)
{
	for (; !is_end(*words); words++) {
		if (strcmp(*words, "-q") == 0 || strcmp(*words, "--quiet") == 0)
			return true;
	}
	return false;
}

bool
cargo_command_line_has_jobs(char *const *words)
{
	for (; !is_end(*words); words++) {
		const char *word = *words;

		/* "-vj4" is cargo's, too. */
		if ((word[0] == '-' && word[1] != '-' &&
			strchr(word, 'j') != NULL) ||
		    strncmp(word, "--jobs", 6) == 0 ||
		    strstr(word, "build.jobs") != NULL)
			return true;
	}
	return false;
}
