/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in of the compiler: two symbolic links in a directory of our cache,
 * "rustc" to the shim and beside it one that says what it stands for. Cargo
 * before 1.79 asks the compiler itself for its version, past RUSTC_WRAPPER; it
 * is told the stand-in for RUSTC, and then the shim can answer. For all others,
 * as build scripts, which are given RUSTC, it is the compiler, also when no
 * build is under way. This is the shim's side: no library but the C one.
 */
#ifndef TOOLROOT_CLIENT_CARGO_STAND_IN_H
#define TOOLROOT_CLIENT_CARGO_STAND_IN_H

#define CARGO_STAND_IN_NAME "rustc"
#define CARGO_STAND_IN_COMPILER "toolroot-compiler"
/* The user's RUSTC, if he set one. */
#define CARGO_STAND_IN_RUSTC "TOOLROOT_RUSTC"

/* What the path stands for: a path or, to be looked for in PATH, a bare name.
 * The caller frees it; NULL when path is no stand-in. Any thread. */
char *cargo_stand_in_compiler(const char *path);
/* Puts the compiler in the place of stand-ins in a call by cargo: argv[1], or
 * argv[2] behind the wrapper of workspace crates, and makes RUSTC of our
 * environment what it was before us. Allocates what it puts there, for as long
 * as the process lives. One thread. */
void cargo_stand_in_resolve(char **argv);

#endif
