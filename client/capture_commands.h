/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing what build rules call beside compilers: the shell, coreutils, sed,
 * grep, awk, find, tar and their like, as far as this machine has them.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_COMMANDS_H
#define TOOLROOT_CLIENT_CAPTURE_COMMANDS_H

struct capture_host;
struct error;

/* Adds to host->tree; capture_host_close completes it. */
int capture_commands(struct capture_host *host, struct error *err);

#endif
