/* SPDX-License-Identifier: Apache-2.0 */
/* The first place that can be written to. */
#include "client/cargo_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* The caller frees it; NULL when the environment names no place. */
static char *
lasting_path(struct error *err)
{
	const char *base = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");

	if (base != NULL && base[0] == '/')
		return xasprintf("%s/toolroot", base);
	if (home != NULL && home[0] == '/')
		return xasprintf("%s/.cache/toolroot", home);
	error_set(err, ERROR_FAILED_PRECONDITION,
	    "neither XDG_CACHE_HOME nor HOME is set");
	return NULL;
}

static int
open_lasting(struct cargo_cache *cache, struct error *err)
{
	char *path = lasting_path(err);

	if (path == NULL)
		return -1;
	if (file_make_directories(path, err) < 0) {
		free(path);
		return -1;
	}
	if (access(path, W_OK | X_OK) == -1) {
		error_set_errno(err, errno, "%s", path);
		free(path);
		return -1;
	}
	cache->path = path;
	return 0;
}

static int
open_temporary(struct cargo_cache *cache, struct error *err)
{
	const char *base = getenv("TMPDIR");
	char *path;

	if (base == NULL || base[0] != '/' || access(base, W_OK) == -1)
		base = "/tmp";
	path = xasprintf("%s/toolroot-cache-XXXXXX", base);
	if (mkdtemp(path) == NULL) {
		error_set_errno(err, errno, "make %s", path);
		free(path);
		return -1;
	}
	cache->path = path;
	cache->temporary = true;
	return 0;
}

int
cargo_cache_open(struct cargo_cache *cache, struct error *err)
{
	struct error why;

	*cache = (struct cargo_cache){.path = NULL};
	if (open_lasting(cache, &why) == 0)
		return 0;
	if (open_temporary(cache, err) < 0) {
		error_prefix(err, "%s, and", why.text);
		return -1;
	}
	fprintf(stderr,
	    "toolroot: nothing is remembered for the next build: %s (set "
	    "XDG_CACHE_HOME)\n",
	    why.text);
	return 0;
}

void
cargo_cache_discard(const struct cargo_cache *cache)
{
	struct error err;

	if (cache->temporary && file_remove_tree(cache->path, &err) < 0)
		fprintf(stderr, "toolroot: %s\n", err.text);
}

void
cargo_cache_close(struct cargo_cache *cache)
{
	cargo_cache_discard(cache);
	free(cache->path);
	*cache = (struct cargo_cache){.path = NULL};
}
