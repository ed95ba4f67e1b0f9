/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot toolchain`: capturing toolchains into the store and looking at
 * those that are there.
 */
#ifndef TOOLROOT_CLIENT_TOOLCHAIN_COMMAND_H
#define TOOLROOT_CLIENT_TOOLCHAIN_COMMAND_H

/* argv[0] is "toolchain". Returns the exit status: 0 done, 1 failed, 2 called
 * wrongly. */
int toolchain_command(char **argv);

#endif
