/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cargo calls in the compiler's place (RUSTC_WRAPPER): asks the broker of
 * the build and does what it says. Without a front, toolroot itself is started
 * for the call; when anything does not answer it becomes the compiler: a build
 * never fails for want of us.
 */
#ifndef TOOLROOT_CLIENT_CARGO_SHIM_H
#define TOOLROOT_CLIENT_CARGO_SHIM_H

#include <stdbool.h>

/* The name of the program that is the shim, and the variable that tells it the
 * broker's socket. */
#define CARGO_SHIM_NAME "toolroot-rustc"
#define CARGO_SHIM_BROKER "TOOLROOT_BROKER"
/* The command of toolroot that is the front of one call. */
#define CARGO_SHIM_ALONE "rustc"

struct cargo_message_answer;

/* argv[1] is the compiler, its arguments follow; or we are called as a stand-in
 * of it (client/cargo_stand_in.h). Returns the exit status, or does not return.
 */
int cargo_shim_main(char **argv);
/* Does what the answer says; the rest as above. */
int cargo_shim_finish(const struct cargo_message_answer *answer, char **argv);
/* Whether our parent is cargo: build scripts call the compiler, too. */
bool cargo_shim_is_called_by_cargo(void);
/* As the broker is sent it, with our environment. -1 when the directory is
 * gone. To be cleared in any case. */
struct cargo_message_call;
int cargo_shim_call(struct cargo_message_call *call, char **argv);

#endif
