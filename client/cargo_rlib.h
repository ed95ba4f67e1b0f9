/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library has its crate's metadata inside, the bytes of the .rmeta file that
 * the compiler writes beside it: who has the one need not fetch the other.
 * Where they are is a guess, which the digest proves or not. Blocks on the
 * disk.
 * Formats: ar (System V), and what rustc puts around "lib.rmeta".
 */
#ifndef TOOLROOT_CLIENT_CARGO_RLIB_H
#define TOOLROOT_CLIENT_CARGO_RLIB_H

#include <stdint.h>

#include "base/str.h"

struct digest;
struct error;

/* Writes the bytes of this digest from the library into the other file, from
 * byte 0 on. 1 when they are there; 0 when the library has them nowhere, and
 * what is in the file then may not be trusted; -1. */
int cargo_rlib_extract(
    int library, const struct digest *digest, int fd, struct error *err);

/* Of the 60 bytes before a member: 1, its name and its size; 0 when it is no
 * such header. Pure. */
int cargo_rlib_member(
    const char header[static 60], struct str *name, uint64_t *size);

#endif
