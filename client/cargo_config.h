/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cargo's configuration files say of a key of [build]: cargo looks in
 * .cargo of the directory it runs in and of all above it, and in its home.
 * Blocks on the disk.
 */
#ifndef TOOLROOT_CLIENT_CARGO_CONFIG_H
#define TOOLROOT_CLIENT_CARGO_CONFIG_H

#include "base/str.h"

/* Another wrapper, which ours would overrule without a word. */
#define CARGO_CONFIG_WRAPPER "rustc-wrapper"
#define CARGO_CONFIG_JOBS "jobs"
#define CARGO_CONFIG_RUSTC "rustc"

/* What a file of the configuration says of the key, in quotes or not, as it
 * stands there; the caller frees it. NULL when it says nothing or "". Pure. */
char *cargo_config_value(const char *key, struct str text);

/* "FILE: VALUE" of the first that says something; the caller frees it. NULL
 * when none does. environment ends in NULL. */
char *cargo_config_find(
    const char *key, const char *directory, char *const *environment);
/* The value alone, of a key that names a program: where a slash is in it, a
 * path from the directory that .cargo is in. The caller frees it. */
char *cargo_config_program(
    const char *key, const char *directory, char *const *environment);
/* Likewise, of what --config says, KEY=VALUE or the path of a file, in
 * directory. */
char *cargo_config_given(
    const char *key, const char *given, const char *directory);

#endif
