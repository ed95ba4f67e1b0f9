/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing a Rust compiler of this machine by closure: what compiles and
 * links, no documentation, no sources, no sanitizers.
 *
 * A toolchain of rustup, or any whose driver lies in its own sysroot, comes to
 * CAPTURE_RUST_SYSROOT of the tree, wherever it was, so that equal toolchains
 * at two places are one; the libraries of the system that it needs keep their
 * own paths. A distribution's rustc, spread over /usr, stays where it is. Runs
 * the compiler to ask it.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_RUST_H
#define TOOLROOT_CLIENT_CAPTURE_RUST_H

#include <stdbool.h>

struct capture_host;
struct capture_programs;
struct error;

/* In the tree; as a path of the root file system it has a "/" before it. */
#define CAPTURE_RUST_SYSROOT "tc"

/* which is a rustup toolchain, a sysroot, the path of a rustc, or NULL for the
 * rustc in PATH (which may be rustup's). Adds to host->tree;
 * capture_host_close completes it. *moved: it came to CAPTURE_RUST_SYSROOT. */
int capture_rust(struct capture_host *host, const char *which,
    struct capture_programs *programs, bool *moved, struct error *err);
/* The path of the compiler that which (as above) stands for, without links of
 * rustup's before it; the caller frees it. NULL on error. */
char *capture_rust_find(const char *which, struct error *err);

#endif
