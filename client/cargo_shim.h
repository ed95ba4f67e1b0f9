/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cargo calls in the compiler's place (RUSTC_WRAPPER): asks the broker of
 * the build and does what it says. Without a broker, or when that does not
 * answer, it becomes the compiler: a build never fails for want of us.
 */
#ifndef TOOLROOT_CLIENT_CARGO_SHIM_H
#define TOOLROOT_CLIENT_CARGO_SHIM_H

/* The name of the program that is the shim, and the variable that tells it the
 * broker's socket. */
#define CARGO_SHIM_NAME "toolroot-rustc"
#define CARGO_SHIM_BROKER "TOOLROOT_BROKER"

/* argv[1] is the compiler, its arguments follow. Returns the exit status, or
 * does not return. */
int cargo_shim_main(char **argv);

#endif
