/* SPDX-License-Identifier: Apache-2.0 */
/* Words, one by one. */
#include "client/cargo_command_line.h"

#include <string.h>

static bool
is_end(const char *word)
{
	return word == NULL || strcmp(word, "--") == 0;
}

/* Whether the command, which is behind cargo's own options and "+toolchain", is
 * one of these; names ends in NULL. */
static bool
is_one_of(char *const *words, const char *const *names)
{
	while (!is_end(*words) && ((*words)[0] == '-' || (*words)[0] == '+'))
		words++;
	for (; !is_end(*words) && *names != NULL; names++) {
		if (strcmp(*words, *names) == 0)
			return true;
	}
	return false;
}

bool
cargo_command_line_compiles(char *const *words)
{
	static const char *const names[] = {"build", "b", "check", "c",
	    "clippy", "rustc", "doc", "d", "rustdoc", "fix", NULL};

	return is_one_of(words, names);
}

bool
cargo_command_line_documents(char *const *words)
{
	static const char *const names[] = {"doc", "d", "rustdoc", NULL};

	return is_one_of(words, names);
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

const char *
cargo_command_line_next_config(char *const **words)
{
	while (!is_end(**words)) {
		const char *word = *(*words)++;

		if (strncmp(word, "--config=", 9) == 0)
			return word + 9;
		if (strcmp(word, "--config") == 0 && **words != NULL)
			return *(*words)++;
	}
	return NULL;
}
