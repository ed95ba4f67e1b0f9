/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot cargo …`, also `cargo toolroot …`: runs cargo with its compiler
 * calls going through this process, which ends with it. What stands before
 * cargo's own sub-command are our options.
 */
#ifndef TOOLROOT_CLIENT_CARGO_FRONT_H
#define TOOLROOT_CLIENT_CARGO_FRONT_H

/* argv[0] is "cargo". Returns cargo's exit status; 2 when called wrongly. */
int cargo_front_main(char **argv);
/* One call of the compiler without a front: argv[1] is the compiler, as for
 * the shim. Settings come from the environment and the settings file, the rest
 * from the cargo that is our parent. Returns the exit status, or does not
 * return. */
int cargo_front_alone(char **argv);

#endif
