/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cargo calls as the compiler, and a stand-in for that
 * (client/cargo_stand_in.h). Blocks on the disk; one thread.
 */
#ifndef TOOLROOT_CLIENT_CARGO_RUSTC_H
#define TOOLROOT_CLIENT_CARGO_RUSTC_H

struct cargo_strings;

/* As cargo finds it: RUSTC, --config on its command line, CARGO_BUILD_RUSTC,
 * its files, "rustc". An absolute path or a bare name, the caller frees it;
 * what stands in for another is that one. NULL when RUSTC is empty. words are
 * cargo's and end in NULL, as environment does; directory is the one it runs
 * in. */
char *cargo_rustc_find(
    char *const *words, const char *directory, char *const *environment);
/* The path of a stand-in for what cargo would call in our directory; it lasts
 * as long as the cache, whatever other builds do. The caller frees it. NULL
 * when there can be none, which is said on standard error. shim is an absolute
 * path.
 */
char *cargo_rustc_stand_in(const char *cache, const char *shim,
    char *const *words, char *const *environment);
/* What cargo is to have in the environment instead of RUSTC, which environment,
 * the build's, may have. */
void cargo_rustc_add(const char *stand_in, char *const *environment,
    struct cargo_strings *added);

#endif
