/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the cargo front remembers from one build to the next what it found out
 * about files and toolchains: toolroot/ in XDG_CACHE_HOME, or in .cache of
 * HOME. Where neither can be written to it is a directory for one build, in
 * TMPDIR or /tmp, since a build is not to fail for that. One thread; blocks on
 * the disk.
 */
#ifndef TOOLROOT_CLIENT_CARGO_CACHE_H
#define TOOLROOT_CLIENT_CARGO_CACHE_H

#include <stdbool.h>

struct error;

struct cargo_cache {
	char *path;     /* owned; NULL: there is none */
	bool temporary; /* removed with all that is in it when it is closed */
};

/* Says on standard error when it is temporary, and why. */
int cargo_cache_open(struct cargo_cache *cache, struct error *err);
/* What a build left that ends without closing it: threads use the path. */
void cargo_cache_discard(const struct cargo_cache *cache);
void cargo_cache_close(struct cargo_cache *cache);

#endif
