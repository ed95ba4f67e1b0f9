/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a captured toolchain is made of, kept from one build to the next
 * in a file of the cache directory: their places, not their contents, with the
 * status of the directories they are in, so that a file that comes or goes
 * makes it void. Part of client/cargo_toolchain.c. One thread.
 */
#ifndef TOOLROOT_CLIENT_CARGO_MANIFEST_H
#define TOOLROOT_CLIENT_CARGO_MANIFEST_H

struct cargo_manifest;
struct cargo_toolchain;
struct cargo_toolchain_options;
struct digest;
struct error;

/* Borrows options; rustc is the compiler itself. Never NULL. */
struct cargo_manifest *cargo_manifest_open(
    const struct cargo_toolchain_options *options, const char *rustc);
void cargo_manifest_close(struct cargo_manifest *manifest);

/* Fills the toolchain's tree (without digests), sysroot and version; *root is
 * what it was then. 1, 0 when there is none that holds, -1. */
int cargo_manifest_load(const struct cargo_manifest *manifest,
    struct cargo_toolchain *toolchain, struct digest *root, struct error *err);
int cargo_manifest_save(const struct cargo_manifest *manifest,
    const struct cargo_toolchain *toolchain, struct error *err);

#endif
