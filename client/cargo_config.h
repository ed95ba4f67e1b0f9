/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether cargo's configuration files name another compiler wrapper, which
 * ours would overrule without a word: cargo looks in .cargo of the directory
 * it runs in and of all above it, and in its home. Blocks on the disk.
 */
#ifndef TOOLROOT_CLIENT_CARGO_CONFIG_H
#define TOOLROOT_CLIENT_CARGO_CONFIG_H

#include "base/str.h"

/* What a file of the configuration says of rustc-wrapper, in quotes or not, as
 * it stands there; the caller frees it. NULL when it says nothing or "". Pure.
 */
char *cargo_config_wrapper(struct str text);

/* "FILE: VALUE" of the first that says something; the caller frees it. NULL
 * when none does. environment ends in NULL. */
char *cargo_config_find_wrapper(
    const char *directory, char *const *environment);

#endif
