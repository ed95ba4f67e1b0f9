/* SPDX-License-Identifier: Apache-2.0 */
/* One readlink for whatever ends in the stand-in's name. */
#include "client/cargo_stand_in.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

#define WORDS 2

char *
cargo_stand_in_compiler(const char *path)
{
	const char *slash = strrchr(path, '/');
	char target[PATH_MAX];
	ssize_t length;
	char *link;

	if (slash == NULL || strcmp(slash + 1, CARGO_STAND_IN_NAME) != 0)
		return NULL;
	link = xasprintf(
	    "%.*s" CARGO_STAND_IN_COMPILER, (int)(slash + 1 - path), path);
	length = readlink(link, target, sizeof(target));
	free(link);
	/* One that may be cut off is none. */
	if (length <= 0 || (size_t)length == sizeof(target))
		return NULL;
	return xstrndup(target, (size_t)length);
}

static void
restore_environment(void)
{
	const char *rustc = getenv("RUSTC");
	const char *before = getenv(CARGO_STAND_IN_RUSTC);
	char *compiler = rustc != NULL ? cargo_stand_in_compiler(rustc) : NULL;

	if (compiler != NULL && before != NULL)
		setenv("RUSTC", before, 1);
	else if (compiler != NULL)
		unsetenv("RUSTC");
	free(compiler);
}

void
cargo_stand_in_resolve(char **argv)
{
	for (size_t i = 1; i <= WORDS && argv[i] != NULL; i++) {
		char *compiler = cargo_stand_in_compiler(argv[i]);

		if (compiler != NULL)
			argv[i] = compiler;
	}
	restore_environment();
}
